"""Four kinds of competition with a valid submission each, and mutations of it: what can go wrong with a file."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from toys import competition

from kit.competition import Competition
from kit.judge.predict import Predictions
from kit.kaggle.submission import submission_table, write_submission
from kit.rules import SubmissionRule

NUM_IMAGES = 40
KINDS = ("binary", "multi-class", "label", "multi-label")
CLASSES = {
    "binary": ("cat", "dog"),
    "multi-class": ("ant", "bee", "cow", "dog"),
    "label": ("ant", "bee", "cow", "dog"),
    "multi-label": ("ant", "bee", "cow", "dog"),
}
RULES = {
    "binary": {"values": "probability_of", "of_class": "dog"},
    "multi-class": {"values": "probabilities"},
    "label": {"values": "label"},
    "multi-label": {"values": "labels"},
}
METRICS = {"binary": "log_loss", "multi-class": "log_loss", "label": "accuracy", "multi-label": "mean_f1"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A competition with its sample, a run's predictions, and the valid submission made of them."""

    kind: str
    competition: Competition
    data: Path
    predictions: Predictions
    out_of_fold: Predictions
    valid: Path

    @property
    def rows(self) -> list[list[str]]:
        """The valid submission's cells, the header first."""
        return list(csv.reader(io.StringIO(self.valid.read_text())))

    def written(self, content: bytes | list[list[str]]) -> Path:
        """Write a file of these bytes, or of these cells."""
        path = self.data / "handed-in.csv"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(content)
            path.write_bytes(text.getvalue().encode())
        return path


def answers_of(kind: str, *, seed: int, num_images: int = NUM_IMAGES) -> np.ndarray:
    """Return probabilities (N, C) as networks give them, every row another one."""
    generator = np.random.default_rng(seed)
    num_classes = len(CLASSES[kind])
    if kind == "multi-label":
        return generator.uniform(0.01, 0.99, size=(num_images, num_classes))
    return generator.dirichlet(np.full(num_classes, 0.7), size=num_images).clip(0.002, 0.998)


def predicted(kind: str, *, what: str = "test", seed: int = 1, prefix: str = "test/") -> Predictions:
    """Return a run's predictions; ids have zeros in front and are in order."""
    probabilities = answers_of(kind, seed=seed)
    if kind != "multi-label":
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    return Predictions(
        kind=what,
        image_ids=tuple(f"{prefix}{k:04d}" for k in range(1, NUM_IMAGES + 1)),
        classes=CLASSES[kind],
        probabilities=probabilities.astype(np.float32),
        labels=("",) * NUM_IMAGES,
        folds=np.full(NUM_IMAGES, -1),
    )


def make_case(kind: str, folder: Path) -> Case:
    """Write a sample submission and a valid submission below `folder`."""
    rule = SubmissionRule(id_column="id", label_column="answer", sample="sample.csv", **RULES[kind])
    asked = competition(
        folder,
        classes=CLASSES[kind],
        metric=METRICS[kind],
        task="multi-label" if kind == "multi-label" else "single-label",
        submission=rule,
    )
    names = [f"{k:04d}" for k in range(1, NUM_IMAGES + 1)]
    columns = CLASSES[kind] if kind == "multi-class" else ("answer",)
    cell = {"binary": "0.5", "multi-class": "0.25", "label": "ant", "multi-label": "ant bee"}[kind]
    lines = [",".join(["id", *columns]), *(",".join([name, *[cell] * len(columns)]) for name in names)]
    (folder / "sample.csv").write_text("\n".join(lines) + "\n")
    found = predicted(kind)
    table = submission_table(asked, found, data=folder)
    return Case(
        kind=kind,
        competition=asked,
        data=folder,
        predictions=found,
        out_of_fold=predicted(kind, what="out-of-fold", seed=1, prefix="train/"),
        valid=write_submission(folder / "submission.csv", table),
    )


Mutation = Callable[[Case], Path]
NUMBERS = ("binary", "multi-class")
NAMES = ("label", "multi-label")


def _text(change: Callable[[str], str | bytes]) -> Mutation:
    def mutate(case: Case) -> Path:
        changed = change(case.valid.read_text())
        return case.written(changed if isinstance(changed, bytes) else changed.encode())

    return mutate


def _cells(change: Callable[[list[list[str]]], list[list[str]]]) -> Mutation:
    return lambda case: case.written(change(case.rows))


def _cell(value: str, *, row: int = 3) -> Mutation:
    """Put `value` into the last cell of a row."""
    return _cells(lambda rows: [[*one[:-1], value] if k == row else one for k, one in enumerate(rows)])


def _column(change: Callable[[list[str]], list[str]]) -> Mutation:
    """Change the value cells of every row."""
    return _cells(lambda rows: [rows[0], *([one[0], *change(one[1:])] for one in rows[1:])])


def _ids(change: Callable[[str], str]) -> Mutation:
    return _cells(lambda rows: [rows[0], *([change(one[0]), *one[1:]] for one in rows[1:])])


def _answers_moved(order: Callable[[list[list[str]]], list[list[str]]]) -> Mutation:
    """Leave the ids, and bring the answers into another order."""

    def change(rows: list[list[str]]) -> list[list[str]]:
        moved = order([one[1:] for one in rows[1:]])
        return [rows[0], *([one[0], *values] for one, values in zip(rows[1:], moved, strict=True))]

    return _cells(change)


def _submission_of(case: Case, predictions: Predictions) -> Path:
    return case.written(
        write_submission(
            case.data / "other.csv", submission_table(case.competition, predictions, data=case.data)
        ).read_bytes()
    )


def _permuted(case: Case) -> Path:
    """Write the columns of the classes by place, in another order of the classes."""
    from dataclasses import replace

    order = [1, 2, 3, 0]
    return _submission_of(case, replace(case.predictions, probabilities=case.predictions.probabilities[:, order]))


def _inverted(case: Case) -> Path:
    from dataclasses import replace

    return _submission_of(case, replace(case.predictions, probabilities=1 - case.predictions.probabilities))


def _another_run(case: Case) -> Path:
    return _submission_of(case, predicted(case.kind, seed=2))


def _label_columns(case: Case) -> Path:
    """Write a column for each class, where one with the class is asked for."""
    rows = zip(case.rows[1:], case.predictions.probabilities, strict=True)
    return case.written([["id", *case.competition.classes], *([one[0], *map(str, p)] for one, p in rows)])


def _one_class(case: Case) -> Path:
    best = case.predictions.probabilities.argmax(axis=1)
    names = [case.competition.classes[k] for k in best]
    return case.written([["id", "answer"], *([one[0], name] for one, name in zip(case.rows[1:], names, strict=True))])


def _shuffled(rows: list[list[str]]) -> list[list[str]]:
    order = np.random.default_rng(0).permutation(len(rows))
    return [rows[k] for k in order]


# name -> (code, kinds, mutation)
MUTATIONS: dict[str, tuple[str, tuple[str, ...], Mutation]] = {
    "nothing in it": ("L101", KINDS, _text(lambda text: "\n")),
    "NUL bytes": ("L103", KINDS, _text(lambda text: text.replace("0007", "00\x0007"))),
    "UTF-16": ("L104", KINDS, _text(lambda text: text.encode("utf-16"))),
    "Latin-1": ("L105", KINDS, _text(lambda text: text.replace("id,", "id\xe9,").encode("latin-1"))),
    "a byte-order mark": ("L106", KINDS, _text(lambda text: text.encode("utf-8-sig"))),
    "semicolons": ("L107", KINDS, _text(lambda text: text.replace(",", ";"))),
    "an open quote": ("L108", KINDS, _text(lambda text: text.replace("0007", '"0007'))),
    "a row too long": ("L109", KINDS, _cells(lambda rows: [*rows[:5], [*rows[5], "x"], *rows[6:]])),
    "a huge cell": ("L110", KINDS, _ids(lambda name: "9" * 20_000 if name == "0007" else name)),
    "no header": ("L111", KINDS, _cells(lambda rows: rows[1:])),
    "a zip": ("L112", KINDS, _text(lambda text: b"PK\x03\x04" + text.encode())),
    "a header only": ("L113", KINDS, _cells(lambda rows: rows[:1])),
    "blank lines": ("L114", KINDS, _text(lambda text: text.replace("\n", "\n\n", 3))),
    "lone carriage returns": ("L115", KINDS, _text(lambda text: text.replace("\n", "\r"))),
    "an index column": ("L201", KINDS, _cells(
        lambda rows: [["", *rows[0]], *([str(k), *one] for k, one in enumerate(rows[1:]))])),
    "a column gone": ("L202", KINDS, _cells(lambda rows: [one[:-1] for one in rows])),
    "a column more": ("L203", KINDS, _cells(lambda rows: [["note", *rows[0]], *(["x", *one] for one in rows[1:])])),
    "a column twice": ("L204", KINDS, _cells(lambda rows: [[*one, one[-1]] for one in rows])),
    "columns in another order": ("L205", KINDS, _cells(lambda rows: [one[::-1] for one in rows])),
    "a capital in the header": ("L206", KINDS, _text(lambda text: text.replace("id,", "Id,", 1))),
    "an id twice": ("L301", KINDS, _cells(lambda rows: [*rows, rows[7]])),
    "an image left out": ("L302", KINDS, _cells(lambda rows: rows[:-1])),
    "an image of nobody's": ("L303", KINDS, _cells(lambda rows: [*rows, ["9999", *rows[1][1:]]])),
    "ids with suffix": ("L304", KINDS, _ids(lambda name: f"{name}.jpg")),
    "ids without zeros": ("L305", KINDS, _ids(lambda name: str(int(name)))),
    "rows in another order": ("L306", KINDS, _cells(lambda rows: [rows[0], *_shuffled(rows[1:])])),
    "an empty id": ("L307", KINDS, _ids(lambda name: "" if name == "0007" else name)),
    "a class for probabilities": ("L401", NUMBERS, _one_class),
    "probabilities for a class": ("L402", NAMES, _label_columns),
    "not a value": ("L403", KINDS, _cell("NaN")),
    "infinite": ("L404", NUMBERS, _cell("-inf")),
    "not a number": ("L405", NUMBERS, _cell("high")),
    "below zero": ("L406", NUMBERS, _column(lambda cells: [str(float(cell) * 6 - 3) for cell in cells])),
    "percent": ("L407", NUMBERS, _column(lambda cells: [str(100 * float(cell)) for cell in cells])),
    "rows off one": ("L408", ("multi-class",), _column(lambda cells: [str(min(1, 2 * float(p))) for p in cells])),
    "the same for all": ("L409", KINDS, lambda case: _column(
        lambda cells: case.rows[2][1:])(case)),
    "a decimal comma": ("L410", NUMBERS, _cell("0,25")),
    "a class of nobody's": ("L411", NAMES, _cell("unicorn")),
    "a class in capitals": ("L412", NAMES, _cell("ANT")),
    "a class's number": ("L413", NAMES, _cell("2")),
    "labels parted by semicolons": ("L415", ("multi-label",), _column(lambda cells: [cells[0].replace(" ", ";")])),
    "a label twice": ("L416", ("multi-label",), _cell("ant ant")),
    "exactly 0": ("L417", ("binary",), _column(lambda cells: ["0" if float(cells[0]) < 0.0045 else cells[0]])),
    "rounded to 0 and 1": ("L418", ("binary",), _column(lambda cells: [str(round(float(cells[0])))])),
    "the sample": ("L419", KINDS, lambda case: case.written((case.data / "sample.csv").read_bytes())),
    "two classes for one": ("L420", ("label",), _cell("ant bee")),
    "columns permuted": ("L501", ("multi-class", "label", "multi-label"), _permuted),
    "polarity inverted": ("L502", ("binary",), _inverted),
    "rows shifted": ("L503", KINDS, _answers_moved(lambda values: [values[-1], *values[:-1]])),
    "rows mixed up": ("L504", KINDS, _answers_moved(_shuffled)),
    "another run's": ("L505", KINDS, _another_run),
}  # fmt: skip
