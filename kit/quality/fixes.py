"""Fixes: what a person decided about single images, in one CSV that every run replays. Raw files stay as they are.

Columns: image_id, action (drop, relabel, keep), label (for relabel), who, when (ISO date), why.
"""

import csv
import io
from collections.abc import Container, Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import Competition
from kit.data.schema import JOINED, TARGET
from kit.errors import DataError, did_you_mean
from kit.home import family, fingerprint, write_text

COLUMNS = ("image_id", "action", "label", "who", "when", "why")
ACTIONS = ("drop", "relabel", "keep")


@dataclass(frozen=True, kw_only=True)
class Fix:
    """One decision about one image; the fields are the columns of fixes.csv."""

    image_id: str
    action: str  # drop: leave the image out; relabel: give it `label`; keep: looked at and fine, no more warnings
    label: str = ""  # of a relabel; not looked at otherwise
    who: str = ""
    when: str = ""  # ISO date, or empty
    why: str


@dataclass(frozen=True, kw_only=True)
class Fixes:
    """All decisions about one data set."""

    rows: tuple[Fix, ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what changes the data (id, action, label), whatever the order; "" where nothing does."""
        changes = sorted((fix.image_id, fix.action, fix.label) for fix in self.rows if fix.action != "keep")
        return fingerprint(*(part for change in changes for part in change)) if changes else ""

    @property
    def dropped(self) -> frozenset[str]:
        """Ids of the images to leave out."""
        return frozenset(fix.image_id for fix in self.rows if fix.action == "drop")

    @property
    def relabelled(self) -> dict[str, str]:
        """Image id -> new label."""
        return {fix.image_id: fix.label for fix in self.rows if fix.action == "relabel"}

    @property
    def kept(self) -> frozenset[str]:
        """Ids of the images that somebody looked at and found fine."""
        return frozenset(fix.image_id for fix in self.rows if fix.action == "keep")


def fixes_path(competition: Competition) -> Path:
    """Return where a competition's fixes are: yours under KIT_HOME, else those beside competition.toml, else yours."""
    own = family("fixes") / f"{competition.slug}.csv"
    shared = competition.folder / "fixes.csv"
    return shared if shared.is_file() and not own.is_file() else own


def read_fixes(path: Path, *, classes: Sequence[str], several: bool = False) -> Fixes:
    """Read and check fixes.csv; a file that is not there means no fixes.

    Args:
        path: the file.
        classes: what a label may be.
        several: an image may have any number of classes (multi-label); a new label then joins them by " + ", and an
            empty one means none.

    Raises:
        DataError: other columns, an unknown action or label, an image twice, no reason given; names file and row.
    """
    if not path.is_file():
        return Fixes()
    try:
        text = path.read_text(encoding="utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"The fixes {path} cannot be read as CSV: {error}. Mend the file, or move it away.") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(
            f"{path} has the columns {', '.join(lines[0]) if lines else '(none)'}; expected {', '.join(COLUMNS)}."
        )
    rows: dict[str, Fix] = {}
    for number, cells in enumerate(lines[1:], 2):
        if not any(cells):
            continue
        where = f"{path}, row {number}"
        if len(cells) != len(COLUMNS):
            raise DataError(f"{where}: {len(cells)} values, expected {len(COLUMNS)}: {', '.join(COLUMNS)}.")
        image_id, *rest = cells
        fix = Fix(**dict(zip(COLUMNS, (image_id, *(cell.strip() for cell in rest)), strict=True)))
        _check(fix, where, classes, several=several)
        if fix.image_id in rows:
            raise DataError(f"{where}: {fix.image_id!r} has a fix already. Each image has one row; remove the other.")
        rows[fix.image_id] = fix
    return Fixes(rows=tuple(rows.values()))


def apply_fixes(table: pd.DataFrame, fixes: Fixes, *, elsewhere: Container[str] = ()) -> pd.DataFrame:
    """Return `table` (image_id, label, maybe target_<class>) without the dropped rows and with the new labels.

    Args:
        table: the images of one protocol.
        fixes: of the whole data set, whatever the protocol.
        elsewhere: ids of images that the data has and this table lacks; fixes of theirs are passed over.

    Raises:
        DataError: an image to drop or relabel is neither in the table nor elsewhere.
    """
    if not fixes.rows:
        return table.reset_index(drop=True)
    there = set(table["image_id"])
    unknown = [
        fix.image_id
        for fix in fixes.rows
        if fix.action != "keep" and fix.image_id not in there and fix.image_id not in elsewhere
    ]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(fixes.rows)} fixes name an image that is not in the data, first {unknown[:5]}."
            f"{did_you_mean(unknown[0], sorted(there))} An image's id is its path without the suffix; remove these "
            "rows from fixes.csv, or fetch the data that they are about."
        )
    fixed = table[~table["image_id"].isin(fixes.dropped)].reset_index(drop=True)
    new = fixed["image_id"].map(fixes.relabelled)
    changed = new.notna()
    fixed["label"] = fixed["label"].where(~changed, new)
    classes = [str(column).removeprefix(TARGET) for column in fixed.columns if str(column).startswith(TARGET)]
    # The name of a class may hold " + " where an image has one class only.
    shown = [[label] if label in classes else label.split(JOINED) for label in new[changed]]
    for name in classes:
        fixed.loc[changed, TARGET + name] = np.array([name in names for names in shown], dtype="float64")
    return fixed


def add_fixes(path: Path, rows: Iterable[Fix], *, classes: Sequence[str], several: bool = False) -> Fixes:
    """Append rows to fixes.csv, keeping what is there, and return all of them; a bad row leaves the file as it was.

    Args:
        path: the file; made where there is none.
        rows: the new fixes.
        classes: see `read_fixes`.
        several: see `read_fixes`.

    Raises:
        DataError: see `read_fixes`; also where an image has a fix already.
    """
    there = read_fixes(path, classes=classes, several=several)
    all_rows = [*there.rows]
    ids = {fix.image_id for fix in all_rows}
    for number, fix in enumerate(rows, 1):
        where = f"The new fix {number} for {path}"
        _check(fix, where, classes, several=several)
        if fix.image_id in ids:
            raise DataError(f"{where}: {fix.image_id!r} has a fix already. Each image has one row; change that one.")
        ids.add(fix.image_id)
        all_rows.append(fix)
    write_text(path, fixes_text(all_rows))
    return Fixes(rows=tuple(all_rows))


def fixes_text(rows: Iterable[Fix]) -> str:
    """Return rows as the text of a fixes.csv, header first, Unix line ends."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(fix) for fix in rows)
    return text.getvalue()


def _check(fix: Fix, where: str, classes: Sequence[str], *, several: bool) -> None:
    def refuse(what: str) -> None:
        raise DataError(f"{where}: {what}")

    if not fix.image_id:
        refuse("no image_id. Each row names one image: its path without the suffix.")
    if not fix.action:
        refuse(f"no action for {fix.image_id!r}. Decide among {', '.join(ACTIONS)}, or remove the row.")
    if fix.action not in ACTIONS:
        refuse(f"unknown action {fix.action!r}.{did_you_mean(fix.action, list(ACTIONS))} Known: {', '.join(ACTIONS)}.")
    names = [fix.label] if not several else fix.label.split(JOINED) if fix.label else []
    unknown = [name for name in names if name not in classes]
    if fix.action == "relabel" and unknown:
        hint = did_you_mean(unknown[0], list(classes))
        known = f"{', '.join(classes[:10])}{', ...' if len(classes) > 10 else ''}"
        refuse(f"the label {unknown[0]!r} is not a class.{hint} A relabel needs one of {known}.")
    if not fix.why:
        refuse(f"no reason (why) for {fix.image_id!r}. Say in a few words what is wrong, for whoever reads it next.")
    if fix.when:
        try:
            date.fromisoformat(fix.when)
        except ValueError:
            refuse(f"when is {fix.when!r}; expected an ISO date such as 2026-01-31.")
