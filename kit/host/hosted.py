"""A hosted competition: its rules, accounts, files and standings, in one folder that outlives its server."""

import json
import re
import secrets
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from sqlite3 import OperationalError

from kit.competition import Competition
from kit.errors import CompetitionError, ConfigError, SubmissionError
from kit.home import family, make_folder, write_json
from kit.host.data_files import DataFile, archive_of, list_files
from kit.host.faults import Faults
from kit.host.ladder import released
from kit.host.reading import read_answers
from kit.host.solution import Solution, read_solution
from kit.host.standings import Place, standings
from kit.host.store import Store
from kit.host.tables import Submission, User
from kit.metrics import METRICS, Probabilities
from kit.progress import Say

AGAIN_AFTER = 5.0  # seconds, where scoring was interrupted
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is kept of how a competition is hosted."""

    data: str  # folder of the files that participants download
    public_share: float = 0.3  # of the test images: they make the public score
    daily_limit: int = 5  # submissions of a team on one day, UTC
    deadline: str = ""  # ISO 8601, UTC; empty: none
    ladder: bool = True  # a public score moves only when it improves by more than noise
    secret: str = ""  # parts the images into public and private; nobody else may know it

    def __post_init__(self) -> None:
        if not 0 < self.public_share < 1:
            raise ConfigError(f"The public share is {self.public_share:g}; a number between 0 and 1 was expected.")
        if self.daily_limit < 1:
            raise ConfigError(f"The daily limit is {self.daily_limit}; at least 1 submission a day was expected.")
        self.deadline_time()

    def deadline_time(self) -> datetime | None:
        """Return the deadline in UTC, without a zone; None where there is none.

        Raises:
            ConfigError: it is no time.
        """
        if not self.deadline:
            return None
        try:
            when = datetime.fromisoformat(self.deadline)
        except ValueError:
            raise ConfigError(
                f"The deadline {self.deadline!r} is no time. Expected is e.g. 2026-12-31T23:59 (UTC), or with a zone: "
                "2026-12-31T23:59+01:00."
            ) from None
        return when.astimezone(UTC).replace(tzinfo=None) if when.tzinfo else when


def hosting_folder(slug: str) -> Path:
    """Return where the kit keeps what it hosts of a competition; it may not exist yet."""
    return family("hosted") / slug


def refuse_second(folder: Path) -> None:
    """Refuse to host anew where something is hosted.

    Raises:
        CompetitionError: it is.
    """
    if (folder / "hosting.json").exists():
        raise CompetitionError(
            f"{folder} hosts a competition already, and its standings belong to its solution. Go on with it by "
            "giving neither a solution nor a share to hold out, or move that folder away."
        )


def utc_now() -> datetime:
    """Return the time in UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class HostedCompetition:
    """One competition as its participants meet it. Scoring goes on in a thread of its own, from `start` to `stop`.

    `create` makes one in a folder, `open` goes on with it; `faults` may be changed at any time.
    """

    def __init__(
        self,
        folder: Path,
        competition: Competition,
        settings: Settings,
        *,
        faults: Faults | None = None,
        now: Callable[[], datetime] = utc_now,
        say: Say = print,
    ) -> None:
        self.competition, self.settings, self.now, self.say = competition, settings, now, say
        self.faults = faults or Faults()
        self.folder = folder
        self.solution: Solution = read_solution(
            folder / "solution.csv", competition, public_share=settings.public_share, secret=settings.secret
        )
        self.files: dict[str, DataFile] = list_files(Path(settings.data))
        self.archive = archive_of(self.files, folder, say=say)
        self.store = Store(folder)
        self._news, self._stopping = threading.Condition(), False
        self._scorer: threading.Thread | None = None

    @classmethod
    def create(
        cls,
        folder: Path,
        competition: Competition,
        *,
        solution: Path,
        data: Path,
        public_share: float = Settings.public_share,
        daily_limit: int = Settings.daily_limit,
        deadline: str = Settings.deadline,
        ladder: bool = Settings.ladder,
        faults: Faults | None = None,
        now: Callable[[], datetime] = utc_now,
        say: Say = print,
    ) -> "HostedCompetition":
        """Host a competition anew.

        Args:
            folder: takes all that is kept; nothing may be hosted there yet.
            competition: the question.
            solution: CSV of the truth; see `kit.host.solution.read_solution`.
            data: folder of the files that participants download.
            public_share: see `Settings`, as for the next three.
            daily_limit: of submissions.
            deadline: ISO 8601, UTC.
            ladder: public scores move only by more than noise.
            faults: what is to go wrong.
            now: the clock.
            say: takes lines of progress and, while it is served, the log.

        Raises:
            CompetitionError: something is hosted there already, or the solution or the folder of files is no good.
            ConfigError: a setting is out of range.
        """
        refuse_second(folder)
        settings = Settings(
            data=str(data.resolve()),
            public_share=public_share,
            daily_limit=daily_limit,
            deadline=deadline,
            ladder=ladder,
            secret=secrets.token_hex(16),
        )
        read_solution(solution, competition, public_share=public_share, secret=settings.secret)
        list_files(data)
        make_folder(folder).chmod(0o700)  # the solution is nobody else's business
        copyfile(solution, folder / "solution.csv")
        write_json(folder / "hosting.json", {"competition": competition.slug, **asdict(settings)})
        return cls(folder, competition, settings, faults=faults, now=now, say=say)

    @classmethod
    def open(
        cls,
        folder: Path,
        competition: Competition,
        *,
        faults: Faults | None = None,
        now: Callable[[], datetime] = utc_now,
        say: Say = print,
        **changes: object,
    ) -> "HostedCompetition":
        """Go on with what `folder` hosts; `changes` are fields of `Settings`, from now on.

        Raises:
            CompetitionError: nothing is hosted there, or another competition, or a change would move images between
                public and private.
        """
        settings = kept_settings(folder, competition)
        if "public_share" in changes and changes["public_share"] != settings.public_share:
            raise CompetitionError(
                f"The public share of {competition.slug} is {settings.public_share:g} in {folder}, and stays so: "
                "another one would move images between public and private under scores that were given."
            )
        settings = replace(settings, **changes)  # type: ignore[arg-type]  # Settings checks them
        write_json(folder / "hosting.json", {"competition": competition.slug, **asdict(settings)})
        return cls(folder, competition, settings, faults=faults, now=now, say=say)

    @property
    def name(self) -> str:
        """The competition's name for clients: its slug on Kaggle, else its own."""
        return self.competition.kaggle or self.competition.slug

    @property
    def over(self) -> bool:
        """The deadline has passed."""
        deadline = self.settings.deadline_time()
        return deadline is not None and self.now() >= deadline

    def add_user(self, name: str) -> str:
        """Make an account and return its API key, which is kept nowhere.

        Raises:
            ConfigError: there is one of that name already, or it has other characters than letters, digits, . _ and -.
        """
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name[:80]!r} cannot name an account: up to 64 letters (a to z), digits, . _ and - are expected, the "
                "first one a letter or a digit."
            )
        return self.store.add_user(name)

    def submit(self, user: User, token: str, *, description: str) -> Submission:
        """Hand an upload in; it is on the disk, and waits for its score, when this returns.

        Raises:
            SubmissionError: the limit of today is reached, or the file did not come.
        """
        accepted = self.store.submit(
            user, token, description=description, now=self.now(), late=self.over, daily_limit=self.settings.daily_limit
        )
        self._tell()
        return accepted

    def choose_finals(self, name: str, refs: list[int]) -> None:
        """Set the submissions that an account is to be ranked by in the end; none: the best by public score.

        Raises:
            ConfigError: there is no such account.
            SubmissionError: too many, or one that cannot be ranked.
        """
        known = {user.name.lower(): user for user in self.store.users()}
        if name.lower() not in known:
            raise ConfigError(f"There is no account {name!r}. Known: {', '.join(known) or 'none'}.")
        self.store.choose_finals(known[name.lower()], refs)

    def places(self, *, private: bool) -> list[Place]:
        """Return the standings by public score, or by the private score of each team's final submissions."""
        return standings(
            self.store.submissions(),
            self.store.names(),
            greater_is_better=METRICS[self.solution.form.metric].greater_is_better,
            private=private,
        )

    def start(self) -> None:
        """Begin to score what waits, also from before."""
        self._stopping = False
        self._scorer = threading.Thread(target=self._score_all, name="scoring", daemon=True)
        self._scorer.start()

    def stop(self) -> None:
        """End scoring after the submission that is at it; the others wait for the next start."""
        self._stopping = True
        self._tell()
        if self._scorer is not None:
            self._scorer.join()

    def wait_until_scored(self, *, seconds: float = 60) -> None:
        """Wait until no submission waits for its score.

        Raises:
            TimeoutError: one still waits after so many seconds.
        """
        with self._news:
            if not self._news.wait_for(lambda: self.store.next_pending() is None, timeout=seconds):
                raise TimeoutError(f"A submission still waits for its score after {seconds:g} seconds.")

    def _tell(self) -> None:
        with self._news:
            self._news.notify_all()

    def _score_all(self) -> None:
        while not self._stopping:
            try:
                self._score_next()
            except Exception:  # a locked database, a full disk: no fault of the file's, and it may pass
                self.say(f"scoring is interrupted, and tried again in a moment:\n{traceback.format_exc()}")
                self._pause(AGAIN_AFTER)

    def _score_next(self) -> None:
        if (submission := self.store.next_pending()) is None:
            with self._news:
                self._news.wait(timeout=1.0)  # a command in another process may have left one
            return
        self._pause(self.faults.scoring_seconds)
        if not self._stopping:
            self._score(submission)
            self._tell()

    def _pause(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._stopping, timeout=seconds)

    def _score(self, submission: Submission) -> None:
        """Score one submission. The Ladder looks back: they are scored one by one, in the order they came."""
        try:
            answers = self._answers(submission)
            public, private = self.solution.scores(answers)
            moved: float | None = public
            if self.settings.ladder and not submission.late:
                moved = self._ladder(submission, answers)
            leading = self.store.leading(submission) if moved is None else None
            shown = leading.released if leading else moved
            assert shown is not None
            self.store.set_scores(submission, public=public, private=private, released=shown, moved=moved is not None)
        except SubmissionError as error:
            self.store.set_error(submission, str(error))
        except OperationalError:
            raise
        except Exception:  # a fault of ours must not end the scoring of the others
            self.say(f"submission {submission.ref} could not be scored:\n{traceback.format_exc()}")
            self.store.set_error(submission, "The host could not score this file. Please tell the host.")

    def _ladder(self, submission: Submission, answers: Probabilities) -> float | None:
        leading = self.store.leading(submission)
        if leading is None:
            return released(self.solution, answers, None)
        assert leading.released is not None
        return released(self.solution, answers, (leading.released, self._answers(leading)))

    def _answers(self, submission: Submission) -> Probabilities:
        return read_answers(self.store.content(submission), self.solution.form, self.solution.ids)


def kept_settings(folder: Path, competition: Competition) -> Settings:
    """Return how a competition is hosted in `folder`.

    Raises:
        CompetitionError: nothing is hosted there, or another competition.
    """
    try:
        kept = json.loads((folder / "hosting.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CompetitionError(
            f"{competition.slug} is not hosted yet: {folder} does not have its solution. Give --solution FILE with "
            "--data FOLDER, or --holdout SHARE."
        ) from None
    if kept.pop("competition") != competition.slug:
        raise CompetitionError(f"{folder} hosts another competition than {competition.slug}. Give another folder.")
    return Settings(**kept)
