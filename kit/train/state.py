"""The state of an unfinished training: written whole or not at all, the one before kept, checked when read.

A file is the word `kit-state`, the SHA-256 of what follows, and what torch.save makes of tensors and plain values.
It is read with `weights_only`, which runs no code.
"""

import errno
import hashlib
import io
import os
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from kit.errors import ConfigError
from kit.home import explained, make_folder
from kit.progress import Say

MAGIC = b"kit-state\n"
DIGEST_BYTES = 32
NEWEST, BEFORE = "state.pt", "state.before.pt"
SAVE_SECONDS = 30.0  # between two states, at least
COST_SHARE = 0.01  # of the time of a run that goes into writing states, at most


def save_interval() -> float:
    """Return the seconds between two states: KIT_SAVE_SECONDS, or 30.

    Raises:
        ConfigError: not a number of at least 0.
    """
    text = os.environ.get("KIT_SAVE_SECONDS", "").strip()
    try:
        seconds = float(text or SAVE_SECONDS)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise ConfigError(f"KIT_SAVE_SECONDS must be a number of seconds from 0 (each step) on, got {text!r}.")
    return seconds


class SaveClock:
    """Tells when a state is due: at intervals, longer ones where it takes long to write a state."""

    def __init__(self) -> None:
        """Begin the first interval; see `save_interval`."""
        self._interval = save_interval()
        self._began = self._ended = time.monotonic()

    def is_due(self) -> bool:
        """Tell whether the interval since the last state is over."""
        return time.monotonic() - self._ended >= self._interval

    def begin(self) -> None:
        """Note that a state is being written."""
        self._began = time.monotonic()

    def end(self, *, saved: bool) -> None:
        """Begin the next interval, whether the state could be `saved` or not."""
        self._ended = time.monotonic()
        if saved and self._interval:  # 0 was asked for: each step, whatever it costs
            self._interval = max(self._interval, (self._ended - self._began) / COST_SHARE)


def write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `state` (tensors and plain values, nested) as the newest of `folder`; the newest until now is kept.

    Raises:
        StorageError: the disk is full or not ours; both older states are as they were.
    """
    make_folder(folder)
    newest, part = folder / NEWEST, folder / f"{NEWEST}.part"
    try:
        with explained(newest):
            with part.open("wb+") as file:
                file.write(MAGIC + bytes(DIGEST_BYTES))
                digest = hashlib.sha256()
                try:
                    torch.save(dict(state), _Digesting(file, digest.update))  # type: ignore[arg-type]
                except RuntimeError as error:  # torch hides the system's error behind one of its own
                    if isinstance(error.__context__, OSError):
                        raise error.__context__ from error
                    raise OSError(errno.ENOSPC, str(error)) from error
                file.seek(len(MAGIC))
                file.write(digest.digest())
                file.flush()
                os.fsync(file.fileno())
            if newest.exists():
                newest.replace(folder / BEFORE)
            part.replace(newest)
    finally:
        part.unlink(missing_ok=True)


class _Digesting:
    """A file that torch.save writes to, whose bytes are digested as they pass."""

    def __init__(self, file: BinaryIO, update: Callable[[bytes], None]) -> None:
        self._file, self._update = file, update

    def write(self, data: Any) -> int:
        self._update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def read_state(folder: Path, *, say: Say) -> dict[str, Any] | None:
    """Return the newest whole state in `folder`, on the CPU, or None where there is none.

    A damaged one is said, and the one before it is taken.
    """
    for name in (NEWEST, BEFORE):
        path = folder / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        head, payload = data[: len(MAGIC) + DIGEST_BYTES], memoryview(data)[len(MAGIC) + DIGEST_BYTES :]
        fault = "its checksum is another"
        if head == MAGIC + hashlib.sha256(payload).digest():
            try:
                state = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
            except Exception:  # a stranger's bytes may raise anything; no code of theirs has run
                state = None
            if isinstance(state, dict):
                return state
            fault = "it holds something else than a state of tensors and plain values"
        before = name == NEWEST and (folder / BEFORE).is_file()
        say(f"{path} is damaged ({fault}): {'the one before it is taken' if before else 'training begins anew'}")
    return None


def clear_states(folder: Path) -> None:
    """Remove the states of `folder`: its training is done."""
    for name in (NEWEST, BEFORE, f"{NEWEST}.part"):
        (folder / name).unlink(missing_ok=True)


def generators() -> dict[str, Any]:
    """Return the state of every random generator that a user's module might draw from: torch, NumPy, Python."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, list(internal), gauss],
    }


def set_generators(states: Mapping[str, Any]) -> None:
    """Put every generator where `generators` found it."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
