"""A study: the folder of a sweep, what it was begun with, and its trials in a storage that several processes share.

The trials stand in a journal, one file in the study's folder, or in a PostgreSQL database, for many machines. What
decides the numbers stands there too, and a command that says otherwise is refused.
"""

import contextlib
import fcntl
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from kit.config import Recipe, recipe_from_dict
from kit.errors import ConfigError, StorageError, did_you_mean
from kit.home import family, fingerprint, make_folder, write_json
from kit.tune.space import Space, untuned
from kit.tune.tune_table import read_space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage

OBJECTIVES = ("error", "minutes", "memory")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the numbers of a study; the same for everybody who works on it."""

    slug: str
    protocol: str
    source: str
    labels: str | None = None
    recipe: dict[str, Any]  # the untuned one, as `Recipe.as_dict` gives it
    space: dict[str, Any]  # as `Space.as_dict` gives it
    objectives: tuple[str, ...] = ("error",)
    folds_used: int = 1
    memory: int | None = None  # bytes that each trial may take
    data: str = ""  # fingerprint of images, labels and folds

    @property
    def untuned(self) -> Recipe:
        """The recipe that the draws are laid over."""
        return recipe_from_dict(self.recipe)

    @property
    def drawn_from(self) -> Space:
        """The space."""
        return read_space(self.space, self.untuned)


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Where a study is."""

    name: str
    url: str = ""  # of the database, with its password; "": the journal in the folder

    def __post_init__(self) -> None:
        """Refuse a name that is no file name."""
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"--name {self.name[:80]!r} cannot name a study: letters, digits, - _ and . are expected, up to 100."
            )

    @property
    def folder(self) -> Path:
        """The study's folder; what several machines share stands in the database alone."""
        return family("studies") / self.name

    @property
    def shown(self) -> str:
        """Where the trials stand, for people: without a password."""
        return without_password(self.url) if self.url else str(self.folder / "journal.log")

    def storage(self) -> "BaseStorage":
        """Return optuna's storage, whose tables must be there.

        Raises:
            StorageError: it cannot be reached or read.
        """
        import optuna

        quiet()
        if self.url:
            with reaching(self):
                return optuna.storages.RDBStorage(
                    self.url, skip_table_creation=True, skip_compatibility_check=True, engine_kwargs=_engine()
                )
        from kit.tune.journal import open_journal

        return open_journal(self.folder / "journal.log")

    def load(self, sampler: "BaseSampler | None" = None) -> "Study":
        """Return optuna's study, with the kit's pruner.

        Raises:
            StorageError: there is none, or its storage cannot be reached.
        """
        import optuna

        from kit.tune.pruning import FairPruner

        with reaching(self):
            try:
                return optuna.load_study(
                    study_name=self.name, storage=self.storage(), sampler=sampler, pruner=FairPruner()
                )
            except (KeyError, FileNotFoundError) as error:
                near = did_you_mean(self.name, [path.name for path in family("studies").glob("*")])
                raise StorageError(
                    f"There is no study {self.name} in {self.shown}.{near} `kit tune` begins one."
                ) from error


def _engine() -> dict[str, Any]:
    """Return how to speak to a database: no connection is kept, so that any number of workers may come."""
    from sqlalchemy.pool import NullPool

    return {"poolclass": NullPool, "connect_args": {"connect_timeout": 10}}


def checked_storage(url: str) -> str:
    """Return the address of a database as SQLAlchemy takes it, "" for none.

    Raises:
        ConfigError: it is not PostgreSQL's, or what speaks to it is not installed.
    """
    if not url:
        return ""
    kind = url.partition(":")[0]
    if kind not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise ConfigError(
            f"--storage {without_password(url)!r} is not the address of a PostgreSQL database. Expected: "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE. Without --storage a journal file in KIT_HOME is used, "
            "which serves any number of workers on one machine."
        )
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "--storage needs psycopg, which speaks to PostgreSQL and is not installed. Install the kit with its extra: "
            "pip install 'competition-kit[postgres]'."
        ) from error
    return "postgresql+psycopg" + url[len(kind) :]


def without_password(url: str) -> str:
    """Return an address that may be shown: user and password are left out of it."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return url.partition(":")[0] + "://..."


@contextlib.contextmanager
def reaching(place: StudyPlace) -> Iterator[None]:
    """Turn what a storage raises when it cannot be reached or read into a `StorageError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        cause = error.__cause__ or error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())[:300].rstrip(".?")
        password = urlsplit(place.url).password
        reason = reason.replace(password, "...") if password else reason
        raise StorageError(
            f"The storage {place.shown} of the study {place.name} cannot be used: {reason}. Check that the server "
            "runs, that this machine may connect, and that user, password and database are right (psql opens it with "
            "the same address); the same command then goes on."
        ) from error


def open_study(place: StudyPlace, settings: Settings) -> "Study":
    """Return the study, made now unless it is there. The tables are made here, before any worker looks.

    Raises:
        ConfigError: it was begun with other settings; names them.
        StorageError: the storage cannot be reached.
    """
    import optuna

    make_folder(place.folder)
    quiet()
    with reaching(place), turn(place):  # two that make the tables at once would fail in CREATE TYPE
        if place.url:
            optuna.storages.RDBStorage(place.url, engine_kwargs=_engine())
        study = optuna.create_study(
            study_name=place.name,
            storage=place.storage(),
            directions=["minimize"] * len(settings.objectives),
            load_if_exists=True,
        )
        begun_with = study.user_attrs.get("settings")
        if begun_with is None:
            study.set_user_attr("settings", asdict(settings))
            if (own := untuned(settings.drawn_from, settings.untuned)) is not None:
                study.enqueue_trial(own, user_attrs={"untuned": True})
    if begun_with is not None:
        refuse_differences(place.name, json.loads(json.dumps(begun_with)), settings)
    write_json(place.folder / "study.json", {"name": place.name, "storage": place.shown, **asdict(settings)})
    return study


def refuse_differences(name: str, begun_with: dict[str, Any], settings: Settings) -> None:
    """Refuse to go on with a study that was begun with other settings.

    Raises:
        ConfigError: names what differs, and the way out.
    """
    now = json.loads(json.dumps(asdict(settings)))
    differing = [field.name for field in fields(settings) if begun_with.get(field.name) != now[field.name]]
    if not differing:
        return
    shown = "; ".join(
        f"{one}: {_change(begun_with.get(one), now[one])}" for one in differing if one not in ("space", "recipe")
    )
    what = []
    if "space" in differing:
        what.append(f"its search space ({_change(begun_with['space'], now['space'])})")
    if "recipe" in differing:
        what.append(f"its recipe ({_change(begun_with['recipe'], now['recipe'])})")
    what += [shown] if shown else []
    raise ConfigError(
        f"The study {name} was begun with something else, then and now: {', '.join(what)}. Scores of before and after "
        "would not be comparable, and the sampler would learn from both. Put it back as it was to go on, or begin "
        f"another study: --name {name}-2."
    )


def _change(before: Any, now: Any) -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        parts = [f"{key} {_change(before.get(key), now.get(key))}" for key in keys]
        return "; ".join(parts[:3]) + (f"; and {len(parts) - 3} more" if len(parts) > 3 else "")
    shorter = (str(value) if len(str(value)) < 60 else f"{str(value)[:57]}..." for value in (before, now))
    return " -> ".join("nothing" if value == "None" else value for value in shorter)


def settings_of(study: "Study") -> Settings:
    """Return what a study was begun with."""
    stored = dict(study.user_attrs["settings"])
    return Settings(**{**stored, "objectives": tuple(stored["objectives"])})


def quiet() -> None:
    """Let optuna say nothing on its own: the kit says it."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process on this machine is in here for the lock file `path`; a killed one leaves at once."""
    make_folder(path.parent)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def turn(place: StudyPlace) -> Iterator[None]:
    """Wait until no other process is in here for this study, on any machine; a killed one leaves at once."""
    with alone(place.folder / "turn.lock"):
        if not place.url:
            yield
            return
        import sqlalchemy

        engine = sqlalchemy.create_engine(place.url, **_engine())
        with engine.connect() as connection:  # which holds the lock until it is closed
            number = int(fingerprint(place.name)[:15], 16)  # below 2**63, as PostgreSQL wants it
            connection.execute(sqlalchemy.text("SELECT pg_advisory_lock(:number)"), {"number": number})
            yield
