"""The command that says how fast a recipe is on this machine: bench."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.stages import on_a_plan
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.bench import BenchReport
    from kit.plan import RunPlan


@on_a_plan
def bench(
    plan: "RunPlan",
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", help="Of each measurement, about.")] = 5.0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the report there, as JSON.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object: competition, recipe, network, image_size, batch_size, device, num_threads, "
            "input_rate, stages, evaluation_rate, training_minutes, prediction_minutes, num_models, versions.",
        ),
    ] = False,
) -> None:
    """Measure input, steps, evaluation and the whole recipe here, beside the bare network on made-up images."""
    from kit.bench import measure
    from kit.home import write_json

    report = measure(plan, seconds=seconds, say=say)
    if out is not None:
        write_json(out, report.as_dict())
    print_json(report.as_dict()) if as_json else show_report(report)


def show_report(report: "BenchReport") -> None:
    """Print a report as a table."""
    from kit.bench import STAGE_NAMES

    print(
        f"{report.competition}, recipe {report.recipe}: {report.network}, {report.image_size} px, batches of "
        f"{report.batch_size}, on {report.device} ({report.num_threads} threads)\n"
    )
    print(f"{'':24}{'images/s':>10}{'bare network':>14}{'share':>8}")
    print(f"{'input alone':24}{report.input_rate:10,.0f}")
    for rate in report.stages:
        name = STAGE_NAMES[rate.stage]
        print(f"{name:24}{rate.images_per_second:10,.0f}{rate.ceiling:14,.0f}{rate.share:8.0%}")
    print(f"{'evaluation, one view':24}{report.evaluation_rate:10,.0f}")
    models = "1 model" if report.num_models == 1 else f"{report.num_models} models"
    print(
        f"\npredicted for the whole run, {models}: {report.training_minutes:.1f} min of training, "
        f"{report.prediction_minutes:.1f} min of prediction"
    )


COMMANDS = (bench,)
