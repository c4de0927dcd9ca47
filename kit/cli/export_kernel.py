"""The command that makes a Kaggle notebook of a run: export-kernel."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from kit.cli import complete
from kit.cli.stages import Slug
from kit.cli.terminal import say


def export_kernel(
    slug: Slug,
    run: Annotated[
        str,
        typer.Option(
            "--run", metavar="RUN", help="A finished run, or the start of its id.", autocompletion=complete.runs
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Empty, or not there yet; default: kernel-SLUG.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="NAME", help="Your account's name; default: KAGGLE_USERNAME.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="M", help="predict, with the run's models; or train, by its recipe.")
    ] = "predict",
    hours: Annotated[float, typer.Option("--hours", metavar="H", help="Of a session.")] = 9.0,
) -> None:
    """Write the notebook and the data set that answer for a run on Kaggle, without internet, on two GPUs."""
    from kit.board.records import find_record
    from kit.competition import load_competition
    from kit.errors import ConfigError, did_you_mean
    from kit.export.kernel import MODES
    from kit.export.kernel import export_kernel as export

    owner = owner or os.environ.get("KAGGLE_USERNAME")
    if not owner:
        raise ConfigError("Whose notebook is it? Give the name of your account on Kaggle: --owner NAME.")
    if mode not in MODES:
        raise ConfigError(f"--mode {mode!r} is unknown.{did_you_mean(mode, MODES)} Known are {', '.join(MODES)}.")
    folder = out or Path(f"kernel-{slug}")
    chosen: Any = mode
    made = export(load_competition(slug), find_record(run), folder, owner=owner, mode=chosen, hours=hours, say=say)
    num_bytes = sum(int(one["num_bytes"]) for one in made.weights)
    print(f"notebook  {made.kernel}, {made.mode}, offline, two GPUs")
    files = "1 file" if len(made.weights) == 1 else f"{len(made.weights)} files"
    print(f"weights   {files}, {num_bytes / 1e6:.1f} MB ({folder / 'weights.json'})")
    print(f"wheels    {len(made.wheels)} packages are needed ({folder / 'wheels.txt'}); for those that Kaggle's image")
    print(f"          lacks: pip download --no-deps -d {folder / 'dataset' / 'wheels'} NAME")
    print(f"then      kaggle datasets create -p {folder / 'dataset'} --dir-mode zip")
    print(f"          kaggle kernels push -p {folder}")


COMMANDS = (export_kernel,)
