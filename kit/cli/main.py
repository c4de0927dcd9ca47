"""The `kit` command: parses, calls one public function, prints. Results go to stdout, progress to stderr.

Exit codes: 0 done; 2 a mistake that the message explains; 75 Kaggle is out of reach or asks for a pause, and the same
command may work later; 130 interrupted, 143 terminated; 1 a bug of ours, with its traceback.
"""

import sys
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from kit.cli import (
    bench,
    blend,
    check,
    export,
    export_kernel,
    fit,
    host,
    kaggle,
    ledger,
    lint,
    look,
    lookup,
    lr_find,
    new,
    place,
    pseudo,
    reproduce,
    scrape,
    stages,
    submit,
    tune,
    ui,
)
from kit.errors import KitError
from kit.train.stopping import remember_interrupts

INTERRUPTED = "\nkit: interrupted. Finished stages are kept; the same command goes on from there."

app = typer.Typer(
    name="kit",
    help="From an image-classification competition to an honest leaderboard row.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GROUPS = (
    *(stages, check, look, lr_find, fit, tune, blend, pseudo, lint, submit, host, lookup),
    *(place, ledger, reproduce, export, export_kernel, bench, ui, new, scrape),
)
for group in GROUPS:
    for command in group.COMMANDS:
        app.command(command.__name__.removesuffix("_").replace("_", "-"))(command)
app.add_typer(kaggle.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"competition-kit {installed_version('competition-kit')}")
        raise typer.Exit


@app.callback()
def kit(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """From an image-classification competition to an honest leaderboard row."""


def main() -> None:
    """Run the command line; a user's mistake becomes one paragraph and exit code 2."""
    remember_interrupts()
    try:
        app(standalone_mode=True)
    except KitError as error:
        print(f"kit: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(130)
    except SystemExit as end:
        if end.code == 130:  # Typer makes this of a Ctrl-C inside a command, without a word
            print(INTERRUPTED, file=sys.stderr)
        raise
    except OSError as error:
        from kit.home import explained_message

        if (message := explained_message(error)) is None:
            raise
        print(f"kit: {message}", file=sys.stderr)
        sys.exit(2)
