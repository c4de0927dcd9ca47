"""Packs of tests: a hundred images, what is in a folder, and how the bytes of a pack get to the disk."""

import fcntl
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toys import coloured_png, write_files

from kit.store.pack import Pack, pack_files
from kit.store.store import READ_AHEAD

WAYS = {"straight to the disk": 1, "by way of the page cache": 2**40}  # bytes that go straight, at least


NAMES = ["red/1", "red/2", "blue/3", "blue/4"]


def four_images(folder: Path) -> Path:
    """Write the images of NAMES, in folders of their colour."""
    return write_files(folder, {f"{name}.png": coloured_png(name.split("/")[0], int(name[-1])) for name in NAMES})


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


def await_reading_ahead() -> None:
    """Return when no pack is being read ahead."""
    for thread in threading.enumerate():
        if thread.name == READ_AHEAD:
            thread.join()


def can_go_straight(folder: Path) -> bool:
    """Tell whether the file system of `folder` writes past the page cache."""
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


def noted_writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Return a list that gets, for each write at a place, its way, the place and the number of bytes."""
    found: list[tuple[str, int, int]] = []
    write = os.pwrite

    def noted(file: int, data: memoryview, at: int) -> int:
        straight = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DIRECT
        found.append(("straight" if straight else "cached", at, len(data)))
        return write(file, data, at)

    monkeypatch.setattr(os, "pwrite", noted)
    return found


@contextmanager
def small_disk(folder: Path, *, num_bytes: int) -> Iterator[None]:
    """Mount a file system of so many bytes, in memory, on a folder that is made."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # a pack may stay mapped
