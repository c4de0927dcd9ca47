"""`kit kaggle`: the account, and a competition's files one by one."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.stages import Slug
from kit.cli.terminal import print_json, say

app = typer.Typer(
    name="kaggle",
    help="The Kaggle account, and a competition's files one by one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("login-check")
def login_check(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object: username, server, place, readable_by_others.")
    ] = False,
) -> None:
    """Say whether Kaggle knows this machine's credentials, and where they were found; they are not shown."""
    from kit.kaggle.account import check_login

    found = check_login(say=say)
    if as_json:
        print_json(found)
        return
    print(f"logged in as  {found.username}")
    print(f"at            {found.server}")
    print(f"credentials   {found.place}")
    if found.readable_by_others:
        say(f"Other users of this machine can read {found.place}: `chmod 600 {found.place}`.")


@app.command()
def files(
    slug: Slug,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: files.")] = False,
) -> None:
    """List a competition's files on Kaggle with their sizes."""
    from kit.competition import load_competition
    from kit.kaggle.account import name_on_server
    from kit.kaggle.downloads import files_of
    from kit.store.decode import printable

    found = files_of(name_on_server(load_competition(slug)), say=say)
    if as_json:
        print_json({"files": [{"name": name, "num_bytes": num_bytes} for name, num_bytes in found.items()]})
        return
    for name, num_bytes in found.items():
        print(f"{num_bytes:>15,}  {printable(name)}")


@app.command()
def get(
    slug: Slug,
    name: Annotated[str, typer.Argument(metavar="FILE", help="As `kit kaggle files` lists it.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to put it.")] = Path(),
) -> None:
    """Download one file of a competition; `kit fetch` gets all that a run needs."""
    from kit.competition import load_competition
    from kit.kaggle.account import name_on_server
    from kit.kaggle.downloads import download_file

    print(download_file(name_on_server(load_competition(slug)), name, to, say=say))
