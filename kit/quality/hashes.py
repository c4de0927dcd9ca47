"""Hashes: 64 bits that tell how an image looks, and all pairs of images whose bits are nearly equal.

A difference hash keeps, of 9 x 8 grey means, where the right one of two neighbours is brighter: it survives resizing,
encoding again and a change of brightness (N. Krawetz, "Kind of like that", hackerfactor.com, 2013). Pairs are found by
multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): two hashes within d bits agree within d // 4 bits in
one of four bands of 16, so that only equal or neighbouring keys of a band need to be compared.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]

PLAIN = 0  # the hash of an image without structure from left to right: it says nothing
PLAIN_LEVELS = 3.0  # grey levels between the darkest and brightest of the 9 x 8 means; less is noise of the encoding
_BANDS, _BAND_BITS = 4, 16
_MOST_PARTNERS = 200  # of one hash; with more, it is the middle of a crowd
_SLICE = 2_048  # hashes that are asked about at once
_PIECE = 2**21  # candidates that are compared at once: some 50 MiB


def difference_hash(image: NDArray[np.uint8]) -> np.uint64:
    """Return the difference hash of an image, (H, W) grey or (H, W, 3) RGB uint8; PLAIN where it has no structure."""
    return hash_image(image)[0]


def hash_image(image: NDArray[np.uint8]) -> tuple[np.uint64, np.uint64]:
    """Return the difference hashes of an image, (H, W) or (H, W, 3) uint8, and of its mirror image."""
    import cv2

    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    means = cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)  # (8, 9)
    if np.ptp(means) < PLAIN_LEVELS:
        return np.uint64(PLAIN), np.uint64(PLAIN)
    return _bits(means), _bits(means[:, ::-1])


def _bits(means: NDArray[np.int16]) -> np.uint64:
    packed = np.packbits((means[:, 1:] > means[:, :-1]).ravel())
    return np.uint64(int.from_bytes(packed.tobytes(), "big"))


@dataclass(frozen=True, kw_only=True)
class NearPairs:
    """Pairs of hashes within a distance, sorted; each (first, second, mirrored) once."""

    first: Indices  # (P,) row numbers, each below its `second`
    second: Indices  # (P,)
    distance: NDArray[np.uint8]  # (P,) bits that differ
    mirrored: NDArray[np.bool_]  # (P,) one image is like the mirror image of the other
    crowded: Indices  # rows with so many partners that not all are listed, but one that is listed is their middle

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(hashes: Hashes, *, distance: int = 6) -> NearPairs:
    """Return all pairs of rows whose hashes, or one's hash and the other's mirror hash, differ in few bits.

    No pair is lost, but where more than 200 rows are that close to one: such a crowd (blank images, a fixed camera)
    is given as a star around one of them, and its rows are named in `crowded`. A million hashes take 1 GiB at most.

    Args:
        hashes: (N, 2) uint64, as `hash_image` gives them.
        distance: 0 to 15 bits.
    """
    assert hashes.ndim == 2 and hashes.shape[1] == 2 and 0 <= distance < 4 * _BANDS
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[order]
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(is_new)
    sizes = np.diff(np.append(starts, len(order)))
    unique = ordered[starts]  # (U, 2)
    # Of equal rows beyond the limit only the first one meets others.
    shown = np.where(sizes > _MOST_PARTNERS, 1, sizes)

    alone = np.arange(len(unique))
    symmetric = np.flatnonzero(np.bitwise_count(unique[:, 0] ^ unique[:, 1]) <= distance)
    found = [_Found.of_equals(alone[shown > 1]), _Found.of_equals(symmetric[shown[symmetric] > 1], mirrored=True)]
    found[1].distance[:] = np.bitwise_count(unique[found[1].first, 0] ^ unique[found[1].first, 1])
    crowded = [order[np.repeat(sizes > _MOST_PARTNERS, sizes)]]
    for mirrored in (False, True):
        pairs, in_crowd = _Search(unique, distance=distance, mirrored=mirrored).run()
        found.append(pairs)
        crowded.append(order[_ragged(starts[in_crowd], sizes[in_crowd])[1]])
    pairs = _Found.joined(found).expanded(starts, shown)
    stars = _Found.star(starts[sizes > _MOST_PARTNERS], sizes[sizes > _MOST_PARTNERS])
    first, second = order[np.append(pairs.first, stars.first)], order[np.append(pairs.second, stars.second)]
    whole = _Found(
        np.minimum(first, second),
        np.maximum(first, second),
        np.append(pairs.distance, stars.distance),
        np.append(pairs.mirrored, stars.mirrored),
    ).once()
    return NearPairs(
        first=whole.first,
        second=whole.second,
        distance=whole.distance,
        mirrored=whole.mirrored,
        crowded=np.unique(np.concatenate(crowded)),
    )


def _ragged(starts: Indices, sizes: Indices) -> tuple[Indices, Indices]:
    """Return (which, position): for each k in turn, k and starts[k], starts[k] + 1, ... `sizes[k]` times."""
    which = np.repeat(np.arange(len(sizes)), sizes)
    ends = np.cumsum(sizes)
    return which, np.arange(len(which)) + np.repeat(starts - ends + sizes, sizes)


@dataclass(frozen=True)
class _Found:
    """Columns of pairs while they are collected."""

    first: Indices
    second: Indices
    distance: NDArray[np.uint8]
    mirrored: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: "list[_Found]") -> "_Found":
        return cls(
            np.concatenate([part.first for part in parts]),
            np.concatenate([part.second for part in parts]),
            np.concatenate([part.distance for part in parts]),
            np.concatenate([part.mirrored for part in parts]),
        )

    @classmethod
    def of_equals(cls, rows: Indices, *, mirrored: bool = False) -> "_Found":
        return cls(rows, rows, np.zeros(len(rows), np.uint8), np.full(len(rows), mirrored))

    @classmethod
    def star(cls, starts: Indices, sizes: Indices) -> "_Found":
        which, others = _ragged(starts + 1, sizes - 1)
        return cls(starts[which], others, np.zeros(len(which), np.uint8), np.zeros(len(which), bool))

    def expanded(self, starts: Indices, sizes: Indices) -> "_Found":
        """Return the pairs of members of the pairs of groups; within a group, each pair of members once."""
        left, right = sizes[self.first], sizes[self.second]
        which, cell = _ragged(np.zeros(len(left), np.int64), left * right)
        a = starts[self.first][which] + cell // right[which]
        b = starts[self.second][which] + cell % right[which]
        keep = (a < b) | (self.first != self.second)[which]
        return _Found(a[keep], b[keep], self.distance[which][keep], self.mirrored[which][keep])

    def once(self) -> "_Found":
        """Return each (first, second, mirrored) once, at its least distance, sorted."""
        order = np.lexsort((self.distance, self.mirrored, self.second, self.first))
        columns = [column[order] for column in (self.first, self.second, self.mirrored)]
        new = np.ones(len(order), dtype=bool)
        new[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        kept = order[new]
        return _Found(self.first[kept], self.second[kept], self.distance[kept], self.mirrored[kept])


class _Search:
    """One pass over all hashes, in waves of slices; what is found does not depend on the number of threads."""

    def __init__(self, unique: Hashes, *, distance: int, mirrored: bool) -> None:
        self.distance, self.mirrored = distance, mirrored
        self.targets = _spread(unique[:, 0])
        self.queries = _spread(unique[:, 1]) if mirrored else self.targets
        self.masks = _masks(distance // _BANDS)  # (M,) uint64
        self.alive = np.ones(len(unique), dtype=bool)
        self._build()

    def _build(self) -> None:
        rows = np.flatnonzero(self.alive)
        self.num_indexed = len(rows)
        self.rows, self.starts = [], []
        for band in range(_BANDS):
            keys = _keys(self.targets[rows], band)
            self.rows.append(rows[np.argsort(keys, kind="stable")])
            self.starts.append(np.append(0, np.cumsum(np.bincount(keys, minlength=2**_BAND_BITS))))

    def run(self) -> tuple[_Found, NDArray[np.bool_]]:
        """Return the pairs, and which rows stand in a crowd."""
        # The hashes with most neighbours come first, a few at a time: the middle of a crowd then takes the crowd away
        # before each of its rows has been compared with all others.
        sizes = self._buckets(self.queries, self.masks[:1])[1].sum(axis=1)
        order = np.argsort(-sizes, kind="stable")
        workers = min(8, os.cpu_count() or 1)
        found = [_Found.of_equals(np.zeros(0, np.int64))]
        at, step = 0, 8
        with ThreadPoolExecutor(workers) as pool:
            while at < len(order):
                wave = order[at : at + 8 * step]
                at += len(wave)
                for pairs, absorbed in pool.map(self._slice, np.array_split(wave, 8)):
                    found.append(pairs)
                    self.alive[absorbed] = False
                if np.count_nonzero(self.alive) < 0.9 * self.num_indexed:
                    self._build()
                step = min(2 * step, _SLICE)
        return _Found.joined(found).once(), ~self.alive

    def _slice(self, asked: Indices) -> tuple[_Found, Indices]:
        alive = self.alive.copy()
        numbers = np.sort(asked[alive[asked]])
        lows, sizes = self._buckets(self.queries[numbers], self.masks)  # (n, bands * M) each
        totals = sizes.sum(axis=1)
        found = [_Found.of_equals(np.zeros(0, np.int64))]
        at = 0
        while at < len(numbers):
            upto = max(at + 1, at + int(np.searchsorted(np.cumsum(totals[at:]), _PIECE, side="right")))
            piece = np.arange(at, upto)[alive[numbers[at:upto]]]
            at = upto
            if len(piece):
                found.append(self._piece(numbers[piece], lows[piece], sizes[piece], alive))
        return _Found.joined(found), np.flatnonzero(self.alive & ~alive)

    def _buckets(self, queries: Hashes, masks: Indices) -> tuple[Indices, Indices]:
        lows, sizes = [], []
        for band, starts in enumerate(self.starts):
            keys = _keys(queries, band)[:, None] ^ masks[None]
            lows.append(starts[keys])
            sizes.append(starts[keys + 1] - lows[-1])
        return np.concatenate(lows, axis=1), np.concatenate(sizes, axis=1)

    def _piece(self, numbers: Indices, lows: Indices, sizes: Indices, alive: NDArray[np.bool_]) -> _Found:
        """Compare some hashes with all in their buckets; a crowd's rows are struck out of `alive`."""
        asked, targets = [], []
        for band in range(_BANDS):
            columns = slice(band * len(self.masks), (band + 1) * len(self.masks))
            which, position = _ragged(lows[:, columns].ravel(), sizes[:, columns].ravel())
            target = self.rows[band][position]
            query = numbers[which // len(self.masks)]
            near = np.bitwise_count(self.queries[query] ^ self.targets[target]) <= self.distance
            near &= query != target
            asked.append(query[near])
            targets.append(target[near])
        # A pair that is near in several bands is found as often.
        keys = np.unique(np.concatenate(asked) * len(self.targets) + np.concatenate(targets))
        query, target = keys // len(self.targets), keys % len(self.targets)
        keep = alive[target]
        query, target = query[keep], target[keep]
        apart = np.bitwise_count(self.queries[query] ^ self.targets[target])
        partners = np.bincount(np.searchsorted(numbers, query), minlength=len(numbers))
        keep = np.ones(len(query), dtype=bool)
        for middle in numbers[partners > _MOST_PARTNERS]:
            own = query == middle
            if alive[middle]:
                # Whatever is within half the distance of one hash is within the distance of each other.
                crowd = own & (apart <= self.distance // 2)
                keep[own & ~crowd] = _first_of(apart[own & ~crowd], _MOST_PARTNERS)
                alive[target[crowd]] = False
                alive[middle] = False
            else:
                keep[own] = _first_of(apart[own], _MOST_PARTNERS)
        query, target, apart = query[keep], target[keep], apart[keep]
        return _Found(
            np.minimum(query, target), np.maximum(query, target), apart, np.full(len(query), self.mirrored)
        ).once()


def _first_of(values: NDArray[np.uint8], count: int) -> NDArray[np.bool_]:
    """Return a mask of the `count` least values."""
    mask = np.zeros(len(values), dtype=bool)
    mask[np.argsort(values, kind="stable")[:count]] = True
    return mask


def _keys(hashes: Hashes, band: int) -> Indices:
    shifted = hashes >> np.uint64(_BAND_BITS * band)
    return (shifted & np.uint64(2**_BAND_BITS - 1)).astype(np.int64)


def _masks(radius: int) -> Indices:
    """Return the bit patterns of a band with at most `radius` bits set."""
    return np.array(
        [sum(1 << bit for bit in bits) for few in range(radius + 1) for bits in combinations(range(_BAND_BITS), few)]
    )


def _spread(hashes: Hashes) -> Hashes:
    """Return the hashes with bits moved so that a band has some of all rows and columns: neighbours are alike."""
    moved = np.zeros_like(hashes)
    used: list[int] = [0] * _BANDS
    for bit in range(64):
        band = (bit // 8 + bit) % _BANDS
        place = np.uint64(band * _BAND_BITS + used[band])
        used[band] += 1
        moved |= ((hashes >> np.uint64(bit)) & np.uint64(1)) << place
    return moved
