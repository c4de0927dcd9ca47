"""Scrape: lists of addresses become a folder of images by class, with a manifest of what became of each address.

No search service is asked: their interfaces change every year. The user brings the addresses, out of a saved results
page, a browser's network log, or any list, and the kit fetches them: politely, safely, and so that none is lost.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.competition import checked_slug, competition_folders, read_competition
from kit.errors import CompetitionError, DataError
from kit.home import family, write_text
from kit.progress import Say
from kit.scaffold.scaffold import write_competition
from kit.scrape.addresses import (
    HOST_NOT_PUBLIC,
    PORT_NOT_ASKED,
    AllowedHosts,
    RefusedError,
    normalised,
    place_of,
    read_allowed_hosts,
)
from kit.scrape.collector import Collector, Limits
from kit.scrape.manifest import (
    ManifestRow,
    conflicts_in,
    merged,
    open_journal,
    read_manifest,
    settle,
    write_manifest,
)
from kit.scrape.url_lists import ListRow, read_url_lists

if TYPE_CHECKING:
    import pandas as pd

COLLECTED = "collected"  # the source set
COMPETITIONS = Path("competitions")  # where a new competition's folder is written
NEAR_DUPLICATES = "near_duplicates.csv"

SOURCE_TOML = """\
# Collected on this machine by `kit scrape`; the folder is below KIT_HOME/collected/<this competition>.
[sources.collected]
folder = "images"
"""

README = """\
# {name}

{count:,} images of {num_classes} classes, collected with `kit scrape {name}`. KIT_HOME/collected/{name}/manifest.csv
says where each one came from; each image stays with its owner. Before a score is believed: look through the images
for wrong labels and placeholders, and at `near_duplicates.csv` for copies.

Other images may be collected later with the same command. A class that is new must be added to `classes` in
competition.toml.
"""


@dataclass(frozen=True, kw_only=True)
class Collection:
    """What there is after a scrape."""

    folder: Path  # the images, in a folder per class
    manifest: Path
    rows: tuple[ManifestRow, ...]  # of the manifest: this run's lists, and those of earlier runs

    @property
    def paths(self) -> tuple[str, ...]:
        """The images that are there, below the folder; one that the user has removed is not."""
        files = sorted({row.file for row in self.rows if row.status == "ok"})
        return tuple(file for file in files if (self.folder / file).is_file())

    @property
    def conflicts(self) -> tuple[ManifestRow, ...]:
        """The rows whose image is kept in another class."""
        return tuple(conflicts_in(self.rows))

    def counts_by_class(self) -> dict[str, int]:
        """Return class -> number of images that are there, of the classes that have one."""
        return dict(sorted(Counter(path.split("/")[0] for path in self.paths).items()))

    @property
    def empty_classes(self) -> tuple[str, ...]:
        """The classes of the lists of which no image is there."""
        return tuple(sorted({row.label for row in self.rows} - self.counts_by_class().keys()))

    def counts(self) -> list[tuple[str, str, int]]:
        """Return (status, reason without what varies, number of rows), the most frequent first within a status."""
        counted = Counter((row.status, row.kind_of_reason) for row in self.rows)
        order = ("ok", "duplicate", "refused", "failed")
        found = [(status, reason, count) for (status, reason), count in counted.items()]
        return sorted(found, key=lambda each: (order.index(each[0]), -each[2], each[1]))


def collect(
    name: str,
    lists: Sequence[Path],
    *,
    label: str | None = None,
    limits: Limits | None = None,
    allow_hosts: Sequence[str] = (),
    retry_failed: bool = False,
    say: Say = print,
) -> Collection:
    """Fetch the images of `lists` into `KIT_HOME/collected/NAME/images/CLASS/`, and write the manifest beside it.

    Addresses that are settled already are not asked again, but for those whose host is allowed since; interrupted,
    the same call goes on. An image that the user
    has removed stays removed. An image found twice is kept once; found in two classes, it is kept in the
    first and named among the conflicts.

    Args:
        name: slug of the competition that the collection is for.
        lists: files and folders, see `url_lists.read_url_lists`.
        label: the class of lists that name none, in place of their file's name.
        limits: how politely, how long and how much.
        allow_hosts: HOST or HOST:PORT that may be asked though their addresses are private.
        retry_failed: ask failed addresses (not refused ones) once more.
        say: takes one line of progress.

    Raises:
        CompetitionError: the name is that of a competition whose images are others; nothing was fetched.
        ConfigError, DataError: a list or the manifest that cannot be read, a class name that is not safe.
        StorageError: the images cannot be written.
    """
    _refuse_other_competition(checked_slug(name))
    limits = limits or Limits()
    allowed = read_allowed_hosts(allow_hosts)
    wanted = read_url_lists(lists, label=label)
    home = family("collected") / name
    folder = home / "images"
    with open_journal(home) as (journal, interrupted):
        standing = read_manifest(home)
        known = _by_key(standing, allowed) | interrupted
        known = {key: row for key, row in known.items() if not _is_allowed_since(key, row, allowed)}
        if retry_failed:
            known = {key: row for key, row in known.items() if row.status != "failed"}
        removed = {row.file for row in standing if row.status == "ok" and not (folder / row.file).is_file()}
        listed = {_key_of(row.url, allowed) for row in [*wanted, *map(_list_row, standing)]}
        unlisted = [_list_row(row) for key, row in interrupted.items() if key not in listed]
        rows = merged(wanted, merged(unlisted, [_list_row(row) for row in standing]))
        keys = [_key_of(row.url, allowed) for row in rows]
        label_of = {key: row.label for row, key in reversed(list(zip(rows, keys, strict=True)))}  # the first row's
        missing = [key for key in dict.fromkeys(keys) if key not in known]
        say(f"{len(wanted):,} rows, {len(set(keys)):,} addresses, {len(missing):,} to fetch")
        collector = Collector(folder=folder, journal=journal, limits=limits, allowed=allowed, say=say)
        fetched = collector.collect([(key, label_of[key]) for key in missing])
        settled = settle(rows, keys, known | fetched, standing=standing)
        manifest = write_manifest(home, settled)
        kept = {row.file for row in settled if row.status == "ok"} - removed
        for row in (interrupted | fetched).values():
            if row.status == "ok" and row.file not in kept:
                (folder / row.file).unlink(missing_ok=True)
        journal.clear()
    return Collection(folder=folder, manifest=manifest, rows=tuple(settled))


def near_duplicates_of(folder: Path, paths: Sequence[str], *, say: Say = print) -> "pd.DataFrame":
    """Return the pairs of images that show the same picture, and whether they are of two classes.

    Args:
        folder: the collected images.
        paths: below it, `CLASS/NAME`.
        say: takes a line of progress.

    Returns:
        `a, b, kind, distance, difference` as of `duplicates.find_duplicates`, and `conflict` (bool).
    """
    from kit.quality.duplicates import find_duplicates

    pairs = find_duplicates(folder, paths, say=say)
    conflict = [a.split("/")[0] != b.split("/")[0] for a, b in zip(pairs["a"], pairs["b"], strict=True)]
    return pairs.assign(conflict=conflict)


def write_near_duplicates(collection: Collection, *, say: Say = print) -> Path:
    """Write `near_duplicates.csv` beside the manifest, say what is in it, and return its path."""
    path = collection.manifest.with_name(NEAR_DUPLICATES)
    pairs = near_duplicates_of(collection.folder, collection.paths, say=say)
    write_text(path, pairs.to_csv(index=False, lineterminator="\n"))
    if len(pairs):
        across = int(pairs["conflict"].sum())
        say(f"{len(pairs):,} pairs of images show the same picture, {across:,} of them in two classes: see {path}")
    return path


def competition_of(name: str, collection: Collection, *, say: Say = print) -> Path | None:
    """Return the folder of the competition `name`; where there is none yet, it is written to `./competitions`.

    None where the images have fewer than two classes: that makes no competition.
    """
    counts = collection.counts_by_class()
    if (folder := competition_folders().get(name)) is not None:
        found = read_competition(folder)
        if new := [label for label in counts if label not in found.classes]:
            say(f"{folder / 'competition.toml'} lacks the classes {', '.join(new)}: add them, or remove their folders.")
        return folder
    if len(counts) < 2:
        say(f"{len(counts)} of the at least two classes that a competition needs: no competition written yet.")
        return None
    return write_competition(
        COMPETITIONS,
        slug=name,
        title=f"{name}: images collected from the web",
        classes=list(counts),
        images_glob="*/*",
        source_toml=SOURCE_TOML,
        licence="each image stays with its owner; manifest.csv names the licence where one is stated",
        citation="Collected with kit scrape.",
        readme=README.format(name=name, count=len(collection.paths), num_classes=len(counts)),
    ).resolve()


def refuse_empty(collection: Collection) -> None:
    """Raise a `DataError` with the commonest reason where no image was kept."""
    if any(row.status == "ok" for row in collection.rows):
        return
    (_, reason), count = Counter((row.status, row.kind_of_reason) for row in collection.rows).most_common(1)[0]
    first = next(row for row in collection.rows if row.kind_of_reason == reason)
    way_out = "Correct the addresses, or ask those that failed once more with --retry-failed."
    if reason == HOST_NOT_PUBLIC:
        host = place_of(first.final_url)[1]
        way_out = (
            f"Addresses inside a network are asked only where you name the host: "
            f"--allow-host {f'[{host}]' if ':' in host else host}."
        )
    raise DataError(
        f"No image was kept of {len(collection.rows):,} addresses. The commonest reason, {count:,} times: "
        f"{first.reason}; the first of them is {first.url}. {way_out} {collection.manifest} says what became of each."
    )


def _refuse_other_competition(name: str) -> None:
    """Refuse a competition that would not use the images: it has no source set of collected ones."""
    folder = competition_folders().get(name)
    if folder and COLLECTED not in read_competition(folder).sources:
        raise CompetitionError(
            f"The competition {name}, in {folder}, has images of its own and no source {COLLECTED!r}: it would not use "
            f"what is collected under its name. Nothing was fetched. Take another name, e.g. `kit scrape my-{name}`, "
            "and `kit scrape` writes a competition of that name."
        )


def _is_allowed_since(key: str, row: ManifestRow, allowed: AllowedHosts) -> bool:
    """Tell whether an address was refused for its host or port, and the user has named that host now."""
    if row.status != "refused" or row.kind_of_reason not in (HOST_NOT_PUBLIC, PORT_NOT_ASKED):
        return False
    try:
        _, host, port = place_of(normalised(row.final_url or key, allowed=allowed))
    except RefusedError:
        return False
    return (host, port) in allowed


def _key_of(url: str, allowed: AllowedHosts) -> str:
    """Return the one spelling of an address; what is none stays as it is, and is refused when its turn comes."""
    try:
        return normalised(url, allowed=allowed)
    except RefusedError:
        return url


def _by_key(rows: Sequence[ManifestRow], allowed: AllowedHosts) -> dict[str, ManifestRow]:
    """Return what the last manifest knows of each address; a duplicate without the row it is one of is not known."""
    kept = {row.sha256 for row in rows if row.status == "ok"}
    found: dict[str, ManifestRow] = {}
    for row in rows:
        key = _key_of(row.url, allowed)
        if (row.status != "duplicate" or row.sha256 in kept) and (key not in found or row.status == "ok"):
            found[key] = row
    return found


def _list_row(row: ManifestRow) -> ListRow:
    return ListRow(url=row.url, label=row.label)
