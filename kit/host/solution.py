"""The solution: what is true of the test images, and which of them make the public score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kit.competition import Competition
from kit.errors import CompetitionError, SubmissionError
from kit.home import fingerprint
from kit.host.reading import Form, form_of, read_answers, read_csv, shown
from kit.metrics import Probabilities, Truth, class_of, score

USAGE = "Usage"  # optional column of a solution, as in Kaggle's own: Public or Private


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What is hidden: N test images."""

    form: Form
    ids: tuple[str, ...]
    truth: Truth
    public: NDArray[np.bool_]  # (N,): makes the public score; the others make the private one
    strata: NDArray[np.int64]  # (N,): rows of one class stand together in this order, at random inside it

    def scores(self, answers: Probabilities) -> tuple[float, float]:
        """Return the public and the private score of answers (N, C)."""
        return self._score(answers, self.public), self._score(answers, ~self.public)

    def _score(self, answers: Probabilities, rows: NDArray[np.bool_]) -> float:
        return score(self.form.metric, labels=self.truth[rows], probabilities=answers[rows])


def read_solution(file: Path, competition: Competition, *, public_share: float, secret: str) -> Solution:
    """Read a solution: a submission without a mistake, with a column `Usage` or without.

    Without `Usage`, `public_share` of the images are public: in the order of class and of a hash of id and `secret`,
    every so many-th one, so that both parts have the same shares of each class, within one image.

    Args:
        file: CSV with the columns of a submission; probabilities are 0 or 1, or soft labels.
        competition: says which columns these are.
        public_share: of the images, in (0, 1).
        secret: nobody but the host knows it, or the public images could be told from their ids.

    Raises:
        CompetitionError: the file is no such thing, or a part of it cannot be scored by the metric.
    """
    form = form_of(competition)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CompetitionError(f"The solution {file} cannot be read: {error.strerror}.") from error
    try:
        header, rows = read_csv(content)
        cells = [row for _, row in rows]
        if form.id_column not in header:
            raise SubmissionError(f"The header lacks the column {shown(form.id_column)}.")
        ids = tuple(row[header.index(form.id_column)] for row in cells)
        kept = [k for k, column in enumerate(header) if column != USAGE]
        answers = read_answers(_without(kept, header, cells), replace(form, metric="accuracy"), ids)
    except SubmissionError as error:
        raise CompetitionError(
            f"The solution {file} cannot be used: {error} It should be a submission without a mistake, with the "
            f"columns {', '.join(form.columns[:5])} and, if you like, {USAGE} (Public or Private)."
        ) from None
    truth = _truth_of(answers, form, file)
    strata = _strata(ids, class_of(truth) if form.task != "multi-label" else np.zeros(len(ids), int), secret)
    if USAGE in header:
        public = _usage([row[header.index(USAGE)] for row in cells], file)
    else:
        public = _every(public_share, strata)
    solution = Solution(form=form, ids=ids, truth=truth, public=public, strata=strata)
    _refuse_unscorable(solution, answers, file)
    return solution


def _without(kept: Sequence[int], header: Sequence[str], rows: Sequence[Sequence[str]]) -> bytes:
    """Return the kept columns as CSV again."""
    import csv
    import io

    text = io.StringIO(newline="")
    csv.writer(text).writerows([row[k] for k in kept] for row in (header, *rows))
    return text.getvalue().encode()


def _truth_of(answers: NDArray[np.float64], form: Form, file: Path) -> Truth:
    if form.task == "soft-label":
        return answers
    if not np.isin(answers, (0.0, 1.0)).all():
        row = int((~np.isin(answers, (0.0, 1.0))).any(axis=1).argmax())
        raise CompetitionError(
            f"The solution {file} has numbers other than 0 and 1, first for its image {row + 1}. Those of a "
            f"{form.task} task say what is true, and not how likely it is."
        )
    return answers if form.task == "multi-label" else class_of(answers)


def _strata(ids: Sequence[str], classes: NDArray[np.int64], secret: str) -> NDArray[np.int64]:
    """Return int64 (N,): the rows, class by class, in each class in the order of a hash."""
    hashes = [fingerprint(secret, image_id) for image_id in ids]
    return np.array(sorted(range(len(ids)), key=lambda row: (classes[row], hashes[row])), dtype=np.int64)


def _every(share: float, order: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool (N,): true for `share` of the rows, spread evenly over `order` (systematic sampling)."""
    chosen = np.zeros(len(order), dtype=bool)
    steps = [math.floor((k + 1) * share + 0.5) > math.floor(k * share + 0.5) for k in range(len(order))]
    chosen[order] = steps
    return chosen


def _usage(cells: Sequence[str], file: Path) -> NDArray[np.bool_]:
    if odd := sorted({cell for cell in cells if cell not in ("Public", "Private")}):
        raise CompetitionError(
            f"The solution {file} has {shown(odd[0])} in its column {USAGE}; each row is Public or Private."
        )
    return np.array([cell == "Public" for cell in cells])


def _refuse_unscorable(solution: Solution, answers: Probabilities, file: Path) -> None:
    for name, rows in (("public", solution.public), ("private", ~solution.public)):
        if not rows.any():
            raise CompetitionError(
                f"The {name} part of the solution {file} has no image. Give another public share, or more images."
            )
    for name, value in zip(("public", "private"), solution.scores(answers), strict=True):
        if not np.isfinite(value):
            raise CompetitionError(
                f"{solution.form.metric} is not defined on the {name} part of the solution {file}: a class has no "
                "image there, or all of them. Give more images of it, or another public share."
            )
