"""WAV: a file of samples, read in pieces, so that memory does not grow with its length.

Python's `wave` knows no floats, and scipy reads 24 bits only as a whole; here a piece of any kind is read where it
stands. The format is RIFF with the chunks `fmt ` and `data` (Microsoft and IBM, Multimedia Programming Interface and
Data Specifications 1.0, 1991; WAVEFORMATEXTENSIBLE: Microsoft, 2001).
"""

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from kit.errors import DataError
from kit.store.decode import printable
from kit.store.headers import described

MAX_CHUNKS = 1000
MAX_CHANNELS = 64
RATES = (100, 1_000_000)  # samples per second
LOUDEST_FLOAT = 100.0  # of full scale 1: more are integers that were stored as floats
PCM, FLOAT, EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
KINDS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}
TO_THE_END = 0xFFFFFFFF  # what programs write that do not know the length yet
_CONVERT = "Convert it to uncompressed PCM, e.g. with `ffmpeg -i IN -c:a pcm_s16le OUT.wav`."


@dataclass(frozen=True, kw_only=True)
class Wave:
    """An open WAV file: what its header says, and the way to its samples."""

    file: BinaryIO
    name: str  # stands in errors
    rate: int  # samples per second
    channels: int
    kind: int  # PCM or FLOAT
    bits: int  # of a sample of a channel
    begin: int  # byte of the first sample
    num_samples: int  # of each channel

    def read(self, first: int, last: int) -> NDArray[np.float64]:
        """Return samples `first` to `last` (excluded), the mean of all channels, float64, full scale 1.

        Raises:
            DataError: the file ends before, or a sample is no number.
        """
        width = self.channels * self.bits // 8
        self.file.seek(self.begin + first * width)
        data = self.file.read((last - first) * width)
        if len(data) < (last - first) * width:
            raise DataError(f"{self.name} became shorter while it was read. Render it again.")
        samples = _samples(data, self.kind, self.bits).reshape(-1, self.channels)
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(samples) <= LOUDEST_FLOAT).all(axis=1)
        if bad.any():
            at = int(bad.argmax())
            worst = samples[at][~(np.abs(samples[at]) <= LOUDEST_FLOAT)][0]
            raise DataError(bad_sample(float(worst), at=first + at, rate=self.rate, name=self.name))
        mean: NDArray[np.float64] = samples.mean(axis=1)
        return mean


def bad_sample(value: float, *, at: int, rate: int, name: str) -> str:
    """Return one paragraph on a sample that is no number, or far beyond full scale."""
    way_out = (
        "They look like whole numbers stored as floats: divide them by the largest one possible, e.g. 32768."
        if np.isfinite(value)
        else "Record or convert it again, or leave it out."
    )
    return (
        f"{name} has the sample {value:g} at {at / rate:.3f} s; samples lie between -1 and 1, and beyond "
        f"{LOUDEST_FLOAT:g} they are no sound. {way_out}"
    )


def _samples(data: bytes, kind: int, bits: int) -> NDArray[np.float64]:
    if kind == FLOAT:
        return np.frombuffer(data, dtype=f"<f{bits // 8}").astype(np.float64)
    if bits == 8:  # the only one without a sign
        return (np.frombuffer(data, dtype=np.uint8).astype(np.float64) - 128) / 128
    if bits == 24:
        padded = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        padded[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        return padded.view("<i4")[:, 0].astype(np.float64) / 2.0**31
    return np.frombuffer(data, dtype=f"<i{bits // 8}").astype(np.float64) / 2.0 ** (bits - 1)


def open_wav(path: Path, *, name: str) -> Wave:
    """Open a WAV file of 8, 16, 24 or 32 bits PCM or of 32 or 64 bits floats, and check its header.

    The caller closes `Wave.file`.

    Args:
        path: of the file.
        name: stands in errors.

    Raises:
        DataError: no file, no permission, empty, another format, compressed, truncated, no samples, or a header that
            contradicts itself.
    """
    try:
        # Not blocking, because a named pipe would wait for ever.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        file = os.fdopen(number, "rb")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise DataError(f"{printable(name)} cannot be opened: {reason}.") from error
    try:
        return _checked(file, printable(name))
    except BaseException:
        file.close()
        raise


def _checked(file: BinaryIO, name: str) -> Wave:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{name} is a device or a pipe, not a WAV file.")
    num_bytes = status.st_size
    head = file.read(1024)
    if not head:
        raise DataError(f"{name} is empty: it has 0 bytes.")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise DataError(f"{name} is not a WAV file: its {num_bytes:,} bytes are {described(head)}. {_CONVERT}")
    found = b""
    file.seek(12)
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            raise DataError(f"{name} has no {'samples' if found else 'format'}: the WAV file ends within its header.")
        kind, length = header[:4], int.from_bytes(header[4:], "little")
        if kind == b"data" and found:
            return _described_wave(file, name, found, length=length, num_bytes=num_bytes)
        here = file.tell()
        if kind == b"fmt ":
            found = file.read(min(length, 40))
        file.seek(min(here + length + length % 2, num_bytes))  # chunks begin at even bytes
    raise DataError(f"{name} has no samples in its first {MAX_CHUNKS} chunks: it is damaged. Convert it again.")


def _described_wave(file: BinaryIO, name: str, found: bytes, *, length: int, num_bytes: int) -> Wave:
    """Return what the chunk `fmt ` says, checked against the file; the file stands at its first sample."""
    if len(found) < 16:
        raise DataError(f"{name} is damaged: the description of its samples has {len(found)} bytes of 16.")
    kind, channels, rate, _, block, bits = struct.unpack("<HHIIHH", found[:16])
    if kind == EXTENSIBLE and len(found) >= 26:
        kind = int.from_bytes(found[24:26], "little")
    if (kind, bits) not in KINDS:
        raise DataError(
            f"{name} has samples of format {kind:#06x} with {bits} bits; read are PCM of 8, 16, 24 and 32 bits and "
            f"floats of 32 and 64. {_CONVERT}"
        )
    if not 1 <= channels <= MAX_CHANNELS or block != channels * bits // 8:
        raise DataError(
            f"{name} contradicts itself: {channels} channels of {bits} bits, in blocks of {block} bytes. It is "
            "damaged; record or convert it again."
        )
    if not RATES[0] <= rate <= RATES[1]:
        raise DataError(
            f"{name} says {rate:,} samples per second; expected {RATES[0]:,} to {RATES[1]:,}. Is its header damaged?"
        )
    begin = file.tell()
    there = num_bytes - begin
    if length == TO_THE_END:
        length = there - there % block
    if length > there or length % block:
        seconds = [number / block / rate for number in (there, length)]
        raise DataError(
            f"{name} is truncated: its header promises {length:,} bytes of samples ({seconds[1]:,.2f} s), and "
            f"{there:,} follow ({seconds[0]:,.2f} s). Copy or record it again."
        )
    if not length:
        raise DataError(f"{name} has no samples: it lasts 0 s. Leave it out, or record it again.")
    return Wave(
        file=file,
        name=name,
        rate=rate,
        channels=channels,
        kind=kind,
        bits=bits,
        begin=begin,
        num_samples=length // block,
    )
