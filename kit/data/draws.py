"""Random numbers that depend on (seed, epoch, image id) alone: whoever asks, when, and in what company.

Each image of an epoch has a SplitMix64 stream of its own (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014), which starts at a hash of the three. Number k of a stream is a function of k, so that the
numbers of many images are a few operations on whole arrays.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

STEP = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio, made odd


def keys_of(image_ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return (N,) 64-bit hashes of ids, the same in every process; Python salts its own `hash`."""
    joined = b"".join(blake2b(one.encode("utf-8", "surrogateescape"), digest_size=8).digest() for one in image_ids)
    return np.frombuffer(joined, dtype="<u8").astype(np.uint64)


def uniforms(keys: NDArray[np.uint64], *, seed: int, epoch: int, num: int) -> NDArray[np.float64]:
    """Return (N, num) independent numbers, uniform in [0, 1).

    Args:
        keys: (N,) of the images, from `keys_of`.
        seed: at least 0.
        epoch: at least 0.
        num: numbers per image; the first k are the same whatever `num` is.
    """
    run = _mixed(_mixed(np.array([seed], dtype=np.uint64) + STEP) + np.uint64(epoch))
    starts = _mixed(keys ^ run)  # (N,)
    words = _mixed(starts[:, None] + STEP * np.arange(1, num + 1, dtype=np.uint64))  # (N, num)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53  # as many bits as a float64 has


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's bijective mixture of each word."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
