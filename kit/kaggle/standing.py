"""Where we stand: the leaderboard as Kaggle has it now, and our best submission on it.

The download is somebody else's archive with other people's names in it: it is read with limits, never unpacked, and
only its scores are taken.
"""

import csv
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.board.kaggle_boards import (
    KaggleBoard,
    KaggleFacts,
    Placing,
    board_of,
    kaggle_facts,
    parsed_score,
    place,
)
from kit.competition import Competition
from kit.errors import ConfigError, FetchError
from kit.home import explained, filling
from kit.kaggle.account import list_submissions, name_on_server
from kit.kaggle.client import Kaggle, connect
from kit.kaggle.submissions import Ledger, Submission, merged, number_of
from kit.metrics import METRICS
from kit.progress import Say

LARGEST_ARCHIVE, LARGEST_TABLE = 64 * 2**20, 256 * 2**20  # bytes
MOST_ROWS, LONGEST_FIELD = 500_000, 10_000  # of the table; characters


@dataclass(frozen=True, kw_only=True)
class Line:
    """A team's line of a leaderboard."""

    team: str
    members: str
    score: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A leaderboard, and our best submission on it."""

    board: KaggleBoard
    archive: Path  # as it came
    without_score: int  # teams that have none
    best: Submission | None
    placing: Placing | None  # of `best`; None where it has no score of the board's kind
    own_lines: Sequence[tuple[int, Line]]  # rank -> lines of teams that the account is in


def standing(competition: Competition, *, say: Say = print) -> Standing:
    """Download the leaderboard and find our best submission's place.

    Raises:
        KaggleError: no permission, or no such competition.
        TryLaterError: the server is out of reach or in trouble.
        FetchError: what came is no leaderboard.
    """
    name = name_on_server(competition)
    kaggle = connect(name, f"the leaderboard of {name!r}", say=say)
    ledger = Ledger(slug=competition.slug)
    archive = _download(kaggle, ledger.folder / "leaderboard")
    title, lines = read_leaderboard(archive)
    private = "private" in title.lower().replace(name.lower(), "")
    greater_is_better = METRICS[competition.metric].greater_is_better
    facts = kaggle_facts().get(name) or KaggleFacts(
        metric=competition.metric,
        greater_is_better=greater_is_better,
        boards=(),
        awards="unverified",
        source="downloaded",
    )
    scored = [line for line in lines if _is_score(line.score)]
    if not scored:
        raise FetchError(
            f"The leaderboard of {name!r} has no score yet. Be the first: `kit submit {competition.slug}`."
        )
    board = board_of(name, [line.score for line in scored], facts=facts, kind="private" if private else "public")
    rows = list_submissions(kaggle)
    ledger.note_scores(rows)
    best = best_of(merged(ledger.submissions(), rows), private=private, greater_is_better=facts.greater_is_better)
    shown = (best.private if private else best.public) if best else ""
    own = kaggle.username.lower()
    return Standing(
        board=board,
        archive=archive,
        without_score=len(lines) - len(scored),
        best=best,
        placing=place(board, shown) if shown else None,
        own_lines=[
            (board.num_better(board.rounded(parsed_score(line.score))) + 1, line)
            for line in scored
            if own and own in {member.strip().lower() for member in (line.team, *line.members.split(","))}
        ],
    )


def best_of(submissions: Sequence[Submission], *, private: bool, greater_is_better: bool) -> Submission | None:
    """Return the submission with the best public (or private) score, the earliest of several; None without any."""
    sign = 1 if greater_is_better else -1
    values = {id(one): number_of(one.private if private else one.public) for one in submissions}
    scored = [one for one in submissions if values[id(one)] is not None]
    return max(scored, key=lambda one: sign * (values[id(one)] or 0.0), default=None)


def _is_score(text: str) -> bool:
    try:
        parsed_score(text)
    except ConfigError:
        return False
    return True


def _download(kaggle: Kaggle, folder: Path) -> Path:
    """Download into a folder of its own: the client gives it the very name of the competition's files."""
    with filling(folder) as part:
        kaggle.ask(lambda api: api.competition_leaderboard_download(kaggle.slug, str(part)))
        found = [path for path in part.iterdir() if path.suffix == ".zip"]
        if not found:
            raise FetchError(f"The server sent no leaderboard of {kaggle.slug!r}. Run the command again.")
        with explained(folder):
            found[0].replace(part / "leaderboard.zip")
    return folder / "leaderboard.zip"


def read_leaderboard(archive: Path) -> tuple[str, list[Line]]:
    """Return the name of the table in a downloaded leaderboard, and its lines.

    Raises:
        FetchError: not a zip archive with one CSV table that has a column Score; or larger than any leaderboard.
    """

    def refuse(what: str) -> FetchError:
        return FetchError(
            f"{archive} is no leaderboard: {what}. Expected is a zip archive with a CSV file that has a column Score. "
            "Run the command again; if it stays so, look on the competition's page."
        )

    try:
        title, content = _only_table(archive)
    except ValueError as error:
        raise refuse(str(error)) from None
    except Exception as error:  # a broken archive raises whatever its decoder does
        raise refuse(f"{type(error).__name__}: {error}") from None
    try:
        return title, list(_lines(content))
    except (KeyError, ValueError, csv.Error) as error:
        raise refuse(str(error)) from None


def _only_table(archive: Path) -> tuple[str, bytes]:
    """Return the one CSV file in an archive; a ValueError says why there is none to read."""
    if archive.stat().st_size > LARGEST_ARCHIVE:
        raise ValueError(f"it has more than {LARGEST_ARCHIVE:,} bytes")
    with zipfile.ZipFile(archive) as bundle:
        tables = [info for info in bundle.infolist() if info.filename.lower().endswith(".csv")]
        if len(tables) != 1:
            raise ValueError(f"{len(tables)} CSV files are in it")
        with bundle.open(tables[0]) as file:
            content = file.read(LARGEST_TABLE + 1)
    if len(content) > LARGEST_TABLE:
        raise ValueError(f"its table has more than {LARGEST_TABLE:,} bytes")
    return tables[0].filename, content


def _lines(content: bytes) -> Iterator[Line]:
    text = io.StringIO(content.decode("utf-8-sig", errors="replace"), newline="")
    rows = csv.DictReader(text)
    columns = {str(name).replace(" ", "").lower(): name for name in rows.fieldnames or ()}
    if "score" not in columns:
        raise ValueError(f"its columns are {', '.join(map(str, (rows.fieldnames or ())[:8]))[:200] or 'none'}")
    for number, row in enumerate(rows):
        if number >= MOST_ROWS:
            raise ValueError(f"it has more than {MOST_ROWS:,} lines")
        cells = {name: str(row.get(column) or "")[:LONGEST_FIELD] for name, column in columns.items()}
        yield Line(
            team=cells.get("teamname", ""),
            members=cells.get("teammemberusernames", ""),
            score=cells["score"].strip(),
        )
