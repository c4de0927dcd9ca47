"""The pack: every image decoded once, in parallel, into one memory-mapped store (`kit.store.store`).

It is named by its contents and settings, so that a changed image means another pack. Three ways to store an image:

| layout, storage | image k is |
| --- | --- |
| ragged, raw | its pixels, the shorter side reduced to `store_size`; never enlarged |
| square, raw | its central square, `store_size` pixels a side: one array (N, S, S, 3) |
| either, jpeg | the same as JPEG, quality 95, chroma not subsampled: a fifth of the bytes, decoded when asked |

Threads decode: simplejpeg and OpenCV let go of the interpreter while they work, and Pillow nearly always. Memory is
bounded by what is in flight, whatever the number of images, and is used again and again.
"""

import os
import secrets
import shutil
import threading
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from kit.errors import DataError, StorageError
from kit.home import family, fingerprint
from kit.progress import Counter, Say
from kit.store.arena import Arena
from kit.store.decode import Image, central_square, printable, read_image, reduced
from kit.store.room import full_disk_explained, spread, storage_that_fits
from kit.store.store import CHUNKS_CHECKED, JPEG_QUALITY, Layout, Pack, StoreSettings, open_pack
from kit.store.unfinished import Donor, Keys, Row, Unfinished, donor, group_rows, hashed, owned, unfinished

if TYPE_CHECKING:
    from kit.data.samples import Samples

__all__ = ["Pack", "pack_files", "pack_images"]


def pack_images(
    samples: "Samples",
    *,
    store_size: int,
    say: Say = print,
    layout: Layout = "ragged",
    storage: Literal["auto", "raw", "jpeg"] = "auto",
    verify: bool = False,
) -> Pack:
    """Return the pack of all used images of `samples`, decoding what was not decoded before.

    Args:
        samples: the table; rows that are unused, or have no path, are left out.
        store_size: pixels of the shorter side (ragged), or of both (square).
        say: takes lines of progress.
        layout: ragged keeps the aspect, square keeps the middle.
        storage: raw pixels, JPEG, or auto: raw if that fits the disk.
        verify: check every byte of a pack that is there already, not just a sample.

    Raises:
        DataError: one or more images cannot be decoded; names the first five, with reasons, and the count.
        StorageError: the disk has no room for the pack.
    """
    table = samples.table
    table = table[(table["split"] != "unused") & (table["path"] != "")]
    return pack_files(
        samples.folder,
        image_ids=table["image_id"].array,
        paths=table["path"].array,
        content_keys=table["sha256"].array,
        store_size=store_size,
        say=say,
        layout=layout,
        storage=storage,
        verify=verify,
    )


def pack_files(
    folder: Path,
    *,
    image_ids: Sequence[str],
    paths: Sequence[str],
    content_keys: Sequence[str],
    store_size: int,
    say: Say = print,
    layout: Layout = "ragged",
    storage: Literal["auto", "raw", "jpeg"] = "auto",
    verify: bool = False,
) -> Pack:
    """Return the pack of any image files; see `pack_images`.

    Args:
        folder: `paths` are relative to it.
        image_ids: N different ids; row k of the pack is image k.
        paths: N files.
        content_keys: N strings that change when the files change, e.g. their SHA-256.
        store_size: see `pack_images`, as all that follows.
        say: takes lines of progress.
        layout: ragged or square.
        storage: raw, jpeg or auto.
        verify: check every byte of a pack that is there already.
    """
    content = _fingerprint(image_ids, content_keys)
    places: list[tuple[StoreSettings, Path]] = []
    for kind in ("raw", "jpeg") if storage == "auto" else (storage,):
        settings = StoreSettings(store_size=store_size, layout=layout, storage=kind)
        places.append((settings, family("packs") / fingerprint(repr(settings), content)[:20]))
    damaged = []
    looked_at = None if verify else CHUNKS_CHECKED
    for settings, place in places:
        if place.is_dir():
            if (pack := open_pack(place, settings, chunks_checked=looked_at)) is not None:
                return pack
            say(f"the pack {place} is damaged: decoding again")
            damaged.append(place)
    sample = [folder / str(paths[row]) for row in spread(len(paths))]
    settings, place = storage_that_fits(places, sample, num_images=len(paths), say=say)
    keys = hashed(content_keys)
    work = place.with_name(f"{place.name}.unfinished")
    with owned(work, say=say):
        # Another process may have finished it while this one waited. Where it was damaged, few chunks would not tell.
        looked_at = None if place in damaged else CHUNKS_CHECKED
        if place.is_dir() and (pack := open_pack(place, settings, chunks_checked=looked_at)) is not None:
            shutil.rmtree(work)
            return pack
        outdated = _fill(work, place, settings, folder, image_ids=image_ids, paths=paths, keys=keys, say=say)
        if outdated:
            work.rename(place.with_name(f"{place.name}-{secrets.token_hex(4)}.unfinished"))
    if outdated:
        return pack_files(
            folder,
            image_ids=image_ids,
            paths=paths,
            content_keys=content_keys,
            store_size=store_size,
            say=say,
            layout=layout,
            storage=settings.storage,
        )
    opened = open_pack(place, settings, chunks_checked=1)  # each was right when it was written
    if opened is None:
        raise StorageError(
            f"The pack {place} was written and cannot be read back: the disk may be failing. "
            "Set KIT_HOME to a folder on another disk."
        )
    return opened


def _fill(
    work: Path,
    place: Path,
    settings: StoreSettings,
    folder: Path,
    *,
    image_ids: Sequence[str],
    paths: Sequence[str],
    keys: Keys,
    say: Say,
) -> bool:
    """Decode what is not there yet, and put the store in its place.

    Returns:
        True if images that could not be read by an earlier run can be now: the store must then be built again, with
        this one as its donor.
    """
    with full_disk_explained(work), unfinished(work, settings, keys=keys, source=folder) as store:
        earlier = sorted(store.reasons)
        with ExitStack() as stack:
            others = [path for path in sorted(work.parent.glob("*.unfinished")) if path != work]
            offered = (stack.enter_context(donor(other, store, keys=keys, source=folder)) for other in others)
            donors = [one for one in offered if one is not None]
            given = [one.has(keys[store.filled :]) for one in donors]
            kept = store.filled + (int(np.logical_or.reduce(given).sum()) if given else 0)
            say(
                f"decoding {len(paths):,} images to {settings.store_size} px"
                + (f", of which {kept:,} are there from an earlier run" if kept else "")
            )
            maker = _RowMaker(folder, settings, paths=paths, keys=keys, donors=donors)
            _append_all(store, maker, say=say)
            if earlier:  # permissions, or a disk that was away: the files' contents are the same
                again = [row for row in earlier if maker.row(row, Arena()).reason]
                if not again and len(store.reasons) == len(earlier):
                    return True
        if store.reasons:
            raise _unreadable(store.reasons, num_images=len(paths), folder=folder)
        store.finish(place, image_ids)
    return False


class _RowMaker:
    """Makes what is stored of image k, in any thread."""

    def __init__(
        self, folder: Path, settings: StoreSettings, *, paths: Sequence[str], keys: Keys, donors: Sequence[Donor]
    ) -> None:
        self.folder, self.settings, self.paths, self.keys, self.donors = folder, settings, paths, keys, donors
        self.group = group_rows(settings)
        self.is_over = False  # nobody asks for what is being made
        self._arenas: deque[Arena] = deque()  # not in use; append and pop are safe in any thread
        self._scratch = threading.local()  # each thread's arena for images that are not stored as they are

    def rows(self, start: int) -> tuple[list[Row], Arena]:
        """Return the group of rows that begins with `start`, and the arena that has their bytes."""
        try:
            arena = self._arenas.pop()
        except IndexError:
            arena = Arena()
        rows = []
        for row in range(start, min(start + self.group, len(self.paths))):
            if self.is_over:
                break
            rows.append(self.row(row, arena))
        if self.settings.layout == "ragged" and self.settings.storage == "raw" and (num_zeros := arena.fill_page()):
            last = max(k for k, row in enumerate(rows) if row.num_bytes)
            rows[last] = Row.of(arena.filled[-rows[last].num_bytes - num_zeros :], rows[last].shape)
        return rows, arena

    def take_back(self, arena: Arena) -> None:
        """Use `arena` for other rows."""
        arena.clear()
        self._arenas.append(arena)

    def row(self, row: int, arena: Arena) -> Row:
        """Put the bytes of row `row`, decoded or taken from a donor, into `arena`."""
        for one in self.donors:
            if (found := one.get(self.keys[row])) is not None:
                return Row.of(arena.keep(found[0]), found[1])
        path = str(self.paths[row])
        try:
            return self._decoded(path, arena)
        except DataError as error:
            return Row(reason=str(error))
        except MemoryError:
            return Row(reason=f"{printable(path)} needs more memory than there is.")

    def _decoded(self, path: str, arena: Arena) -> Row:
        size, square, raw = self.settings.store_size, self.settings.layout == "square", self.settings.storage == "raw"
        if not hasattr(self._scratch, "arena"):
            self._scratch.arena = Arena()
        scratch: Arena = self._scratch.arena

        def room(height: int, width: int) -> Image:
            as_it_is = raw and (height == width == size if square else min(height, width) <= size)
            return (arena if as_it_is else scratch).image_room(height, width)

        image = read_image(f"{self.folder}{os.sep}{path}", name=path, shorter_side=size, room=room)
        image = central_square(image, size) if square else reduced(image, size, room=arena.image_room)
        row = Row.of(arena.keep(image if raw else _encoded(image)), (image.shape[0], image.shape[1]))
        scratch.clear()
        return row


def _encoded(image: Image) -> Image:
    """Return (K,) uint8: the bytes of a JPEG, or of a PNG where a side is too long for a JPEG."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if max(image.shape) > 65_500:
        png: Image = cv2.imencode(".png", bgr)[1]
        return png
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    sampling = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    jpeg: Image = cv2.imencode(".jpg", bgr, quality + sampling)[1]
    return jpeg


def _append_all(store: Unfinished, maker: _RowMaker, *, say: Say) -> None:
    """Append every row that the store lacks, in order, decoded by as many threads as there are cores."""
    import cv2

    threads = len(os.sched_getaffinity(0))
    cv2_threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # ours are enough; OpenCV's own would fight with them
    starts = iter(range(store.filled, store.num_rows, maker.group))
    # Filters are the process's: set here, where one thread runs. What is wrong with a file is said by our errors.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.simplefilter("ignore")
        ahead: deque[Future[tuple[list[Row], Arena]]] = deque(
            pool.submit(maker.rows, start) for start in islice(starts, threads + 2)
        )
        try:
            with Counter("decoding", total=store.num_rows, done=store.filled, unit="images", say=say) as counter:
                while ahead:
                    rows, arena = ahead.popleft().result()
                    if (start := next(starts, None)) is not None:
                        ahead.append(pool.submit(maker.rows, start))
                    store.append(rows, arena.filled)
                    maker.take_back(arena)
                    counter.reach(store.filled)
        finally:
            maker.is_over = True
            pool.shutdown(wait=False, cancel_futures=True)
            cv2.setNumThreads(cv2_threads)


def _unreadable(reasons: dict[int, str], *, num_images: int, folder: Path) -> DataError:
    first = " ".join(reasons[row] for row in sorted(reasons)[:5])
    return DataError(
        f"{len(reasons):,} of {num_images:,} images in {folder} cannot be decoded. "
        f"{'The first five' if len(reasons) > 5 else 'They are'}: {first} "
        "`kit check` lists them all, and proposes rows for fixes.csv by which they are left out; or replace "
        "the files. What was decoded is kept and is not decoded again."
    )


def _fingerprint(image_ids: Sequence[str], content_keys: Sequence[str]) -> str:
    """Return a hash of ids and contents in their order, made piece by piece: a million ids are many megabytes."""
    step = 4096
    pieces = (
        fingerprint(
            *(image_id.encode("utf-8", "surrogateescape") for image_id in image_ids[start : start + step]),
            *content_keys[start : start + step],
        )
        for start in range(0, len(image_ids), step)
    )
    return fingerprint(str(len(image_ids)), *pieces)
