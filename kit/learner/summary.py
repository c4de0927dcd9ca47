"""A network as a table: its depth groups, from the stem to the head, and what of them learns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.interpret.notebook import html_table
from kit.train.depth import depth_groups
from kit.train.model import Network

if TYPE_CHECKING:
    from kit.learner.answering import Answering

COLUMNS = ("depth group", "parameters", "first of them", "learns")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `learn.summary()` shows."""

    title: str
    rows: tuple[tuple[str, str, str, str], ...]  # of COLUMNS, stem first
    note: str

    def __repr__(self) -> str:
        """Return the table as plain text."""
        cells = [COLUMNS, *(tuple(str(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[k]) for row in cells) for k in range(len(COLUMNS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        ]
        return "\n".join([self.title, *lines, self.note])

    def _repr_html_(self) -> str:
        return html_table(COLUMNS, self.rows, caption=self.title, note=self.note)


def summary_of(network: Network, *, name: str, frozen: bool, image_size: int, num_classes: int) -> Summary:
    """Return the table of a network's depth groups.

    Args:
        network: the network.
        name: its name.
        frozen: only the head learns.
        image_size: side of the square that it sees, pixels.
        num_classes: logits.
    """
    parameters = dict(network.module.named_parameters())
    groups = depth_groups(network.module)
    rows = []
    for k, names in enumerate(groups):
        is_head = k == len(groups) - 1
        size = sum(parameters[one].numel() for one in names)
        learns = "yes" if is_head or not frozen else "frozen"
        rows.append(("head" if is_head else f"{k + 1}", f"{size:,}", names[0], learns))
    total = sum(value.numel() for value in parameters.values())
    learning = sum(parameters[one].numel() for one in (groups[-1] if frozen else parameters))
    return Summary(
        title=f"{name}: images {image_size} x {image_size} -> {num_classes} classes, weights: {network.weights_origin}",
        rows=tuple(rows),
        note=f"{total:,} parameters, of which {learning:,} learn. With slice(lo, hi) each group has a rate of its own.",
    )


def learner_table(learn: "Answering") -> str:
    """Return what a learner is and what was done with it, as HTML."""
    data, recipe = learn.data, learn.recipe
    num_valid = 0 if data.valid is None else len(data.valid)
    rows = [
        ("network", f"{recipe.model.name}, {learn.network.num_parameters:,} parameters"),
        ("weights", learn.network.weights_origin),
        ("learns", "the head" if learn.frozen else "every layer"),
        ("images", f"{len(data.train):,} to learn from, {num_valid:,} held out"),
        ("classes", f"{data.c}"),
        ("size", f"{recipe.input.image_size} pixels, {recipe.schedule.batch_size} images per step"),
        ("device", str(learn.device)),
        *((f"cycle {cycle.number}", cycle.words) for cycle in learn.cycles),
    ]
    return html_table(("Learner", data.competition.title), rows)
