"""The command that says how fast a recipe is on this machine: bench."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.stages import on_a_plan, say

if TYPE_CHECKING:
    from kit.bench import BenchReport
    from kit.plan import RunPlan


@on_a_plan
def bench(
    plan: "RunPlan",
    seconds: Annotated[float, typer.Option("--seconds", metavar="N", help="Of each measurement, about.")] = 5.0,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the report there.")] = None,
) -> None:
    """Measure input, steps, evaluation and the whole recipe here, beside the bare network on made-up images."""
    from kit.bench import measure
    from kit.home import write_json

    report = measure(plan, seconds=seconds, say=say)
    if json is not None:
        write_json(json, report.as_dict())
    show_report(report)


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
