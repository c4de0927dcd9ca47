"""The `kit` command: parses, calls one public function, prints. Results go to stdout, progress to stderr.

Exit codes stand in `kit.errors.EXIT_CODES`, and at the end of `kit --help`.
"""

import os
import re
import sys
from typing import Annotated, Any, NoReturn

import typer

from kit.cli import (
    bench,
    blend,
    check,
    complete,
    doctor,
    export,
    export_kernel,
    fit,
    host,
    kaggle,
    ledger,
    lint,
    listing,
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
from kit.cli.terminal import say
from kit.errors import EXIT_CODES, INTERRUPTED, MISTAKE, PARTING, KitError, did_you_mean
from kit.train.stopping import remember_interrupts, was_interrupted

_USAGE_ERROR: Any = typer.BadParameter.__base__  # of a command line that cannot be understood
_RECIPE_KEYS = {  # options that other trainers have -> what they are called here
    "--epochs": "schedule.epochs=3",
    "--lr": "schedule.lr=1e-3",
    "--batch-size": "schedule.batch_size=32",
    "--size": "input.image_size=224",
    "--model": "model.name=resnet18",
    "--arch": "model.name=resnet18",
}
_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {meaning}" for code, meaning in EXIT_CODES.items())

app = typer.Typer(
    name="kit",
    help="From an image-classification competition to an honest leaderboard row.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
GROUPS = (
    *(stages, check, look, lr_find, fit, tune, blend, pseudo, lint, submit, host, listing, lookup),
    *(place, ledger, reproduce, export, export_kernel, bench, ui, new, scrape, doctor),
)
for group in GROUPS:
    for command in group.COMMANDS:
        app.command(command.__name__.removesuffix("_").replace("_", "-"))(command)
app.add_typer(kaggle.app)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"competition-kit {version('competition-kit')}")
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
        with complete.in_bash():
            sys.exit(app(prog_name="kit", standalone_mode=False) or 0)
    except KitError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer makes this of a Ctrl-C inside a command, without a word
            _end_interrupted()
        raise
    except Exception as error:
        if was_interrupted():  # a library took the Ctrl-C for a fault of its own
            _end_interrupted()
        if isinstance(error, _USAGE_ERROR):
            _end_usage(error)
        if isinstance(error, BrokenPipeError):  # who read our output has seen enough: `kit list | head -1`
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(0)
        if isinstance(error, OSError):
            from kit.home import explained_message

            if (message := explained_message(error)) is not None:
                _end(message, MISTAKE)
        say.clear()
        raise


def _end(message: str, code: int) -> NoReturn:
    say(f"kit: {message}")
    sys.exit(code)


def _end_interrupted() -> NoReturn:
    say(PARTING)
    sys.exit(INTERRUPTED)


def _end_usage(error: Any) -> NoReturn:
    """End for a command line that cannot be understood: in one paragraph, with the nearest name."""
    if type(error).__name__ == "NoArgsIsHelpError":  # `kit` alone
        error.show()
        sys.exit(MISTAKE)
    message = " ".join(error.format_message().partition(" (Possible options")[0].replace("Value error, ", "").split())
    message = message if message.endswith(("?", ".")) else f"{message}."
    path = f"kit {sys.argv[1]}" if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "kit"
    if error.ctx is not None:
        path = error.ctx.command_path
        options = [name for option in error.ctx.command.get_params(error.ctx) for name in option.opts]
        if (wrong := getattr(error, "option_name", None)) is not None:
            if "--set" in options and wrong in _RECIPE_KEYS:
                message += f" Recipe keys are set by `--set {_RECIPE_KEYS[wrong]}`."
            else:
                message += did_you_mean(wrong, options)
        elif (found := re.search(r"'([^']*)' is not one of (.*)", message)) is not None:
            message += did_you_mean(found[1], re.findall(r"'([^']*)'", found[2]))
    _end(f"{message} `{path} --help` shows what there is.", MISTAKE)
