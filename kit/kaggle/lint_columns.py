"""Linting of a submission's header, and of its ids against the sample's."""

from collections import Counter
from collections.abc import Sequence

from kit.data.labels import without_image_suffix
from kit.kaggle.lint_codes import Finding, finding, shown, some
from kit.kaggle.lint_expected import Expected
from kit.kaggle.lint_file import Cells

_INDEX_NAMES = ("", "index", "level_0")


def lint_columns(cells: Cells, expected: Expected) -> tuple[dict[str, int], list[Finding]]:
    """Return the place of each expected column that is there, and what is wrong with the header.

    Args:
        cells: of the file.
        expected: with `columns`.
    """
    header, wanted = cells.header, expected.columns
    wanted_words = f"Expected are {some(wanted, most=5)}."
    if doubled := [name for name, count in Counter(header).items() if count > 1]:
        return {}, [finding("L204", f"The column {shown(doubled[0])} stands there more than once.", where="line 1")]
    if not set(map(_plain, header)) & set(map(_plain, wanted)) and _is_data(header, expected):
        return {}, [
            finding(
                "L111", f"The first line is a row, it begins with {shown(header[0])}. {wanted_words}", where="line 1"
            )
        ]
    place, found = _spelled(header, wanted)
    further = [name for k, name in enumerate(header) if k not in place.values()]
    if (index := next((name for name in further if _is_index(name, cells)), None)) is not None:
        found.append(
            finding("L201", f"The column {shown(index)} counts the rows, as pandas writes its index.", where="line 1")
        )
        further.remove(index)
    missing = [name for name in wanted if name not in place]
    if other := _other_form(cells, expected, place=place, missing=missing, further=further):
        return {}, [*found, other]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        found.append(
            finding("L202", f"The column {shown(missing[0])}{more} is missing. {wanted_words}", where="line 1")
        )
    if further:
        found.append(
            finding("L203", f"The column {shown(further[0])} is not asked for. {wanted_words}", where="line 1")
        )
    if not found and [place[name] for name in wanted] != sorted(place.values()):
        out = next(name for k, name in enumerate(header) if name != wanted[k])
        found.append(finding("L205", f"The column {shown(out)} is not in its place. {wanted_words}", where="line 1"))
    return ({} if missing else place), found


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _spelled(header: Sequence[str], wanted: Sequence[str]) -> tuple[dict[str, int], list[Finding]]:
    """Return the place of each column that is there, also of those that are spelled otherwise, which is a finding."""
    place = {name: header.index(name) for name in wanted if name in header}
    left = {_plain(name): k for k, name in enumerate(header) if k not in place.values()}
    found = []
    for name in wanted:
        if name not in place and (k := left.get(_plain(name))) is not None:
            place[name] = k
            found.append(finding("L206", f"The column {shown(header[k])} should be {shown(name)}.", where="line 1"))
    return place, found[:1]


def _is_data(header: Sequence[str], expected: Expected) -> bool:
    """The first line is a row: it begins with an id, or ends with a number or a class."""
    known = set(expected.ids or ())
    last = header[-1]
    return header[0] in known or last in expected.competition.classes or last.replace(".", "", 1).isdecimal()


def _is_index(name: str, cells: Cells) -> bool:
    if name.strip().lower() not in _INDEX_NAMES and not name.startswith("Unnamed:"):
        return False
    column = cells.column(cells.header.index(name))
    return all(cell == str(row) for row, cell in enumerate(column))


def _other_form(
    cells: Cells, expected: Expected, *, place: dict[str, int], missing: Sequence[str], further: Sequence[str]
) -> Finding | None:
    """Return a finding where classes stand in the place of probabilities, or the reverse, by the columns."""
    classes = expected.competition.classes
    if not missing or not further:
        return None
    if expected.values == "probabilities" and len(missing) == len(classes) and len(further) == 1:
        column = cells.column(cells.header.index(further[0]))
        if set(column) <= set(classes):
            return finding(
                "L401", f"One column, {shown(further[0])}, names the class; a probability for each is asked for."
            )
    if not expected.numbers and set(classes) <= set(further):
        return finding(
            "L402", f"There is a column for each class; one, {shown(missing[0])}, with the class is asked for."
        )
    return None


def lint_ids(ids: Sequence[str], lines: Sequence[int], expected: Expected) -> list[Finding]:
    """Return what is wrong with the ids (N,) of the file's rows.

    Args:
        ids: as the file spells them.
        lines: (N,) each row's line.
        expected: with the sample's ids, or with those of the run's own submission, or with none.
    """
    found = []
    if empty := [row for row, name in enumerate(ids) if not name.strip()]:
        found.append(finding("L307", f"{len(empty):,} rows have no id.", where=f"line {lines[empty[0]]}"))
    first: dict[str, int] = {}
    doubled = [row for row, name in enumerate(ids) if first.setdefault(name, row) != row and name.strip()]
    if doubled:
        found.append(
            finding(
                "L301",
                f"{len(doubled):,} rows have an id that stands above, first {shown(ids[doubled[0]])}.",
                where=f"line {lines[doubled[0]]}",
            )
        )
    known = _known_ids(expected)
    if known is None or empty:
        return found
    unknown = [name for name in first if name not in known]
    missing = [name for name in known if name not in first]
    if spelling := _spelling(unknown, missing):
        return [*found, spelling]
    if expected.ids is None and len(missing) == len(known):
        return [*found, finding("L506", f"No row is of an image that the run predicted, first {some(unknown)}.")]
    if missing:
        found.append(
            finding("L302", f"{len(missing):,} of {len(known):,} test images have no row, first {some(missing)}.")
        )
    if unknown:
        found.append(
            finding(
                "L303",
                f"{len(unknown):,} rows have an id that is not among the {len(known):,} test images, first "
                f"{some(unknown)}.",
                where=f"line {lines[first[unknown[0]]]}",
            )
        )
    if not found and expected.ids is not None and list(ids) != list(expected.ids):
        row = next(k for k, (name, wanted) in enumerate(zip(ids, expected.ids, strict=True)) if name != wanted)
        message = (
            f"The same ids as the sample's, in another order: {shown(ids[row])}, and {shown(expected.ids[row])} there."
        )
        found.append(finding("L306", message, where=f"line {lines[row]}"))
    return found


def _known_ids(expected: Expected) -> dict[str, None] | None:
    if expected.ids is not None:
        return dict.fromkeys(expected.ids)
    if expected.own is not None:
        return dict.fromkeys(expected.own[expected.id_column].astype("str"))
    return None


def _spelling(unknown: Sequence[str], missing: Sequence[str]) -> Finding | None:
    """Return a finding where all unknown ids are known ones in another spelling."""
    if not unknown or len(unknown) != len(missing):
        return None
    for code, spell in (("L305", _as_number), ("L304", _as_stem)):
        wanted = {spell(name): name for name in missing}
        if len(wanted) == len(missing) and all(spell(name) in wanted for name in unknown):
            example = f"{shown(unknown[0])} should be {shown(wanted[spell(unknown[0])])}"
            how = "were read as numbers" if code == "L305" else "are spelled otherwise"
            return finding(code, f"{len(unknown):,} ids {how}: {example}.")
    return None


def _as_number(name: str) -> str:
    """Return an id of digits as a reader of numbers would give it: 007 and 7.0 are 7."""
    whole = name.removesuffix(".0")
    return str(int(whole)) if whole.isascii() and whole.isdecimal() and len(whole) < 40 else name


def _as_stem(name: str) -> str:
    """Return an id without folders, image suffix, spaces and capitals."""
    return without_image_suffix(name.strip().replace("\\", "/").rsplit("/", 1)[-1]).casefold()
