"""Packs of tests: a hundred images, what is in a folder, and how the bytes of a pack get to the disk."""

from pathlib import Path

from toys import coloured_png, write_files

from kit.store.pack import Pack, pack_files

WAYS = {"straight to the disk": 1, "by way of the page cache": 2**40}  # bytes that go straight, at least


def hundred_images(folder: Path) -> Path:
    """Write a hundred different images of one size."""
    return write_files(folder, {f"{k:03d}.png": coloured_png("blue", k) for k in range(100)})


def pack_all(folder: Path, lines: list[str] | None = None, **options) -> Pack:
    """Return the pack of every file in `folder`; `lines` gets what is said."""
    names = sorted(path.name for path in folder.iterdir())
    say = ([] if lines is None else lines).append
    return pack_files(folder, image_ids=names, paths=names, content_keys=names, store_size=32, say=say, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def flip(path: Path, at: int) -> None:
    """Turn one bit over."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
