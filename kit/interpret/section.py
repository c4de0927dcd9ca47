"""A piece of a run's report, before anyone decides how a page looks.

All text is raw: class names and image ids come from outside, and whoever writes a page escapes every field.
"""

from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True, kw_only=True)
class SectionTable:
    """A small table."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]  # each as long as `columns`

    def __post_init__(self) -> None:
        """Refuse what could only be a bug of ours."""
        assert all(len(row) == len(self.columns) for row in self.rows)


@dataclass(frozen=True, kw_only=True)
class SectionFigure:
    """A picture."""

    png: bytes  # the file's bytes
    alt: str  # what a reader who cannot see it should know
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """One heading of the report with what stands under it."""

    key: str  # lower-case letters and "-": unique in a report, for links
    title: str
    intro: str  # a paragraph; where something is missing, it says what and how to get it
    tables: tuple[SectionTable, ...] = ()
    figures: tuple[SectionFigure, ...] = ()
