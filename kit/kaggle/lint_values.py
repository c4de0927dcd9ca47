"""Linting of a submission's values: numbers where probabilities are asked for, classes where classes are."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kit.kaggle.lint_codes import Finding, finding, shown
from kit.kaggle.lint_expected import Expected, by_id
from kit.metrics import METRICS

SUM_TOLERANCE = 0.01  # of a row of probabilities from 1: rounding, not another quantity
FEWEST_ROWS = 5  # a column that is the same in so few rows may be so by chance
SMALLEST = 1e-15  # what log loss keeps probabilities off 0 by

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+", re.ASCII)
_NOTHING = {"", "nan", "na", "n/a", "null", "none", "<na>"}
_SEPARATORS = (" ", ",", ";", "|", "+", "/")

Answers = NDArray[np.float64]  # (N, K): the value columns; or (N, C) 0 and 1, where the file names classes


def lint_numbers(
    values: Sequence[Sequence[str]], columns: Sequence[str], lines: Sequence[int], expected: Expected
) -> tuple[Answers | None, list[Finding]]:
    """Return the numbers float64 (N, K) and what is wrong with them; None where some cell is no number.

    Args:
        values: (N, K) text.
        columns: (K,) their names.
        lines: (N,) each row's line.
        expected: the competition's form.
    """
    numbers = np.full((len(values), len(columns)), np.nan)
    bad: dict[str, list[tuple[int, int]]] = {}
    for row, cells in enumerate(values):
        for k, cell in enumerate(cells):
            text = cell.strip(" ")
            if _NUMBER.fullmatch(text):
                numbers[row, k] = float(text)  # infinite where the exponent is too large
                if math.isinf(numbers[row, k]):
                    bad.setdefault("L404", []).append((row, k))
            else:
                bad.setdefault(_not_a_number(text, expected), []).append((row, k))
    if "L401" in bad and len(bad["L401"]) * 2 > len(values):
        bad = {"L401": bad["L401"]}
    what = {
        "L401": "cells name a class where a probability is asked for",
        "L403": "cells have no value",
        "L404": "cells are infinite",
        "L405": "cells are no numbers",
        "L410": "cells have a comma where the decimal point should be",
    }
    found = []
    for code, places in sorted(bad.items()):
        row, k = places[0]
        where = f"line {lines[row]}, column {shown(columns[k])}"
        found.append(finding(code, f"{len(places):,} {what[code]}, first {shown(values[row][k])}.", where=where))
    if found:
        return None, found
    return numbers, _lint_probabilities(numbers, columns, lines, expected)


def _not_a_number(text: str, expected: Expected) -> str:
    if text.lower() in _NOTHING:
        return "L403"
    if _INFINITE.fullmatch(text):
        return "L404"
    if _COMMA.fullmatch(text):
        return "L410"
    return "L401" if text in expected.competition.classes else "L405"


def _lint_probabilities(
    numbers: Answers, columns: Sequence[str], lines: Sequence[int], expected: Expected
) -> list[Finding]:
    def place(row: int, k: int) -> str:
        return f"line {lines[row]}, column {shown(columns[k])}"

    found = []
    summed = expected.values == "probabilities" and not expected.several
    far = (numbers < 0) | (numbers > 1)
    if far.any():
        row, k = (int(at) for at in np.argwhere(far)[0])
        what = f"{int(far.sum()):,} values lie outside [0, 1], first {numbers[row, k]:g}"
        if not (numbers < 0).any() and numbers.max() <= 100 + SUM_TOLERANCE and _are_percent(numbers, summed=summed):
            found.append(finding("L407", f"{what}: they look like percentages.", where=place(row, k)))
        elif expected.ranks_only:
            message = f"{what}. {expected.metric} looks at their order alone, and takes that."
            found.append(finding("L406", message, where=place(row, k), severity="warning"))
        else:
            found.append(finding("L406", f"{what}.", where=place(row, k)))
    elif summed and not expected.ranks_only:
        off = np.abs(numbers.sum(axis=1) - 1)
        if (off > SUM_TOLERANCE).any():
            row = int(off.argmax())
            message = (
                f"The probabilities of {int((off > SUM_TOLERANCE).sum()):,} rows do not sum to 1; furthest off is "
            )
            found.append(finding("L408", f"{message}{numbers[row].sum():.4g}.", where=f"line {lines[row]}"))
    if len(numbers) >= FEWEST_ROWS:
        same = np.flatnonzero((numbers == numbers[0]).all(axis=0))
        if len(same):
            message = f"{len(same)} of {len(columns)} columns have the same value in all {len(numbers):,} rows: "
            found.append(finding("L409", f"{message}{shown(columns[same[0]])} is {numbers[0, same[0]]:g}."))
    if not found and METRICS[expected.metric].takes == "probabilities":
        found += _lint_sureness(numbers, columns, lines, expected)
    return found


def _are_percent(numbers: Answers, *, summed: bool) -> bool:
    if summed:
        return bool(np.abs(numbers.sum(axis=1) - 100).max() <= 100 * SUM_TOLERANCE)
    return bool(numbers.max() > 10)


def _lint_sureness(numbers: Answers, columns: Sequence[str], lines: Sequence[int], expected: Expected) -> list[Finding]:
    """Return findings on probabilities of exactly 0 and 1, where the metric looks at probabilities."""
    sure = (numbers == 0) | (numbers == 1)
    if not sure.any():
        return []
    row, k = (int(at) for at in np.argwhere(sure)[0])
    where = f"line {lines[row]}, column {shown(columns[k])}"
    cost = ""
    if expected.metric == "log_loss":
        most = -math.log(SMALLEST)
        cost = (
            f" Under log loss one that is wrong costs {most:.1f}, which is {most / len(numbers):.2g} on the mean of "
            f"{len(numbers):,} images; one clipped at 0.005 costs {-math.log(0.005):.1f}."
        )
    if sure.all():
        return [finding("L418", f"All values are exactly 0 or 1.{cost}", where=where)]
    if not cost:
        return []
    return [
        finding(
            "L417", f"{int(sure.any(axis=1).sum()):,} rows have a probability of exactly 0 or 1.{cost}", where=where
        )
    ]


def lint_classes(
    cells: Sequence[str], column: str, lines: Sequence[int], expected: Expected
) -> tuple[Answers | None, list[Finding]]:
    """Return the answered classes as float64 (N, C) of 0 and 1, and what is wrong; None where some cell is no answer.

    Args:
        cells: (N,) text: a class, or where an image may have several, all of them.
        column: its name.
        lines: (N,) each row's line.
        expected: the competition's form.
    """
    index = {name: k for k, name in enumerate(expected.competition.classes)}
    several, separator = expected.values == "labels", expected.competition.submission.separator
    answers = np.zeros((len(cells), len(index)))
    unknown: list[int] = []
    doubled: list[int] = []
    for row, cell in enumerate(cells):
        names = [name for name in cell.split(separator) if name] if several else [cell]
        if not all(name in index for name in names):
            unknown.append(row)
            continue
        if len(set(names)) < len(names):
            doubled.append(row)
        for name in names:
            answers[row, index[name]] = 1
    found = []
    if unknown:
        groups: dict[str, list[int]] = {}
        for row in unknown:
            groups.setdefault(_kind_of_unknown(cells[row], expected), []).append(row)
        found = [
            finding(
                code,
                f"{len(rows):,} {_WHAT[code]}, first {shown(cells[rows[0]])}.",
                where=f"line {lines[rows[0]]}, column {shown(column)}",
            )
            for code, rows in sorted(groups.items())
        ]
        return None, found
    if doubled:
        where = f"line {lines[doubled[0]]}, column {shown(column)}"
        message = f"{len(doubled):,} cells name a class twice, first {shown(cells[doubled[0]])}."
        found.append(finding("L416", message, where=where))
    if len(cells) >= FEWEST_ROWS and len(set(cells)) == 1:
        message = f"All {len(cells):,} rows have the answer {shown(cells[0])}."
        found.append(finding("L409", message, where=f"column {shown(column)}"))
    return answers, found


_WHAT = {
    "L402": "cells are decimal numbers where a class is asked for",
    "L403": "cells have no value",
    "L411": "cells name a class that the competition does not have",
    "L412": "cells spell a class otherwise",
    "L413": "cells are places in the list of classes, and not their names",
    "L414": "cells are a class with a decimal point",
    "L415": "cells part the classes otherwise",
    "L420": "cells name several classes where one is asked for",
}


def _kind_of_unknown(cell: str, expected: Expected) -> str:
    """Return the code of a cell that is no answer."""
    classes = expected.competition.classes
    text = cell.strip()
    plain = {name.casefold() for name in classes}
    if text.lower() in _NOTHING:
        return "L403"
    if re.fullmatch(r"\d+\.0+", text, re.ASCII) and text.split(".")[0] in classes:
        return "L414"
    if text.casefold() in plain:
        return "L412"
    several = expected.values == "labels"
    own = expected.competition.submission.separator
    for separator in _SEPARATORS:
        parts = [part.strip() for part in text.split(separator)]
        if len(parts) > 1 and all(part in classes for part in parts):
            return "L415" if several else "L420"
    parts = [part for part in text.split(own) if part] if several else [text]
    if all(part.casefold() in plain for part in parts):
        return "L412"
    if all(part.isascii() and part.isdecimal() and int(part[:9]) <= len(classes) for part in parts):
        return "L413"
    if all(_NUMBER.fullmatch(part) for part in re.split(r"[ ,;|\[\]]+", text) if part):
        return "L402"
    return "L411"


def is_the_sample(ids: Sequence[str], values: Sequence[Sequence[str]], expected: Expected) -> list[Finding]:
    """Return a finding where the values (N, K) are those of the sample submission, image by image."""
    sample = expected.sample
    if sample is None or len(values) < FEWEST_ROWS:
        return []
    row_of = by_id(sample, id_column=expected.id_column)
    rows = sample[list(expected.value_columns)].to_numpy().tolist()
    pairs = [(values[k], rows[row_of[name]]) for k, name in enumerate(ids) if name in row_of]
    if len(pairs) * 2 < len(rows) or not all(_alike(given, told) for given, told in pairs):
        return []
    most = Counter(tuple(told) for _, told in pairs).most_common(1)[0][0]
    return [finding("L419", f"All values are those of the sample submission, mostly {shown(', '.join(most))}.")]


def _alike(given: Sequence[str], told: Sequence[str]) -> bool:
    """Compare cells as numbers where they are numbers."""
    return all(
        one == other or (bool(_NUMBER.fullmatch(one)) and bool(_NUMBER.fullmatch(other)) and float(one) == float(other))
        for one, other in zip(given, told, strict=True)
    )
