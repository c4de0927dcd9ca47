"""The command that makes one answer of several runs': blend."""

from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import Labels, Mirror, Slug
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.blend.blend import BlendReport
    from kit.blend.rules import Mixture

ON_TEST = {"test": "the models trained on all images", "fold-ensemble": "the means of the fold models"}


def blend(
    slug: Slug,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids of finished runs, or starts of them.", autocompletion=complete.runs),
    ],
    rule: Annotated[
        str,
        typer.Option(
            "--rule",
            metavar="R",
            help="auto, mean, geometric, rank, best, weights or greedy; auto: chosen too.",
            autocompletion=complete.blend_rules,
        ),
    ] = "auto",
    mirror: Mirror = None,
    labels: Labels = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: run_id, metric, members, copies, scores, diversity, mixture, by_fold, ways, "
            "naive, nested, optimism, gain, best_member, notes.",
        ),
    ] = False,
) -> None:
    """Make one answer of several runs: chosen out of fold, its worth told by nested cross-validation."""
    from kit.blend.blend import blend as blend_runs
    from kit.board.records import run_folder
    from kit.board.site import write_site

    report = blend_runs(slug, runs, rule=rule, mirror=mirror, labels=labels, say=say)
    page = write_site(say=say).pages[slug]
    if as_json:
        print_json(report.as_dict())
        return
    _show(report)
    folder = run_folder(report.record.run_id)
    print(f"\nrecord      {folder / 'record.json'}")
    if (folder / "submission.csv").is_file():
        print(f"submission  {folder / 'submission.csv'}")
    print(f"all of it   {folder / 'blend.json'}")
    print(f"board       {page}")


def _show(report: "BlendReport") -> None:
    from kit.judge.paired import interval_text, measured

    metric = report.nested.metric
    print(f"\n{report.record.run_id}\n\nmembers, out of fold")
    for number, (run, score) in enumerate(zip(report.members, report.scores, strict=True), 1):
        print(f"  {number:2}  {run}  {score}")
    for note in report.notes:
        print(f"  note: {note}")
    if report.diversity:
        print("\ndiversity (pairs: answers that differ, correlation of the errors, Yule's Q of them)")
        for pair in report.diversity:
            print(
                f"  {pair.first + 1:2} and {pair.second + 1:2}  {pair.disagreement:7.2%}  {_number(pair.errors)}  "
                f"{_number(pair.q)}"
            )
    if len(report.ways) > 1:
        print(f"\n{metric} of what there was to choose between, each fold answered by the fit to the others")
        for way, value in report.ways.items():
            print(f"  {way:24} {value:.5f}{'   chosen' if way == str(report.mixture.way) else ''}")
    print(f"\nblend     {_described(report.mixture)}")
    if report.by_fold:
        for fold, mixture in report.by_fold.items():
            print(f"  without fold {fold}: {_described(mixture)}")
        print(f"naive     {metric} {report.naive:.5f}, on the images that it was chosen on")
        print(f"nested    {report.nested}")
        print(f"optimism  {report.optimism:+.5f}: by so much the naive score is too good")
    else:
        print(f"score     {report.nested}; nothing was chosen, so there is nothing to be too good")
    gain = report.gain
    between = f"{measured(gain.mean, metric)} {interval_text(gain.low, gain.high, metric=metric)}"
    print(f"gain      {between} over member {report.best_member + 1}, the best by itself: {gain.verdict}")
    for result in report.record.results:
        if result.kind in ON_TEST:
            print(f"test      {result.scores[metric]}, of {ON_TEST[result.kind]}")


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+9.3f}"


def _described(mixture: "Mixture") -> str:
    weights = ", ".join(f"{weight:.3f}" for weight in mixture.weights)
    more = f"; temperature {mixture.temperature:.3f}" if mixture.temperature != 1 else ""
    if mixture.thresholds:
        different = sorted(set(mixture.thresholds))
        more += f"; thresholds {', '.join(f'{one:g}' for one in different)}"
    return f"{mixture.way}; weights {weights}{more}"


COMMANDS = (blend,)
