"""Sound: samples become a spectrogram, with time to the right, frequency upwards and loudness as colour.

Physics, and where it is from:

- frequency in Hz; rows are evenly spaced in mel, m = 2595 log10(1 + f / 700): O'Shaughnessy, Speech Communication:
  Human and Machine, 1987, p. 150. The lowest row is centred half a row above the lowest frequency, and so on.
- power of frames of about 46 ms under a Hann window, scaled so that its sum over frequencies is the mean square of the
  samples over that of a full-scale sine. A row gathers it with a triangle from the centre of the row below to that of
  the row above (Davis and Mermelstein, IEEE TASSP 28(4), 1980), at least as wide as the frame can tell apart.
- level in dB, 10 log10(power): a sine of amplitude 1 has 0 dB, spread over a row or two: its brightest one has between
  -0.4 and -3.7 dB. Half the amplitude is 6 dB less.
- a column is the mean power of frames spread evenly over its time, half a frame apart or less, so that every sample
  counts; the first and last lie wholly in the sound. In a picture of hours a column is minutes.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from kit.data.render.colours import coloured
from kit.data.render.strokes import Image, check_size, pair_of_numbers
from kit.data.render.wav import LOUDEST_FLOAT, RATES, bad_sample, open_wav
from kit.errors import ConfigError, DataError

RelativeTo: TypeAlias = Literal["full scale", "loudest"]
Reader: TypeAlias = Callable[[int, int], NDArray[np.float64]]  # first and last sample (excluded) -> samples

HZ = (20.0, 10_000.0)
LEVELS = (-80.0, 0.0)  # dB
FRAME_SECONDS = 0.046
MOST_SAMPLES = 1 << 17  # under windows at once: bounds memory, whatever the sound lasts


def spectrogram(
    path_or_samples: str | Path | NDArray[Any],
    *,
    size: int = 224,
    rate: int | None = None,
    hz: tuple[float, float] = HZ,
    levels: tuple[float, float] = LEVELS,
    relative_to: RelativeTo = "full scale",
    name: str | None = None,
) -> Image:
    """Draw the log-mel spectrogram of a sound; the module says what a row, a column and a colour are.

    Args:
        path_or_samples: a WAV file (8, 16, 24 or 32 bits PCM, 32 or 64 bits float, any rate, up to 64 channels), read
            in pieces; or samples (N,) or (N, channels), floats in [-1, 1] or signed integers. Channels are averaged.
        size: pixels a side; the whole sound is as wide as the picture, whatever it lasts.
        rate: samples per second, of an array only.
        hz: lowest and highest frequency of the picture. Above half of the rate there is nothing, which is dark.
        levels: dB that are drawn darkest and lightest.
        relative_to: what 0 dB is. "full scale": the loudest sine that the file can hold, so that loud and quiet sounds
            look loud and quiet; "loudest": the loudest spot of the picture, where recordings differ in level.
        name: stands in errors; default: the path.

    Returns:
        (size, size, 3) uint8 RGB; row 0 is the highest frequency.

    Raises:
        DataError: no WAV file, compressed, truncated, no samples, NaN or samples far beyond full scale.
        ConfigError: a size, a rate, frequencies or levels that cannot be.
    """
    check_sound_settings(size=size, hz=hz, levels=levels, relative_to=relative_to)
    if isinstance(path_or_samples, str | Path):
        shown = name or str(path_or_samples)
        if rate is not None:
            raise ConfigError(f"rate={rate}: {shown} says its own rate. Give `rate` with an array of samples only.")
        wave = open_wav(Path(path_or_samples), name=shown)
        with wave.file:
            power = _power(wave.read, wave.num_samples, wave.rate, size=size, hz=hz)
    else:
        samples, rate = _checked_samples(path_or_samples, rate, name=name or "the sound")
        power = _power(lambda first, last: samples[first:last], len(samples), rate, size=size, hz=hz)
    # 10^-30 is -300 dB: below the rounding of 64 bits, and above the logarithm's end.
    decibels = 10 * np.log10(np.maximum(power, 1e-30))
    if relative_to == "loudest":
        decibels -= decibels.max()
    return coloured((decibels - levels[0]) / (levels[1] - levels[0]))[::-1].copy()


def check_sound_settings(*, size: int, hz: tuple[float, float], levels: tuple[float, float], relative_to: str) -> None:
    """Refuse settings that nothing can be drawn with.

    Raises:
        ConfigError: see `spectrogram`.
    """
    check_size(size)
    what = f"the lowest and the highest frequency in Hz, such as {HZ}"
    low, high = pair_of_numbers(hz, "hz", expected=what)
    if not 0 <= low < high <= RATES[1] / 2:
        raise ConfigError(f"hz is {hz!r}: expected {what}.")
    what = f"what is darkest and what lightest in dB, such as {LEVELS}"
    darkest, lightest = pair_of_numbers(levels, "levels", expected=what)
    if not -300 <= darkest < lightest <= 100:
        raise ConfigError(f"levels is {levels!r}: expected {what}.")
    if relative_to not in ("full scale", "loudest"):
        raise ConfigError(f"relative_to is {relative_to!r}: expected 'full scale' or 'loudest'.")


def row_frequencies(*, size: int = 224, hz: tuple[float, float] = HZ) -> NDArray[np.float64]:
    """Return the frequency in Hz at the centre of each row of a spectrogram, (size,), from the top down."""
    low, high = _mel(np.array(hz, dtype=np.float64))
    return _hertz(low + (np.arange(size)[::-1] + 0.5) / size * (high - low))


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    mel: NDArray[np.float64] = 2595 * np.log10(1 + hertz / 700)
    return mel


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    hertz: NDArray[np.float64] = 700 * (10 ** (mel / 2595) - 1)
    return hertz


def _checked_samples(samples: NDArray[Any], rate: int | None, *, name: str) -> tuple[NDArray[np.float64], int]:
    """Return float64 (N,), full scale 1, and the rate."""
    is_number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if rate is None or not is_number or not RATES[0] <= rate <= RATES[1]:
        raise ConfigError(
            f"rate is {rate!r}: an array of samples needs its samples per second, {RATES[0]:,} to {RATES[1]:,}, e.g. "
            "`spectrogram(samples, rate=44100)`."
        )
    found = np.asarray(samples)
    if found.ndim not in (1, 2) or found.dtype.kind not in "fi" or (found.ndim == 2 and found.shape[1] > 64):
        raise DataError(
            f"{name} is an array {found.shape} of {found.dtype}: expected samples (N,) or (N, channels), floats in "
            "[-1, 1] or signed integers."
        )
    if not found.size:
        raise DataError(f"{name} has no samples: it lasts 0 s.")
    scale = 1.0 if found.dtype.kind == "f" else 2.0 ** (8 * found.dtype.itemsize - 1)
    values = found.reshape(len(found), -1).astype(np.float64) / scale
    if (bad := ~(np.abs(values) <= LOUDEST_FLOAT)).any():
        at = int(bad.any(axis=1).argmax())
        raise DataError(bad_sample(float(values[at][bad[at]][0]), at=at, rate=int(rate), name=name))
    mean: NDArray[np.float64] = values.mean(axis=1)
    return mean, int(rate)


def _power(read: Reader, num_samples: int, rate: int, *, size: int, hz: tuple[float, float]) -> NDArray[np.float64]:
    """Return (size, size): power relative to a full-scale sine, row 0 the lowest frequency."""
    length = frame_length(rate)
    window = np.hanning(length + 1)[:-1]  # periodic: shifted by halves it adds up to 1
    of_frequency = _frame_power(read, num_samples, size=size, window=window)  # (size, length / 2 + 1)
    # Two-sided power sums to mean(x^2) * sum(window^2) * length; a full-scale sine has mean(x^2) = 1/2.
    scaled = of_frequency * 4 / (length * (window**2).sum())
    scaled[:, 0] /= 2  # these two have no mirror image
    scaled[:, -1] /= 2
    power: NDArray[np.float64] = _triangles(length, rate, size=size, hz=hz) @ scaled.T
    return power


def frame_length(rate: int) -> int:
    """Return the samples of a frame: the power of two that is nearest to 46 ms, at least 64."""
    return max(64, 1 << max(0, round(math.log2(FRAME_SECONDS * rate))))


def _frame_power(read: Reader, num_samples: int, *, size: int, window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean squared magnitude of the frames of each column, (size, length / 2 + 1)."""
    length = len(window)
    column = num_samples / size  # samples, a fraction
    per_column = max(1, math.ceil(column / (length / 2)))
    found = np.zeros((size, length // 2 + 1))
    frames = np.arange(size * per_column)
    starts = np.floor((frames + 0.5) * (column / per_column)).astype(np.int64) - length // 2
    # Half in the silence outside, a frame would hear the cut as a click.
    spare = num_samples - length
    starts = starts.clip(0, spare) if spare >= 0 else np.full(len(starts), spare // 2)
    at_once = max(1, MOST_SAMPLES // length)
    for first in range(0, len(frames), at_once):
        part = starts[first : first + at_once]
        begin, end = int(part[0]), int(part[-1]) + length
        held = np.zeros(end - begin)  # a sound that is shorter than a frame has silence around it
        inside = slice(max(begin, 0), min(end, num_samples))
        held[inside.start - begin : inside.stop - begin] = read(inside.start, inside.stop)
        cut = held[(part - begin)[:, None] + np.arange(length)]  # (frames, length)
        power = np.abs(np.fft.rfft(cut * window, axis=1)) ** 2
        np.add.at(found, frames[first : first + at_once] // per_column, power)
    return found / per_column


def _triangles(length: int, rate: int, *, size: int, hz: tuple[float, float]) -> NDArray[np.float64]:
    """Return the weight of each frequency in each row, (size, length / 2 + 1), at most 1; row 0 is the lowest."""
    spacing = rate / length  # Hz that a frame tells apart
    low, high = _mel(np.array(hz, dtype=np.float64))
    centres = _hertz(low + (np.arange(-1, size + 1) + 0.5) / size * (high - low))[:, None]
    below = np.maximum(centres[1:-1] - centres[:-2], spacing)
    above = np.maximum(centres[2:] - centres[1:-1], spacing)
    away = np.arange(length // 2 + 1) * spacing - centres[1:-1]
    weights: NDArray[np.float64] = np.clip(1 - np.where(away < 0, -away / below, away / above), 0, None)
    return weights
