"""The linter's codes: what can be wrong with a submission file, how bad it is, and the way out. The only list of them.

L1 is the file, L2 its columns, L3 its ids, L4 its values, L5 its answers beside those that the networks gave.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from kit.store.decode import printable

Severity = Literal["error", "warning", "not checkable"]
MOST_SHOWN = 60  # characters of a cell that a message repeats


@dataclass(frozen=True, kw_only=True)
class Code:
    """One kind of fault."""

    name: str
    severity: Severity
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault of one file."""

    code: str  # a key of CODES
    severity: Severity
    message: str  # what is there, with an example; what was expected
    remedy: str
    where: str = ""  # line and column of the first place; empty: the whole file

    @property
    def name(self) -> str:
        """The code's name in words."""
        return CODES[self.code].name

    def as_dict(self) -> dict[str, str]:
        """Return the finding as plain values for JSON."""
        return {**asdict(self), "name": self.name}


def _error(name: str, remedy: str) -> Code:
    return Code(name=name, severity="error", remedy=remedy)


def _warning(name: str, remedy: str) -> Code:
    return Code(name=name, severity="warning", remedy=remedy)


def _not_checkable(name: str, remedy: str) -> Code:
    return Code(name=name, severity="not checkable", remedy=remedy)


_WRITE_AGAIN = "Write it again with `table.to_csv(path, index=False)`."
_BY_ID = "Join the answers to the ids, not row to row, and write the file again."

CODES: Mapping[str, Code] = {
    "L100": _error("no such file", "Give the CSV that is to be handed in."),
    "L101": _error("empty file", "Write it again: a header and a row for each test image are expected."),
    "L102": _error("too large", "Write one row for each test image, and numbers with at most nine digits."),
    "L103": _error("not text", "Write it as CSV text in UTF-8."),
    "L104": _error("UTF-16 or UTF-32", "Save it as UTF-8, without a byte-order mark."),
    "L105": _error("not UTF-8", "Save it as UTF-8, without a byte-order mark."),
    "L106": _error("byte-order mark", 'Save it as "UTF-8", not "UTF-8 with BOM" (in pandas: encoding="utf-8").'),
    "L107": _error("separator", "Part the cells by commas, numbers' decimals by points."),
    "L108": _error("quoting", "Close every quote, and double those inside a quoted cell."),
    "L109": _error("uneven rows", "Give each row one cell for each column of the header."),
    "L110": _error("huge cell", "Look into that line: most often a quote was not closed."),
    "L111": _error("no header", "Write the column names as the first line."),
    "L112": _error("archive", "Unpack it and have the CSV looked at; Kaggle takes that as well."),
    "L113": _error("no rows", "Write a row for each test image below the header."),
    "L114": _warning("blank lines", "Take the empty lines out: some readers count them as rows."),
    "L115": _warning("line ends", 'End lines with "\\n"; a lone "\\r" is not a line\'s end everywhere.'),
    "L201": _error("index column", _WRITE_AGAIN),
    "L202": _error("missing column", "Add the column; its name is compared letter by letter."),
    "L203": _error("extra column", "Take the column out."),
    "L204": _error("doubled column", "Keep one of the columns with this name."),
    "L205": _error("column order", "Bring the columns into the sample's order."),
    "L206": _error("column spelling", "Spell the column as the sample does: capitals and spaces count."),
    "L301": _error("duplicate ids", "Keep one row of each id."),
    "L302": _error("missing ids", "Predict every image of the sample submission, and add the rows."),
    "L303": _error("unknown ids", "Take the rows out, or look whether they are of another protocol's images."),
    "L304": _error("spelling of ids", "Spell the ids as the sample does."),
    "L305": _error("ids as numbers", "Read ids as text (in pandas: dtype=str), so that zeros and digits stay."),
    "L306": _warning("row order", "Bring the rows into the sample's order: not every metric matches them by id."),
    "L307": _error("empty ids", "Give every row its id."),
    "L308": _not_checkable("no sample", "`kit fetch` gets the competition's files, with the sample submission."),
    "L401": _error("classes for probabilities", "Hand in each class's probability, not the class."),
    "L402": _error("probabilities for classes", "Hand in the most probable class, not its probability."),
    "L403": _error("no value", "Find out why the network gave no number (`kit check`), and fill the cell."),
    "L404": _error("infinite value", "Look for a division by zero or a logarithm of zero, and mend it there."),
    "L405": _error("not a number", "Write plain numbers, such as 0.25 or 1e-6."),
    "L406": _error("out of range", "Hand in probabilities, between 0 and 1: not logits, not logarithms."),
    "L407": _error("percentages", "Divide all values by 100."),
    "L408": _error("rows do not sum to one", "Divide each row by its sum, after a softmax and not before it."),
    "L409": _error("constant column", "Look whether answers were lost: the column is the same for every image."),
    "L410": _error("decimal comma", "Write numbers with a decimal point."),
    "L411": _error("unknown class", "Answer with the classes of the competition only."),
    "L412": _error("spelling of classes", "Spell the classes as the competition does: capitals and spaces count."),
    "L413": _error("class numbers", "Hand in the classes' names, not their places in the list."),
    "L414": _error("classes as decimals", "Write classes that are whole numbers without a decimal point."),
    "L415": _error("separator of labels", "Part the labels of one image as the sample does."),
    "L416": _error("doubled label", "Name each label of an image once."),
    "L417": _warning(
        "sure of everything", "A wrong answer then costs most: clip (`submission.clip`), or give more digits."
    ),
    "L418": _warning("answers rounded to 0 and 1", "Hand in the probabilities: the metric rewards what they say more."),
    "L419": _error("the sample itself", "Hand in a file with predictions: this one has the sample's own values."),
    "L420": _error("several classes", "Hand in the one most probable class of each image."),
    "L500": _not_checkable(
        "no predictions",
        "Give the run that the file was made of (--run): whether columns are permuted, polarity is inverted, rows are "
        "shifted or the file is another run's shows only beside its stored test predictions.",
    ),
    "L501": _error("class columns permuted", "Write the columns by the classes' names, not by their places."),
    "L502": _error(
        "polarity inverted", "Hand in 1 - p, or the other class: the file gives the wrong one's probability."
    ),
    "L503": _error("shifted rows", _BY_ID),
    "L504": _error("rows mixed up", _BY_ID),
    "L505": _error(
        "another run's file",
        "Name the run that made it. If you changed its answers on purpose, look at the file without --run.",
    ),
    "L506": _error("another protocol's file", "Take the submission of a run on the protocol that is asked for."),
    "L507": _warning("changed answers", "Nothing, if you clipped, calibrated or blended on purpose."),
    "L508": _warning(
        "classes unlike those out of fold",
        "Look whether test images differ from training images, or are prepared otherwise.",
    ),
    "L509": _not_checkable("no out-of-fold predictions", "Give a run that was trained with folds (--run)."),
    "L510": _not_checkable("rows of an adapter", "Compare the file with one that the kit wrote for this competition."),
}


def finding(code: str, message: str, *, where: str = "", severity: Severity | None = None, remedy: str = "") -> Finding:
    """Return a finding of `code`, with its own severity and remedy unless others are given."""
    rule = CODES[code]
    return Finding(
        code=code, severity=severity or rule.severity, message=message, remedy=remedy or rule.remedy, where=where
    )


def shown(text: str) -> str:
    """Return a piece of the file as a message may repeat it: quoted, short, without control characters."""
    return f"'{printable(text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + '...')}'"


def some(names: list[str] | tuple[str, ...], *, most: int = 3) -> str:
    """Return the first few pieces of the file, as `shown` shows them."""
    return ", ".join(map(shown, names[:most])) + (", ..." if len(names) > most else "")
