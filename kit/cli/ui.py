"""The command that starts the pages to look at: ui."""

from typing import Annotated

import typer

from kit.cli import complete
from kit.cli.terminal import say


def ui(
    study: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY]", help="For optuna-dashboard; default: the newest here.", autocompletion=complete.studies
        ),
    ] = None,
    storage: Annotated[
        str, typer.Option("--storage", metavar="URL", help="Database of the study, as `kit tune` was given it.")
    ] = "",
) -> None:
    """Start MLflow's page and optuna-dashboard on this machine alone, and print their addresses."""
    from kit.home import family
    from kit.tune.servers import serve, servers

    serve(servers(study, storage=storage, say=say), say=print, log=family("studies") / "pages.log")


COMMANDS = (ui,)
