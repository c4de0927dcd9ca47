"""Events: sessions of pointer events become a folder of pictures (`strokes` draws one) and a CSV of their labels."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from kit.data.render.folder import Drawing, fill
from kit.data.render.strokes import COLUMNS, SCREEN, SPEEDS, TimeUnit, check_settings, draw_events, refuse_doubled
from kit.errors import ConfigError, DataError
from kit.home import fingerprint
from kit.progress import Say

VERSION = "strokes 1"  # of the drawing: another one is drawn anew


def render_events(
    events: pd.DataFrame | Mapping[str, pd.DataFrame],
    folder: str | Path,
    *,
    labels: Mapping[str, str] | None = None,
    session: str = "session",
    label: str = "label",
    keep: str | Sequence[str] = (),
    size: int = 224,
    screen: tuple[int, int] | None = SCREEN,
    speeds: tuple[float, float] = SPEEDS,
    time_unit: TimeUnit = "s",
    workers: int | None = None,
    leave_out_bad: bool = False,
    say: Say = print,
) -> Path:
    """Draw each session as `<folder>/<session>.png` and write `<folder>/labels.csv`; return the CSV's path.

    A second call draws only what is new or changed. The CSV has the columns `image` and `label`, and those of `keep`.

    Args:
        events: one long table with a column that names the session, or a table for each name; see `draw_events`.
        folder: made if it is not there.
        labels: session -> label; None: the tables have a column of it, with one value for each session.
        session: the column that names the session, in a long table.
        label: the column of the label.
        keep: further columns for the CSV, or one, one value for each session, such as the person who made it: say
            `group="person"` where the pictures are loaded, and no person is in training and validation at once.
        size: see `draw_events`, as are `screen`, `speeds` and `time_unit`.
        workers: threads; None: one per core.
        leave_out_bad: leave out sessions that cannot be drawn, and say so, instead of an error at the end.
        say: takes lines of progress.

    Raises:
        DataError: a column is missing, a session has no label or two, or cannot be drawn; what can be drawn is.
        ConfigError: settings that cannot be.
        StorageError: the folder cannot be written.
    """
    check_settings(size=size, screen=screen, speeds=speeds, time_unit=time_unit)
    tables = _by_session(events, session)
    drawn = partial(draw_events, size=size, screen=screen, speeds=speeds, time_unit=time_unit)
    kept = _kept(keep, label=label, labelled=labels is not None)
    settings = fingerprint(VERSION, repr((size, screen, [float(speed) for speed in speeds], time_unit)))
    if labels is not None and not isinstance(labels, Mapping):
        raise DataError(f"`labels` is a {type(labels).__name__}: expected {{session: label}}, or None.")
    if labels is not None and (unknown := sorted(set(labels) - set(tables))):
        raise DataError(
            f"`labels` names {len(unknown)} sessions that are not among the {len(tables)} of the events, first "
            f"{unknown[:3]}. Take them out, or mend their names."
        )
    drawings = []
    for name, table in tables.items():
        refuse_doubled(table, (*COLUMNS, label, *kept), name=f"session {name!r}")
        if labels is not None and name not in labels:
            raise DataError(f"The session {name!r} has no label in `labels`. Each session needs one.")
        of_session = labels[name] if labels is not None else _one_value(table, label, name=name)
        columns = {"label": str(of_session)} | {column: _one_value(table, column, name=name) for column in kept}
        drawings.append(
            Drawing(
                image=f"{name}.png",
                made_of=partial(_fingerprint, table, settings),
                draw=partial(drawn, table, name=f"session {name!r}"),
                columns=columns,
            )
        )
    return fill(Path(folder), drawings, workers=workers, leave_out_bad=leave_out_bad, say=say)


def _kept(keep: str | Sequence[str], *, label: str, labelled: bool) -> tuple[str, ...]:
    """Return the further columns of the CSV."""
    if not isinstance(keep, str | Iterable):
        raise ConfigError(f"keep is {keep!r}: expected the name of a column, or a list of them.")
    kept = (keep,) if isinstance(keep, str) else tuple(keep)
    if "label" in kept and (labelled or label != "label"):
        given = "`labels=`" if labelled else f"`label={label!r}`"
        raise ConfigError(
            f"keep names the column 'label', and {given} gives the CSV's column of that name. Take it out of `keep` "
            "or rename the column of the events."
        )
    return kept


def _by_session(events: pd.DataFrame | Mapping[str, pd.DataFrame], session: str) -> dict[str, pd.DataFrame]:
    """Return name -> table, rows in the order given."""
    if isinstance(events, pd.DataFrame):
        refuse_doubled(events, (session,), name="The table of events")
        if session not in events.columns:
            raise DataError(
                f"The table of events lacks the column {session!r}, which names the session of each row; it has "
                f"{', '.join(map(repr, events.columns[:8]))}. Name the right one: `session='...'`."
            )
        if (nameless := events[session].isna()).any():
            raise DataError(
                f"{int(nameless.sum())} of {len(events)} events have no {session!r}, first in row "
                f"{int(nameless.to_numpy().argmax())}. Each event belongs to a session."
            )
        tables = {str(name): table for name, table in events.groupby(events[session].astype("str"), sort=True)}
    elif isinstance(events, Mapping):
        if odd := [value for value in events.values() if not isinstance(value, pd.DataFrame)]:
            raise DataError(
                f"`events` has a {type(odd[0]).__name__} where a table of pandas was expected, one a session."
            )
        tables = {str(name): table for name, table in events.items()}
    else:
        raise DataError(
            f"`events` is a {type(events).__name__}: expected one long table of pandas, or {{session: table}}."
        )
    if not tables:
        raise DataError("There are no events: a table with a row per event was expected.")
    if slashed := [name for name in tables if "/" in name]:
        raise DataError(f"The session {slashed[0]!r} has a slash in its name, which is a file's. Replace it.")
    return tables


def _one_value(table: pd.DataFrame, column: str, *, name: str) -> str:
    """Return the one value that a column has in a session."""
    if column == "image":
        raise ConfigError(f"The column {column!r} of the CSV is the file's name. Rename yours.")
    if column not in table.columns:
        raise DataError(
            f"The events of session {name!r} lack the column {column!r}; they have "
            f"{', '.join(map(repr, table.columns[:8]))}. Name the right one, or give `labels={{session: label}}`."
        )
    values = table[column].dropna().astype("str").unique()
    if len(values) != 1 or not values[0]:
        raise DataError(
            f"Session {name!r} has {len(values)} values of {column!r}"
            + (f", first {values[:3].tolist()}" if len(values) else "")
            + ": each session needs exactly one."
        )
    return str(values[0])


def _fingerprint(table: pd.DataFrame, settings: str) -> str:
    drawn = table[[column for column in COLUMNS if column in table.columns]]
    digest = hashlib.sha256()
    for column in drawn.columns:
        values = drawn[column]
        plain = values.to_numpy()  # of times with a zone these are objects, whose bytes are addresses
        data = plain.tobytes() if plain.dtype.kind in "bifM" else "\0".join(map(str, values)).encode()
        digest.update(fingerprint(str(column), str(values.dtype), data).encode())
    return fingerprint(settings, digest.hexdigest())
