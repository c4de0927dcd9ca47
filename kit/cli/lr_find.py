"""The command that looks for a learning rate: lr-find."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kit.cli.stages import on_a_plan
from kit.cli.terminal import print_json, say
from kit.progress import Counter

if TYPE_CHECKING:
    from kit.plan import RunPlan


@on_a_plan
def lr_find(
    plan: "RunPlan",
    stage: Annotated[
        Literal["head", "all"] | None,
        typer.Option("--stage", help="Which of the two; default: head, where the recipe has frozen epochs."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="Where the plot goes; default: in KIT_HOME.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print one JSON object: stage, steepest, valley, suggested, key, plot, lrs, losses."
        ),
    ] = False,
) -> None:
    """Sweep the learning rate over a copy of the network, and suggest one for the recipe."""
    from kit.data.folds import training_rows
    from kit.home import family, writing
    from kit.plan import pack_for
    from kit.train.lr_finder import find_lr_for, plot_lr_find
    from kit.train.model import choose_device, make_network

    recipe, slug, classes = plan.recipe, plan.competition.slug, plan.samples.classes
    chosen = stage or ("head" if recipe.schedule.frozen_epochs else "all")
    seed = recipe.seed * 1009
    # Held-out images take no part: scores on them would know of the rate.
    train = training_rows(plan.train, 0, rule=plan.competition.folds) if recipe.num_folds else plan.train
    pack = pack_for(plan, say=say)
    network = make_network(recipe.model, num_classes=len(classes), seed=seed)
    if chosen == "all" and recipe.schedule.frozen_epochs:
        say(f"the head of a copy is trained first: {recipe.schedule.frozen_epochs} frozen epochs, as in the recipe")
    with Counter("learning rates", unit="steps", say=say) as counter:
        found = find_lr_for(
            network,
            pack,
            train,
            recipe=recipe,
            classes=classes,
            several=plan.several_labels,
            device=choose_device(recipe.device),
            seed=seed,
            stage=chosen,
            tick=lambda step, total, loss: counter.reach(step, total),
        )
    path = out or family("board") / f"{slug}-lr-{chosen}.png"
    with writing(path, "wb") as file:
        plot_lr_find(found, title=f"{plan.competition.title}: {recipe.model.name}, stage {chosen!r}").savefig(file)
    key = "schedule.frozen_lr" if chosen == "head" else "schedule.lr"
    if as_json:
        print_json(
            {
                "stage": found.stage,
                "steepest": found.steepest,
                "valley": found.valley,
                "suggested": found.suggested,
                "key": key,
                "plot": path,
                "lrs": found.lrs,
                "losses": found.losses,
            }
        )
        return
    print(f"steepest  {found.steepest:.2g}")
    print(f"valley    {found.valley:.2g}")
    print(f"plot      {path}")
    print(f"next      kit train {slug} --set {key}={found.suggested:.2g}  (and the options given here)")


COMMANDS = (lr_find,)
