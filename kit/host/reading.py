"""Reading of uploads: bytes from anyone -> the answers in them, or one paragraph on what is wrong.

The file is hostile until all of it was checked. Each row costs little memory, nothing in it is evaluated, and messages
repeat at most a few short pieces of it, escaped.
"""

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kit.competition import Competition, value_columns
from kit.errors import CompetitionError, SubmissionError
from kit.store.decode import printable

MAX_BYTES = 100 * 2**20  # of an upload, and of what a zip unfolds to
MAX_CELL = 10_000  # characters; ids, classes and numbers are far shorter
MAX_CELLS = 100_000  # of a row: each costs more memory than its comma, and all are there at once
SUM_TOLERANCE = 0.01  # a row of probabilities may be off 1 by so much, as rounded files are; the linter lets it pass

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a submission has to look like."""

    id_column: str
    value_columns: tuple[str, ...]
    values: str  # as in kit.rules.SubmissionRule
    classes: tuple[str, ...]
    separator: str
    of_class: str
    task: str  # as in kit.competition.Competition
    metric: str

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, the id's first."""
        return (self.id_column, *self.value_columns)


def form_of(competition: Competition) -> Form:
    """Return the form of a competition's submissions.

    Raises:
        CompetitionError: an adapter writes the rows, or one column cannot say all that the metric asks for.
    """
    rule = competition.submission
    if competition.adapter_function("submission_rows"):
        raise CompetitionError(
            f"{competition.slug} cannot be hosted: submission_rows in its adapter.py writes rows of a form of their "
            "own, which nothing here could read. Describe the columns in [submission] of competition.toml."
        )
    if rule.values == "probability_of" and (len(competition.classes) != 2 or competition.task == "multi-label"):
        raise CompetitionError(
            f"{competition.slug} cannot be hosted: its submissions give the probability of {rule.of_class!r} alone, "
            f"and of {len(competition.classes)} classes that leaves the others open. Give submission.values = "
            "'probabilities' in competition.toml."
        )
    return Form(
        id_column=rule.id_column,
        value_columns=tuple(value_columns(competition)),
        values=rule.values,
        classes=competition.classes,
        separator=rule.separator,
        of_class=rule.of_class,
        task=competition.task,
        metric=competition.protocol().metric,
    )


def read_answers(content: bytes, form: Form, ids: Sequence[str]) -> NDArray[np.float64]:
    """Return the answers of an upload as metrics take them: float64 (N, C), row k for the image ids[k].

    Args:
        content: the upload: a CSV in UTF-8, or a zip with one such file.
        form: what it has to look like.
        ids: of the test images, in any order.

    Raises:
        SubmissionError: what is wrong, with an example and what was expected.
    """
    header, rows = read_csv(content)
    _check_header(header, form.columns)
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    at = [header.index(column) for column in form.columns]
    answers = np.full((len(ids), len(form.classes)), np.nan)
    read = _reader_of(form)
    seen: set[str] = set()
    for number, row in rows:
        image_id = row[at[0]]
        if image_id not in row_of:
            _refuse_formula(image_id, number)
            raise SubmissionError(f"Row {number} has the id {shown(image_id)}, which is not among the test ids.")
        if image_id in seen:
            raise SubmissionError(f"Row {number} has the id {shown(image_id)} for the second time. Give each id once.")
        seen.add(image_id)
        answers[row_of[image_id]] = read([row[k] for k in at[1:]], number)
    if len(seen) < len(ids):
        missing = [image_id for image_id in ids if image_id not in seen]
        raise SubmissionError(
            f"{len(missing):,} of {len(ids):,} test ids have no row, first {', '.join(map(shown, missing[:3]))}. "
            "Give each id once."
        )
    return answers


def read_csv(content: bytes) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return a CSV's header and its rows, each with its line's number; each row has a cell for each column.

    Raises:
        SubmissionError: the file is no CSV in UTF-8; by a fault in a row, only once that row is asked for.
    """
    text = _text_of(_unzipped(content))
    num_commas = 0  # of the row that is being read; one with quoted line breaks has several lines

    def bounded() -> Iterator[str]:
        nonlocal num_commas
        for line in io.StringIO(text, newline=""):
            num_commas += line.count(",")
            if num_commas >= MAX_CELLS:
                at = f"The row at line {lines.line_num + 1}"
                raise SubmissionError(f"{at} has {num_commas:,} commas; up to {MAX_CELLS:,} cells are read.")
            yield line

    # Strict: a quote in a wrong place is an error and not a guess. The module's limit of 128 KiB a cell stays.
    lines = csv.reader(bounded(), strict=True)

    def cells() -> Iterator[tuple[int, list[str]]]:
        nonlocal num_commas
        try:
            for row in lines:
                num_commas = 0
                if row:
                    yield lines.line_num, row
        except csv.Error as error:
            raise SubmissionError(f"Line {lines.line_num} is not CSV: {error}.") from None

    every = cells()
    _, header = next(every, (0, []))
    if not header:
        raise SubmissionError("The file is empty. A header and a row for each test id were expected.")

    def rows() -> Iterator[tuple[int, list[str]]]:
        for number, row in every:
            if len(row) != len(header):
                raise SubmissionError(f"Row {number} has {len(row)} cells; the header has {len(header)} columns.")
            if any(len(cell) > MAX_CELL for cell in row):
                raise SubmissionError(f"Row {number} has a cell of more than {MAX_CELL:,} characters.")
            yield number, row

    return header, rows()


def shown(value: str) -> str:
    """Return a piece of an upload as a message may repeat it: quoted, short, without control characters."""
    return f"'{printable(value if len(value) <= 60 else value[:57] + '...')}'"


def _unzipped(content: bytes) -> bytes:
    """Return the one file in a zip, or the content as it is. No more is unfolded than an upload may have."""
    if len(content) > MAX_BYTES:
        raise SubmissionError(f"The file has {len(content):,} bytes; up to {MAX_BYTES:,} are taken.")
    if not content.startswith(b"PK\x03\x04"):
        return content
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as bundle:
            members = [info for info in bundle.infolist() if not info.is_dir()]
            if len(members) != 1:
                raise SubmissionError(f"The zip has {len(members)} files in it; it should have one, the CSV.")
            with bundle.open(members[0]) as member:
                inside = member.read(MAX_BYTES + 1)  # whatever its header says of its size
    except SubmissionError:
        raise
    except Exception as error:  # zipfile and the decompressors behind it have many kinds
        raise SubmissionError(f"The zip cannot be unpacked: {printable(str(error))[:200]}.") from None
    if len(inside) > MAX_BYTES:
        raise SubmissionError(f"The zip unfolds to more than {MAX_BYTES:,} bytes, which is not taken.")
    return inside


def _text_of(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SubmissionError("The file is UTF-16; UTF-8 was expected. Save it in that encoding.")
    if (at := content.find(b"\0")) >= 0:
        raise SubmissionError(f"The file has a NUL at byte {at:,}: it is not text. A CSV in UTF-8 was expected.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SubmissionError(
            f"The file is not UTF-8: byte {error.start:,} is {content[error.start]:#04x}. Save it in that encoding."
        ) from None


def _check_header(header: Sequence[str], columns: Sequence[str]) -> None:
    wanted = f"Expected are {', '.join(map(shown, columns[:5]))}{', ...' if len(columns) > 5 else ''}."
    missing = [column for column in columns if column not in header]
    further = [column for column in header if column not in columns]
    if missing:
        raise SubmissionError(f"The header lacks the column {shown(missing[0])}. {wanted}")
    if further:
        raise SubmissionError(f"The header has the column {shown(further[0])}, which nothing is done with. {wanted}")
    if len(header) > len(columns):
        raise SubmissionError(f"The header names a column twice. {wanted}")


def _refuse_formula(cell: str, number: int) -> None:
    """Refuse what a spreadsheet would run: no id, class or number of ours begins so."""
    if cell.lstrip().startswith(("=", "@", "+", "-")) or cell.startswith(("\t", "\r")):
        raise SubmissionError(f"Row {number} has {shown(cell)}, which a spreadsheet would run as a formula.")


def _number(cell: str, row: int) -> float:
    if not _NUMBER.fullmatch(cell.strip(" ")):
        _refuse_formula(cell, row)
        raise SubmissionError(f"Row {row} has {shown(cell)} where a number was expected.")
    value = float(cell)
    if not np.isfinite(value):
        raise SubmissionError(f"Row {row} has {shown(cell)}, which is too large a number.")
    return value


def _reader_of(form: Form) -> Callable[[Sequence[str], int], NDArray[np.float64]]:
    """Return a function of a row's value cells and its number that gives its answers, float64 (C,)."""
    index = {name: k for k, name in enumerate(form.classes)}
    # Ranks alone decide an area under the curve: any finite number will do, as on Kaggle.
    bounded = form.metric != "roc_auc"
    summed = form.values == "probabilities" and form.task != "multi-label" and bounded

    def known(name: str, number: int) -> int:
        if name not in index:
            _refuse_formula(name, number)
            raise SubmissionError(
                f"Row {number} has the class {shown(name)}. The classes are {_some(form.classes)}"
                f"{'' if form.values == 'label' else f', parted by {form.separator!r}'}."
            )
        return index[name]

    def label(cells: Sequence[str], number: int) -> NDArray[np.float64]:
        row = np.zeros(len(form.classes))
        row[known(cells[0], number)] = 1
        return row

    def labels(cells: Sequence[str], number: int) -> NDArray[np.float64]:
        row = np.zeros(len(form.classes))
        for name in filter(None, cells[0].split(form.separator)):  # as the linter, which takes "a b "
            row[known(name, number)] = 1
        return row

    def probability(cell: str, number: int) -> float:
        value = _number(cell, number)
        if bounded and not 0 <= value <= 1:
            raise SubmissionError(f"Row {number} has {shown(cell)}; a probability is between 0 and 1.")
        return value

    def probability_of(cells: Sequence[str], number: int) -> NDArray[np.float64]:
        value = probability(cells[0], number)
        row = np.full(2, 1 - value)
        row[index[form.of_class]] = value
        return row

    def probabilities(cells: Sequence[str], number: int) -> NDArray[np.float64]:
        row = np.array([probability(cell, number) for cell in cells])
        if summed and abs(total := row.sum() - 1) > SUM_TOLERANCE:
            raise SubmissionError(f"The probabilities of row {number} sum to {1 + total:.6g}; they should sum to 1.")
        return row / row.sum() if summed else row

    readers: Mapping[str, Callable[[Sequence[str], int], NDArray[np.float64]]] = {
        "label": label,
        "labels": labels,
        "probability_of": probability_of,
        "probabilities": probabilities,
    }
    return readers[form.values]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
