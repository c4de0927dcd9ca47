"""Dealing: units (single images or whole groups) become folds of equal size and equal shares of each class.

Largest first, each unit goes to the fold that so far has least of what the unit brings; single images go last and fill
up what groups left uneven. Where groups are few, exchanges then improve the balance as long as they can. It is the
method of stratified group folds (scikit-learn's StratifiedGroupKFold) and, with several labels an image, of iterative
stratification, rarest label first (Sechidis, Tsoumakas, Vlahavas, ECML PKDD 2011). All ties are decided by a keyed
BLAKE2b hash of the unit's name: it is defined by RFC 7693, so no machine and no library version changes it.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_PIECE = 2**20  # names that are hashed at once
_FEW_UNITS = 400  # up to here, exchanges are tried: a step compares all pairs of units
_MOST_EXCHANGES = 2_000
_STARTS = 8  # orders that are tried where units are few
_UNEVEN = 0.25  # how far chance may change the order by size: another seed then gives other folds


@dataclass(frozen=True, kw_only=True)
class Units:
    """What is dealt: G units, in the order of their hash, and how many images of each of F features each has."""

    rank: NDArray[np.uint64]  # (G,) hash of the name, ascending
    sizes: Integers  # (G,) images
    unit: Integers  # (E,) ascending; entry e says that `unit[e]` has `count[e]` images of `feature[e]`
    feature: Integers  # (E,) ascending within a unit
    count: Integers  # (E,)
    num_features: int


def name_hashes(names: pd.Series, *, key: str, words: int = 1) -> NDArray[np.uint64]:
    """Return uint64 (N, words): a BLAKE2b hash of each name, other ones for another key. Two million names a second."""
    seeded = hashlib.blake2b(digest_size=8 * words, key=key.encode())

    def digest(name: str) -> bytes:
        own = seeded.copy()
        own.update(name.encode("utf-8", "surrogatepass"))
        return own.digest()

    # In pieces, because a Python string for each of ten million names would take a GiB.
    pieces = (names.iloc[at : at + _PIECE].tolist() for at in range(0, len(names), _PIECE))
    hashed = b"".join([b"".join(map(digest, piece)) for piece in pieces])
    return np.frombuffer(hashed, dtype="<u8").astype(np.uint64).reshape(-1, words)


def units_of(
    rank: NDArray[np.uint64], *, row_unit: Integers, row: Integers, feature: Integers, num_features: int
) -> Units:
    """Count the images of each unit.

    Args:
        rank: (G,) hash of each unit, ascending.
        row_unit: (N,) the unit of each image.
        row: (L,) an image ...
        feature: (L,) ... that has this class; one entry an image, or with several labels any number.
        num_features: F.
    """
    cells, count = np.unique(row_unit[row] * max(num_features, 1) + feature, return_counts=True)
    return Units(
        rank=rank,
        sizes=np.bincount(row_unit, minlength=len(rank)).astype(np.int64),
        unit=cells // max(num_features, 1),
        feature=cells % max(num_features, 1),
        count=count.astype(np.int64),
        num_features=num_features,
    )


def deal(units: Units, *, num_folds: int, held: "Held | None" = None) -> Integers:
    """Return int64 (G,): a fold for each unit, in [0, num_folds).

    Args:
        units: what is dealt.
        num_folds: K.
        held: what the folds hold already.
    """
    held = held or Held.empty(num_folds, units.num_features)
    total = held.features.sum(axis=0) + np.bincount(units.feature, units.count, minlength=units.num_features)
    few = len(units.sizes) <= _FEW_UNITS and int(units.sizes.max(initial=0)) > 1
    best, least = np.zeros(len(units.sizes), dtype=np.int64), np.inf
    for start in range(_STARTS if few else 1):
        dealer = _Dealer(units, total=np.maximum(total, 1), held=held, start=start)
        fold = dealer.deal()
        if few:
            fold, unevenness = dealer.exchanged(fold)
            if unevenness >= least:
                continue
            least = unevenness
        best = fold
    return best


@dataclass(frozen=True)
class Held:
    """What K folds hold."""

    sizes: Integers  # (K,)
    features: Integers  # (K, F)

    @classmethod
    def empty(cls, num_folds: int, num_features: int) -> "Held":
        """Return K folds without an image."""
        return cls(np.zeros(num_folds, np.int64), np.zeros((num_folds, num_features), np.int64))


class _Dealer:
    def __init__(self, units: Units, *, total: Integers, held: Held, start: int) -> None:
        self.units, self.total, self.start = units, total, start
        self.held = held
        self.sizes, self.features = held.sizes.copy(), held.features.copy()
        self.num_folds = len(held.sizes)
        self.num_images = int(held.sizes.sum() + units.sizes.sum())
        self.fold = np.full(len(units.sizes), -1, dtype=np.int64)
        self.bounds = np.searchsorted(units.unit, np.arange(len(units.sizes) + 1))

    def deal(self) -> Integers:
        units = self.units
        single = (units.sizes == 1) & (np.diff(self.bounds) == 1)
        several = np.flatnonzero(~single)
        for unit in self._in_order(self._dealt_evenly(several)):
            self._place(unit)
        self._fill_up(np.flatnonzero(single))
        return self.fold

    def _dealt_evenly(self, several: Integers) -> Integers:
        """Deal units that hold the same to all folds alike, and return those that are left over."""
        if len(several) < self.num_folds:
            return several
        units = self.units
        # Sums of mixed cells tell profiles apart; two that fell together would only be dealt a little less evenly.
        cells = _mixed(_mixed(units.feature.astype(np.uint64)) + units.count.astype(np.uint64))
        sums = np.append(np.uint64(0), np.cumsum(cells, dtype=np.uint64))
        profile = sums[self.bounds[1:]] - sums[self.bounds[:-1]] + _mixed(units.sizes.astype(np.uint64))
        order = several[np.argsort(profile[several], kind="stable")]
        same = profile[order]
        starts = np.flatnonzero(np.append(True, same[1:] != same[:-1]))
        sizes = np.diff(np.append(starts, len(order)))
        place = np.arange(len(order)) - np.repeat(starts, sizes)
        whole = place < np.repeat(sizes // self.num_folds * self.num_folds, sizes)
        self._put(order[whole], place[whole] % self.num_folds)
        return order[~whole]

    def _put(self, chosen: Integers, folds: Integers) -> None:
        units = self.units
        self.fold[chosen] = folds
        self.sizes += np.bincount(folds, units.sizes[chosen], minlength=self.num_folds).astype(np.int64)
        mine = self.fold[units.unit]
        is_chosen = np.zeros(len(units.sizes), dtype=bool)
        is_chosen[chosen] = True
        entry = is_chosen[units.unit]
        cells = mine[entry] * units.num_features + units.feature[entry]
        held = np.bincount(cells, units.count[entry], minlength=self.features.size)
        self.features += held.astype(np.int64).reshape(self.features.shape)

    def _in_order(self, left: Integers) -> list[int]:
        """Return units, first those that hold most of a feature or of all images; a hash breaks ties and stirs."""
        units = self.units
        share = units.sizes / max(self.num_images, 1)
        np.maximum.at(share, units.unit, units.count / self.total[units.feature])
        stir = _mixed(units.rank + np.uint64(self.start))  # other orders for other starts
        share = share * (1 + _UNEVEN * (stir / 2.0**64))
        order: list[int] = left[np.lexsort((units.rank[left], -np.round(share[left], 15)))].tolist()
        return order

    def _place(self, unit: int) -> None:
        units = self.units
        entries = slice(self.bounds[unit], self.bounds[unit + 1])
        features, count = units.feature[entries], units.count[entries]
        brings = count / self.total[features]
        # How full the folds are of what the unit brings, as a share of all there is. Rounded: equal ones must tie.
        fill = (self.features[:, features] * (brings / self.total[features])).sum(axis=1) / max(brings.sum(), 1e-300)
        score = np.round(fill + self.sizes / max(self.num_images, 1), 12)
        fold = int(np.lexsort((self.sizes, score))[0])
        self.fold[unit] = fold
        self.sizes[fold] += units.sizes[unit]
        self.features[fold, features] += count

    def _fill_up(self, singles: Integers) -> None:
        """Deal single images of one class each so that classes, then sizes, become as even as they can."""
        units = self.units
        feature = units.feature[self.bounds[singles]]
        order = np.argsort(feature, kind="stable")
        bounds = np.searchsorted(feature[order], np.arange(units.num_features + 1))
        for number in range(units.num_features):
            own = singles[order[bounds[number] : bounds[number + 1]]]
            if len(own):
                quota = _levelled(self.features[:, number], self.sizes, amount=len(own))
                self.fold[own] = np.repeat(np.arange(self.num_folds), quota)
                self.sizes += quota
                self.features[:, number] += quota

    def exchanged(self, fold: Integers) -> tuple[Integers, float]:
        """Move units, and exchange pairs of them, as long as that makes the folds more even; return also how uneven.

        Uneven is the sum of squared deviations, over folds, of each class's share of its images and, with the weight
        of all classes together, of the share of all images.
        """
        units, fold = self.units, fold.copy()
        weight = float(max(units.num_features, 1)) ** 0.5
        content = np.zeros((len(fold), units.num_features + 1))
        content[units.unit, units.feature] = units.count / self.total[units.feature]
        content[:, -1] = weight * units.sizes / max(self.num_images, 1)
        before = np.column_stack((self.held.features / self.total, weight * self.held.sizes / max(self.num_images, 1)))
        inner = content @ content.T  # (G, G)
        own = np.diag(inner)
        rows = np.arange(len(fold))
        for _ in range(_MOST_EXCHANGES):
            sums = before + np.stack([content[fold == k].sum(axis=0) for k in range(self.num_folds)])  # (K, F + 1)
            full = content @ sums.T  # (G, K)
            move = 2 * (full - full[rows, fold][:, None] + own[:, None])
            move[rows, fold] = 0
            move[np.bincount(fold, minlength=self.num_folds)[fold] == 1] = 0  # a fold must not become empty
            across = full[:, fold]  # (G, G): what unit i finds in the fold of unit j
            gain = across - full[rows, fold][:, None]
            swap = 2 * (gain + gain.T + own[:, None] + own[None] - 2 * inner)
            swap[fold[:, None] == fold[None]] = 0
            move, swap = np.round(move, 12), np.round(swap, 12)
            if min(move.min(), swap.min()) >= 0:
                break
            if move.min() <= swap.min():
                unit, target = np.unravel_index(int(move.argmin()), move.shape)
                fold[unit] = target
            else:
                i, j = np.unravel_index(int(swap.argmin()), swap.shape)
                fold[i], fold[j] = fold[j], fold[i]
        sums = before + np.stack([content[fold == k].sum(axis=0) for k in range(self.num_folds)])
        return fold, round(float(((sums - sums.mean(axis=0)) ** 2).sum()), 12)


def _levelled(heights: Integers, sizes: Integers, *, amount: int) -> Integers:
    """Return int64 (K,) with the sum `amount`: what fills the lowest heights to one level, the rest to small sizes."""
    order = np.lexsort((sizes, heights))
    stairs = heights[order]
    # What it takes to raise the m lowest to the height of the next one.
    needed = np.arange(1, len(stairs)) * stairs[1:] - np.cumsum(stairs[:-1])
    lowest = order[: 1 + int(np.searchsorted(needed, amount, side="left"))]
    level, rest = divmod(int(heights[lowest].sum()) + amount, len(lowest))
    quota = np.zeros(len(heights), dtype=np.int64)
    quota[lowest] = level - heights[lowest]
    quota[lowest[np.lexsort((lowest, (sizes + quota)[lowest]))[:rest]]] += 1
    return quota


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return splitmix64 of each value (Steele, Lea, Flood, OOPSLA 2014)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
