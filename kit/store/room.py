"""Room: which kind of store fits the disk, asked before hours of decoding, and what to say when it fills after all."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kit.errors import StorageError
from kit.home import explained_message, family
from kit.progress import Say
from kit.store.decode import image_size
from kit.store.store import JPEG_QUALITY, StoreSettings

JPEG_SHARE = 0.2  # of the raw bytes; photographs have 0.12 to 0.25
FREE_SHARE = 0.9  # of the free disk may be filled: checkpoints need some, too


def spread(num_rows: int, *, most: int = 128) -> list[int]:
    """Return up to `most` row numbers, evenly spread."""
    return [k * num_rows // min(most, num_rows) for k in range(min(most, num_rows))]


def storage_that_fits(
    places: list[tuple[StoreSettings, Path]], sample: list[Path], *, num_images: int, say: Say
) -> tuple[StoreSettings, Path]:
    """Return the first place whose store fits the disk; one that was begun is gone on with.

    Args:
        places: what could be stored, and where, the best first.
        sample: some of the image files; their headers tell how large the others are.
        num_images: how many there are.
        say: told why it is not the best.

    Raises:
        StorageError: none fits.
    """
    for settings, place in places:
        if place.with_name(f"{place.name}.unfinished").is_dir() or place.is_dir():
            return settings, place
    home = next(path for path in (family("packs"), *family("packs").parents) if path.is_dir())
    free = shutil.disk_usage(home).free
    side, square = places[0][0].store_size, places[0][0].layout == "square"
    # With room for four squares an image no header need be read.
    raw = num_images * side * side * 3
    if not square and 4 * raw > FREE_SHARE * free:
        sizes = [size for size in map(image_size, sample) if size is not None]
        pixels = [height * width * min(1.0, side / max(1, min(height, width))) ** 2 for height, width in sizes]
        raw = round(num_images * 3 * float(np.mean(pixels))) if pixels else raw
    needs = {"raw": raw, "jpeg": round(JPEG_SHARE * raw)}
    for settings, place in places:
        if needs[settings.storage] <= FREE_SHARE * free:
            if len(places) > 1 and settings.storage == "jpeg":
                say(
                    f"storing JPEG of quality {JPEG_QUALITY} in place of pixels: those would take about "
                    f"{_gib(raw)}, and {_gib(free)} are free on the disk of {home}"
                )
            return settings, place
    needed = ", ".join(f"about {_gib(needs[settings.storage])} as {settings.storage}" for settings, _ in places)
    raise StorageError(
        f"{num_images:,} images at {side} px do not fit the disk of {home}: they take {needed}, "
        f"and {_gib(free)} are free. Free some (`kit cache` shows what the kit keeps), set KIT_HOME to another disk, "
        'or choose a smaller input.store_size or input.store_format = "jpeg".'
    )


def _gib(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:,.1f} GiB"


@contextmanager
def full_disk_explained(work: Path) -> Iterator[None]:
    """Explain a disk that fills while a store is written; what is there already is kept."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageError(
                f"The disk is full: {work} could not be filled to its end. What was decoded is kept there and the "
                "next run goes on from it; `kit cache --clear packs` removes it; KIT_HOME moves it to another disk."
            ) from error
        if (message := explained_message(error, work)) is not None:
            raise StorageError(message) from error
        raise
