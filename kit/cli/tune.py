"""The command that sweeps over a recipe inside limits of memory and time: tune."""

import contextlib
import sys
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import Despite, Labels, Mirror, ProtocolId, RecipeName, Set, Slug, SourceName
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.tune.result import StudyResult


def tune(
    slug: Slug,
    trials: Annotated[int, typer.Option("--trials", metavar="N", help="Trials of the study, all in all.")] = 20,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="TIME", help="For all trials, e.g. 2h or 90m; default: no end.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="SIZE", help="On each device, for all workers on it, e.g. 8GiB."),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", metavar="K", help="Trials at once, from this command.")] = 1,
    storage: Annotated[
        str,
        typer.Option(
            "--storage",
            metavar="URL",
            help="PostgreSQL database for many machines, postgresql+psycopg://...; default: a file in KIT_HOME.",
        ),
    ] = "",
    recipe: RecipeName = None,
    protocol: ProtocolId = None,
    source: SourceName = None,
    mirror: Mirror = None,
    labels: Labels = None,
    set_: Set = None,
    folds_used: Annotated[
        int, typer.Option("--folds-used", metavar="N", help="Of the recipe's folds, by which a trial is judged.")
    ] = 1,
    objectives: Annotated[
        str, typer.Option("--objectives", metavar="LIST", help="error; and on request minutes, memory.")
    ] = "error",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of what is drawn.")] = 1,
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="Of the study; default: by competition.", autocompletion=complete.studies
        ),
    ] = "",
    final: Annotated[bool, typer.Option(help="Re-run winner and untuned recipe on fresh folds and compare.")] = True,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Draw the progress as a table; with --json: say how far the study is, and no more."
        ),
    ] = False,
    track: Annotated[bool, typer.Option(help="Show the study to MLflow.")] = True,
    despite_findings: Despite = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: result, recipe, page; "
            "with --watch, at once: study, storage, finished, minutes, best, trials.",
        ),
    ] = False,
) -> None:
    """Search for a better recipe inside limits of memory and time; the same command goes on where it was ended."""
    from kit.competition import load_competition
    from kit.fit.limits import parse_memory
    from kit.tune.conclude import conclude
    from kit.tune.minutes import parse_duration
    from kit.tune.study import alone
    from kit.tune.tracked import track_study
    from kit.tune.tune import Order, place_of, sweep
    from kit.tune.watch import Watch, snapshot

    order = Order(
        slug=slug,
        num_trials=trials,
        budget_seconds=None if budget is None else parse_duration(budget),
        memory=None if memory is None else parse_memory(memory),
        num_workers=workers,
        storage=storage,
        name=name,
        recipe=recipe,
        protocol=protocol,
        source=source,
        mirror=mirror,
        labels=labels,
        overrides=tuple(set_ or ()),
        folds_used=folds_used,
        objectives=tuple(part.strip() for part in objectives.split(",") if part.strip()),
        seed=seed,
        despite_findings=despite_findings,
    )
    if watch and as_json:
        load_competition(slug)  # who mistypes it is told so
        print_json(snapshot(place_of(order)))
        return
    with contextlib.ExitStack() as stack:
        drawn = Watch() if watch and sys.stderr.isatty() else None
        show = None if drawn is None else stack.enter_context(drawn)
        swept = sweep(order, say=say if drawn is None else drawn.say, show=show)
    tracked = track and track_study(swept.study, say=say)
    # Somebody else who swept along may be at it: then it is waited for, and found done.
    with alone(swept.place.folder / "finals.lock"):
        result = conclude(
            swept.place,
            swept.study,
            metric=swept.plan.protocol.metric,
            compare=final,
            mirror=mirror,
            despite_findings=despite_findings,
            say=say,
        )
    if as_json:
        place = swept.place.folder
        print_json({"result": result, "recipe": place / "winner.toml", "page": place / "page.html"})
        return
    show_result(result)
    print(f"recipe      {swept.place.folder / 'winner.toml'}  (kit run {slug} --recipe ...)")
    print(f"page        {swept.place.folder / 'page.html'}")
    if tracked:
        print("look on     kit ui")


def show_result(result: "StudyResult") -> None:
    """Print what a sweep came to."""
    best = next(row for row in result.trials if row.number == result.winner)
    untuned = next((row for row in result.trials if row.is_untuned and row.error is not None), None)
    endings = Counter(row.ended for row in result.trials)
    folds = "1 fold" if result.num_folds_used == 1 else f"{result.num_folds_used} folds"
    print(f"study       {result.name}: {', '.join(f'{count} {ended}' for ended, count in endings.items())}")
    print(f"best        trial {best.number}: error {best.error:.4f}, {result.metric} out of fold, {folds}")
    if untuned is not None:
        print(f"untuned     error {untuned.error:.4f} there, of which the best of many trials is no measure")
    for key, (before, after) in result.changed.items():
        print(f"            {key} = {_short(after)} (untuned: {_short(before)})")
    if len(result.objectives) > 1:
        print(f"front       trials {', '.join(str(row.number) for row in result.trials if row.on_front)}: see the page")
    if result.comparison is not None:
        print(f"compared    {result.comparison.verdict}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


COMMANDS = (tune,)
