"""Commands that do the line or one stage of it: run, fetch, prepare, train, judge, submission."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli import complete
from kit.cli.terminal import say

if TYPE_CHECKING:
    from kit.plan import RunPlan
    from kit.train.world import World

Slug = Annotated[
    str,
    typer.Argument(
        metavar="SLUG", help="The competition: its folder's name (see `kit list`).", autocompletion=complete.slugs
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="R", help="Recipe of the competition, or a .toml file.", autocompletion=complete.recipes
    ),
]
ProtocolId = Annotated[
    str | None,
    typer.Option("--protocol", metavar="P", help="Protocol of the competition.", autocompletion=complete.protocols),
]
SourceName = Annotated[
    str | None,
    typer.Option("--source", metavar="S", help="Source set of the competition.", autocompletion=complete.sources),
]
Mirror = Annotated[
    str | None, typer.Option("--mirror", metavar="DIR|URL", help="Serves the source's files; default: KIT_MIRROR.")
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", metavar="L", help="Another label rule of the competition.", autocompletion=complete.label_rules
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one key of the recipe; repeatable.", autocompletion=complete.settings
    ),
]
Folds = Annotated[int | None, typer.Option("--folds", metavar="N", help="Number of folds; 0 trains one model only.")]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of folds, weights, order, augmentation.")]


FoldsFrom = Annotated[
    Path | None, typer.Option("--folds-from", metavar="FILE", help="Use the folds of an earlier run: its folds.csv.")
]

Parallel = Annotated[
    int,
    typer.Option(
        "--parallel", metavar="K", min=1, help="Models to train at once, on a GPU each or a part of the cores."
    ),
]
Despite = Annotated[
    bool, typer.Option("--despite-findings", help="Train in spite of what `kit check` found; the record says so.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory that each process that trains may take, e.g. 8GiB; default: KIT_MEMORY.",
    ),
]


def plan_of(
    slug: Slug,
    recipe: RecipeName = None,
    protocol: ProtocolId = None,
    source: SourceName = None,
    mirror: Mirror = None,
    labels: Labels = None,
    set_: Set = None,
    folds: Folds = None,
    seed: Seed = None,
    folds_from: FoldsFrom = None,
    despite_findings: Despite = False,
    memory: Memory = None,
) -> "RunPlan":
    """Return the plan that the options of a command describe."""
    from kit.fit.limits import parse_memory
    from kit.plan import plan_run

    overrides = list(set_ or [])
    overrides += [f"num_folds={folds}"] if folds is not None else []
    overrides += [f"seed={seed}"] if seed is not None else []
    return plan_run(
        slug,
        recipe=recipe,
        protocol=protocol,
        source=source,
        mirror=mirror,
        labels=labels,
        overrides=overrides,
        folds_from=folds_from,
        despite_findings=despite_findings,
        memory=None if memory is None else parse_memory(memory),
        say=say,
    )


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the arguments and options of `plan_of` before its own; it takes them as the dict `settings`.

    An argument of the command that has the name of one of these stands in its place, to be called otherwise.
    """
    taken = dict(inspect.signature(command).parameters)
    settings = [taken.pop(name, option) for name, option in inspect.signature(plan_of).parameters.items()]
    own = [option for option in taken.values() if option.name != "settings"]

    def called(**given: Any) -> None:
        renamed = {name: given[name] for name in inspect.signature(command).parameters if name in names}
        command({name: given.pop(name) for name in names}, **renamed, **given)

    names = [option.name for option in settings]

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {option.name: option.annotation for option in (*settings, *own)}
    called.__signature__ = inspect.Signature([*settings, *own])  # type: ignore[attr-defined]
    return called


def on_a_plan(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes a plan the arguments and options of `plan_of`, before its own.

    One that takes a `world` is run by all processes that torchrun has started, any other by the first of them.
    """
    taken = inspect.signature(command).parameters

    def planned(settings: dict[str, Any], **given: Any) -> None:
        from kit.train.distributed import joined

        with joined() as world:
            plan = world.first_alone(lambda: plan_of(**settings))
            if "world" in taken:
                command(plan, world=world, **given)
            elif world.is_first:
                command(plan, **given)

    planned.__name__, planned.__doc__ = command.__name__, command.__doc__
    own = [option for option in taken.values() if option.name not in ("plan", "world")]
    planned.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    return with_settings(planned)


@on_a_plan
def run(
    plan: "RunPlan",
    world: "World",
    parallel: Parallel = 1,
    track: Annotated[bool, typer.Option(help="Show the run to MLflow when it is done.")] = True,
) -> None:
    """Do the whole line: fetch, label, fold, pack, train, predict, judge, compare, submission, record, board."""
    from kit.board.compare import load_published
    from kit.board.site import write_site
    from kit.cli.show import show_comparison, show_run
    from kit.run import finish, track_run
    from kit.tracking import look_command

    record = finish(plan, say=say, parallel=parallel, world=world)
    if not world.is_first:
        return
    tracked = track and track_run(record, say=say)
    say("writing the pages ...")
    page = write_site(say=say).pages[plan.competition.slug]
    show_run(record)
    show_comparison(record, load_published(record.baselines))
    print()
    print(f"record      {plan.folder / 'record.json'}")
    if (plan.folder / "submission.csv").is_file():
        print(f"submission  {plan.folder / 'submission.csv'}")
    print(f"board       {page}")
    if tracked:
        print(f"look on     {look_command()}")
    print(f"next        kit judge {record.run_id}")
    print(f"then        kit export {record.run_id} FOLDER")


def fetch(slug: Slug, source: SourceName = None, mirror: Mirror = None) -> None:
    """Fetch, check and unpack a competition's files."""
    from kit.competition import load_competition
    from kit.files.fetch import fetch as fetch_files

    print(fetch_files(load_competition(slug), source=source, mirror=mirror, say=say))


@on_a_plan
def prepare(plan: "RunPlan") -> None:
    """Label, fold and decode: everything before training."""
    from kit.data.fold_report import fold_report
    from kit.plan import pack_for

    pack = pack_for(plan, say=say)
    table = plan.samples.table
    print(
        f"images    {len(table):,}: {', '.join(f'{n:,} {side}' for side, n in table['split'].value_counts().items())}"
    )
    print(f"classes   {len(plan.samples.classes)}")
    if plan.recipe.num_folds:
        sizes = plan.train["fold"].value_counts().sort_index()
        print(f"folds     {plan.recipe.num_folds}: {', '.join(f'{n:,}' for n in sizes)} images")
        print(f"even      {fold_report(plan.train)}")
    print(f"data      {plan.samples.folder}")
    print(f"pack      {pack.folder}")
    print(f"version   {plan.samples.fingerprint}")


@on_a_plan
def train(plan: "RunPlan", world: "World", parallel: Parallel = 1) -> None:
    """Train the models of a run, each unless it is trained already."""
    from kit.run import train_models

    for model in train_models(plan, say=say, parallel=parallel, world=world):
        print(f"{model.name}  {model.history['minutes']:.1f} min  {model.checkpoint}")


Predictions = Annotated[
    Path | None, typer.Option("--predictions", metavar="FILE.csv", help="Judge these, made elsewhere, instead.")
]
_NOT_STATED = "With --predictions; left out: not stated"


@with_settings
def judge(
    settings: dict[str, Any],
    slug: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="The competition; or a finished run: its id, or the start of it.",
            autocompletion=complete.slugs_and_runs,
        ),
    ],
    predictions: Predictions = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="M",
            help="With --predictions; default: the protocol's.",
            autocompletion=complete.metrics,
        ),
    ] = None,
    pretraining: Annotated[
        str | None,
        typer.Option("--pretraining", metavar="GROUP", help=f"none, imagenet-1k, imagenet-21k, ... {_NOT_STATED}."),
    ] = None,
    adaptation: Annotated[
        str | None,
        typer.Option("--adaptation", metavar="A", help=f"trained, linear-probe or zero-shot. {_NOT_STATED}."),
    ] = None,
    inference: Annotated[
        str | None,
        typer.Option("--inference", metavar="I", help=f"single, augmented or ensemble. {_NOT_STATED}."),
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option("--selection", metavar="S", help=f"held-out, out-of-fold or test-images. {_NOT_STATED}."),
    ] = None,
    training_pool: Annotated[
        str | None,
        typer.Option("--training-pool", metavar="POOL", help=f"`protocol`: what the protocol says. {_NOT_STATED}."),
    ] = None,
    extra_inputs: Annotated[
        str | None,
        typer.Option("--extra-inputs", metavar="WHAT", help=f"`none`: the image alone. {_NOT_STATED}."),
    ] = None,
    out_of_fold: Annotated[
        bool, typer.Option("--out-of-fold", help="No network had seen the training images that it predicted.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: run, file, results, compared, claim, report.")
    ] = False,
) -> None:
    """Predict with the models of a run, score, write the record; or judge a finished run, or others' predictions.

    With a competition as TARGET: the run that the options describe. With the id of a finished run: its scores, and
    what they may be compared with. With a competition and --predictions: a CSV file with an id and a probability per
    class, or the class, scored by the labels that are here, and compared under the conditions that you state.
    """
    from kit.cli.judging import judge_file, judge_finished, refuse_without_file
    from kit.competition import competition_folders
    from kit.outside import Stated

    stated = Stated(
        training_pool=training_pool,
        pretraining_group=pretraining,
        adaptation=adaptation,
        extra_inputs=extra_inputs,
        inference=inference,
        selection=selection,
        out_of_fold=out_of_fold,
    )
    if predictions is not None:
        judge_file(predictions, settings, metric=metric, stated=stated, as_json=as_json, say=say)
        return
    refuse_without_file(stated, metric=metric)
    if slug not in competition_folders():
        judge_finished(
            slug, {name: value for name, value in settings.items() if name != "slug"}, as_json=as_json, say=say
        )
        return
    from kit.cli.judging import show_judged
    from kit.plan import pack_for
    from kit.run import finish
    from kit.train.distributed import joined

    with joined() as world:
        plan = world.first_alone(lambda: plan_of(**settings))
        record = finish(plan, say=say, world=world)
        if world.is_first:
            show_judged(record, pack=pack_for(plan, say=say), as_json=as_json, say=say)


@on_a_plan
def submission(plan: "RunPlan", world: "World") -> None:
    """Write the submission file of a run."""
    from kit.errors import SubmissionError
    from kit.run import predict, train_models, write_submission_of

    train_models(plan, say=say, world=world)
    predictions = predict(plan, say=say, world=world)
    if not world.is_first:
        return
    path = write_submission_of(plan, predictions)
    if path is None:
        raise SubmissionError(
            f"The protocol {plan.protocol_id} of {plan.competition.slug} has no test images: nothing to submit. "
            f"Its protocols: {', '.join(plan.competition.protocols)} (--protocol)."
        )
    print(path)


COMMANDS = (run, fetch, prepare, train, judge, submission)
