"""The command that stands in for Kaggle: host."""

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli import complete
from kit.cli.terminal import say

if TYPE_CHECKING:
    from kit.competition import Competition
    from kit.host.hosted import HostedCompetition

ACTIONS = "user add NAME, user renew NAME, user close NAME, or finals NAME [REF] [REF]"


def host(
    slug: Annotated[
        str, typer.Argument(metavar="SLUG", help="Name of the competition.", autocompletion=complete.slugs)
    ],
    action: Annotated[
        list[str] | None, typer.Argument(metavar="[ACTION]...", help=f"Instead of serving: {ACTIONS}.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port to serve at.")] = 8765,
    bind: Annotated[
        str, typer.Option("--bind", metavar="ADDRESS", help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    solution: Annotated[
        Path | None, typer.Option("--solution", metavar="FILE", help="Truth of the test images, as a submission.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Files to download, with --solution.")
    ] = None,
    holdout: Annotated[
        float | None,
        typer.Option("--holdout", metavar="SHARE", help="Hide this share of the labelled images instead."),
    ] = None,
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="DIR", help="Where the images to hold out are fetched from.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Name of a source set, for --holdout.")] = None,
    public_share: Annotated[
        float | None,
        typer.Option("--public-share", metavar="SHARE", help="Of the test images, for the public score. [0.3]"),
    ] = None,
    daily_limit: Annotated[
        int | None, typer.Option("--daily-limit", metavar="N", help="Submissions of a team a day, UTC. [5]")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option("--deadline", metavar="TIME", help="E.g. 2026-12-31T23:59, UTC. [none]")
    ] = None,
    ladder: Annotated[
        bool | None,
        typer.Option("--ladder/--no-ladder", help="Public scores move only by more than noise. [ladder]"),
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="Accounts to make where missing, a name a line.")
    ] = None,
) -> None:
    """Host a competition for Kaggle's own client: files, accounts, scores and standings."""
    from kit.competition import load_competition
    from kit.host.hosted import HostedCompetition, hosting_folder

    competition = load_competition(slug)
    folder = hosting_folder(competition.slug)
    given = {"public_share": public_share, "daily_limit": daily_limit, "deadline": deadline, "ladder": ladder}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if action:
        return _act(competition, action)
    if (folder / "hosting.json").exists() and solution is None and holdout is None:
        if data is not None:
            changes["data"] = str(data.resolve())
        hosted = HostedCompetition.open(folder, competition, say=say, **changes)
    else:
        hosted = _create(
            competition, folder, solution=solution, data=data, holdout=holdout, source=source, mirror=mirror, **changes
        )
    if users is not None:
        _add_users(hosted, users)
    _serve(hosted, bind=bind, port=port)
    return None


def _create(
    competition: "Competition",
    folder: Path,
    *,
    solution: Path | None,
    data: Path | None,
    holdout: float | None,
    source: str | None,
    mirror: str | None,
    **settings: Any,
) -> "HostedCompetition":
    import secrets

    from kit.data.prepare import prepare
    from kit.errors import ConfigError
    from kit.host.holdout import hold_out
    from kit.host.hosted import HostedCompetition, refuse_second

    if (solution is None) != (data is None) or (solution is not None and holdout is not None):
        raise ConfigError(
            "--solution FILE, the truth of the test images, and --data FOLDER, the files to download, go together; "
            "--holdout SHARE makes both and goes alone."
        )
    refuse_second(folder)
    if solution is not None and data is not None:
        return HostedCompetition.create(folder, competition, solution=solution, data=data, say=say, **settings)
    samples = prepare(competition, source=source, mirror=mirror, say=say)
    made = hold_out(competition, samples, folder, share=holdout, secret=secrets.token_hex(16), say=say)
    hosted = HostedCompetition.create(folder, competition, solution=made.solution, data=made.data, say=say, **settings)
    made.solution.unlink()  # it is kept as solution.csv
    return hosted


def _act(competition: "Competition", action: list[str]) -> None:
    from kit.errors import ConfigError
    from kit.host.hosted import HostedCompetition, hosting_folder

    hosted = HostedCompetition.open(hosting_folder(competition.slug), competition, say=say)
    match action:
        case ["user", "add", name]:
            _show_key(name, hosted.add_user(name))
        case ["user", "renew", name]:
            _show_key(name, hosted.store.renew_key(name))
        case ["user", "close", name]:
            hosted.store.close_user(name)
            print(f"{name} has no key any more; what was handed in stays.")
        case ["finals", name, *refs] if all(ref.isdecimal() for ref in refs):
            hosted.choose_finals(name, [int(ref) for ref in refs])
            print(f"{name} will be ranked by {' and '.join(refs) or 'the best by public score'}.")
        case _:
            raise ConfigError(f"{' '.join(action)[:200]!r} is nothing that can be done here. Known: {ACTIONS}.")


def _show_key(name: str, key: str) -> None:
    print(f"KAGGLE_USERNAME={name}\nKAGGLE_KEY={key}")
    say("This key is shown once, and kept nowhere.")


def _add_users(hosted: "HostedCompetition", file: Path) -> None:
    from kit.errors import ConfigError

    try:
        names = file.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The list of accounts {file} cannot be read: {error}. Expected is a name a line.") from error
    there = {name.lower() for name in hosted.store.names().values()}
    for name in names:
        if name.lower() not in there:
            _show_key(name, hosted.add_user(name))


def _serve(hosted: "HostedCompetition", *, bind: str, port: int) -> None:
    from kit.host.server import serve

    with serve(hosted, host=bind, port=port) as server:
        print(f"{hosted.name}: {server.url}")
        say(f"Standings: {server.url}/   End with Ctrl-C; standings are kept in {hosted.folder}.")
        if bind not in ("127.0.0.1", "::1", "localhost"):
            say("It is plain HTTP: whoever can listen on this network can read keys and files as they pass.")
        say(
            f"The kit comes here with KIT_KAGGLE_URL={server.url}, Kaggle's own command with "
            f"KAGGLE_API_ENVIRONMENT=LOCALHOST HTTP_PROXY={server.url} NO_PROXY= ; both with the account's "
            "KAGGLE_USERNAME and KAGGLE_KEY."
        )
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


COMMANDS = (host,)
