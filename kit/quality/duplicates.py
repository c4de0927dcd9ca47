"""Duplicates: pairs of files that show the same picture, exactly, nearly or mirrored, and what they connect.

Equal files are found by checksum; for the others a hash proposes (`kit.quality.hashes`) and the pixels decide
(`kit.quality.resemblance`). Of the 2,937 Oxford-IIIT pets that finds ten pairs, all true by eye. It is not meant
to find a photograph that was cut otherwise, or two pictures of one scene. Of images below MIN_SIDE even different ones
look alike: there only equal pixels count. Plain images have nothing to compare.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kit.errors import DataError
from kit.home import sha256_of_file
from kit.progress import Say, counted, silent
from kit.quality.hashes import PLAIN, Hashes, hash_image, near_pairs
from kit.quality.resemblance import compare_pairs, pixel_digest
from kit.store.decode import read_image

MIN_SIDE = 64  # pixels of the shorter side
MAX_DISTANCE = 6  # bits of 64: 99 % of copies that were resized, encoded again and brightened; unrelated: 25 to 39
MAX_DIFFERENCE = 0.08  # 1 - correlation; see kit.quality.resemblance
PAIR_COLUMNS = {"a": "str", "b": "str", "kind": "str", "distance": "int64", "difference": "float64"}
_STANDS_OUT = 0.1  # of the usual difference among look-alikes


def find_duplicates(
    folder: Path,
    paths: Sequence[str],
    *,
    hashes: Hashes | None = None,
    shapes: NDArray[np.int64] | None = None,
    sha256: Sequence[str] | None = None,
    say: Say | None = None,
) -> pd.DataFrame:
    """Return the pairs of files that show the same picture.

    Args:
        folder: the data folder.
        paths: (N,) below it; an empty one stands for no image, a repeated one is one image.
        hashes: (N, 2) uint64, as `hash_image` gives them, 0 where a file could not be read; default: read the files.
        shapes: (N, 2) height and width; default: read the files.
        sha256: (N,) checksums of the files, empty where there is none; default: read the files.
        say: takes a warning about look-alikes of which not all pairs were compared.

    Returns:
        A row per pair, sorted by `a`, `b`: the paths; `kind`, one of exact (equal files or equal pixels), near and
        mirrored; `distance`, bits of 64 that differ; `difference`, 1 - correlation of the pixels, 0 for exact pairs.
        Of k equal files the first makes a pair with each other one: k - 1 pairs. An unreadable file is in no pair
        unless its bytes are equal to another's.
    """
    files = pd.DataFrame({"path": list(paths)}, dtype="str")
    if sha256 is not None:
        files["sha256"] = list(sha256)
    if hashes is not None:
        files["hash"], files["mirror_hash"] = hashes[:, 0], hashes[:, 1]
    if shapes is not None:
        files["side"] = np.min(shapes, axis=1)
    files = files[files["path"] != ""].drop_duplicates("path").sort_values("path", ignore_index=True)
    if sha256 is None:
        files["sha256"] = [_checksum(folder / path) for path in files["path"]]
    if hashes is None or shapes is None:
        with ThreadPoolExecutor() as pool:
            looked_at = pool.map(_hashes_and_side, [folder / path for path in files["path"]])
            read = list(counted(looked_at, "looking for duplicates", total=len(files), unit="files", say=say or silent))
        files["hash"] = np.array([own for own, _, _ in read], dtype=np.uint64)
        files["mirror_hash"] = np.array([mirror for _, mirror, _ in read], dtype=np.uint64)
        files["side"] = np.array([side for _, _, side in read], dtype=np.int64)

    known = files[files["sha256"] != ""]
    first = known.groupby("sha256")["path"].transform("first")
    again = known["path"] != first
    equal = pd.DataFrame({"a": first[again], "b": known.loc[again, "path"], "kind": "exact"})
    others = files.drop(known.index[again])
    structured = others[(others["hash"] != PLAIN) | (others["mirror_hash"] != PLAIN)]
    near = pd.concat(
        [
            _verified(folder, structured[structured["side"] >= MIN_SIDE].reset_index(drop=True), say=say),
            _of_equal_pixels(folder, structured[structured["side"] < MIN_SIDE]),
        ],
        ignore_index=True,
    )
    pairs = pd.concat([equal.assign(distance=0, difference=0.0), near], ignore_index=True).astype(PAIR_COLUMNS)
    # A picture that is nearly symmetrical is both near and mirrored: the closer one is told.
    pairs = pairs.sort_values(["a", "b", "difference", "kind"]).drop_duplicates(["a", "b"])
    return pairs.reset_index(drop=True)


def _checksum(path: Path) -> str:
    try:
        return sha256_of_file(path)
    except OSError:
        return ""


def _hashes_and_side(path: Path) -> tuple[np.uint64, np.uint64, int]:
    try:
        image = read_image(path)
    except DataError:
        return np.uint64(PLAIN), np.uint64(PLAIN), 0
    return *hash_image(image), min(image.shape[:2])


def _verified(folder: Path, files: pd.DataFrame, *, say: Say | None) -> pd.DataFrame:
    """Return the pairs of `files`, close by hash, whose pixels say the same."""
    close = near_pairs(files[["hash", "mirror_hash"]].to_numpy(dtype=np.uint64), distance=MAX_DISTANCE)
    if len(close.crowded) and say is not None:
        say(
            f"{len(close.crowded)} images look so much alike that not all their pairs were compared, "
            f"e.g. {files['path'].iloc[close.crowded[:3]].tolist()}"
        )
    names = files["path"].to_numpy()
    equal, difference = compare_pairs(folder, names, close)
    keep = equal | (difference <= MAX_DIFFERENCE)
    kind = np.where(equal, "exact", np.where(close.mirrored, "mirrored", "near"))
    return pd.DataFrame(
        {
            "a": names[close.first[keep]],
            "b": names[close.second[keep]],
            "kind": kind[keep],
            "distance": close.distance[keep],
            "difference": np.where(equal, 0.0, difference)[keep],
        }
    )


def _of_equal_pixels(folder: Path, files: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs of `files` that were encoded otherwise but decode to the same: the first with each other one."""
    alike = files[files.duplicated(["hash", "mirror_hash"], keep=False)]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(pixel_digest, [folder / path for path in alike["path"]]))
    alike = alike.assign(digest=digests)
    alike = alike[alike["digest"] != ""]
    first = alike.groupby("digest")["path"].transform("first")
    again = alike["path"] != first
    return pd.DataFrame(
        {"a": first[again], "b": alike.loc[again, "path"], "kind": "exact", "distance": 0, "difference": 0.0}
    )


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Images that are connected by pairs."""

    paths: tuple[str, ...]  # sorted
    look_alikes: bool  # too many different ones to be copies of one picture: reported, not grouped


def default_cap(num_images: int) -> int:
    """Return how many different images one cluster may have: 50, or 1 % of all."""
    return max(50, num_images // 100)


def clusters_of(pairs: pd.DataFrame, *, cap: int) -> list[Cluster]:
    """Return the connected components of `pairs`, sorted by their first path; too large ones are looked at again.

    A component of more than `cap` different images (equal files count once) is a chain of look-alikes: cells of one
    kind, frames of a fixed camera. It is given once as `look_alikes`, and of its pairs only these make clusters: the
    exact ones, and those whose difference stands out, at most a tenth of the component's median, joined by complete
    linkage: an image joins a cluster only if it makes such a pair with each image of it.
    """
    clusters = []
    for paths, own in _components(pairs):
        exact = own["kind"] == "exact"
        copies = sum(len(equal) - 1 for equal, _ in _components(own[exact]))
        if len(paths) - copies <= cap:
            clusters.append(Cluster(paths=paths, look_alikes=False))
            continue
        clusters.append(Cluster(paths=paths, look_alikes=True))
        usual = float(own.loc[~exact, "difference"].median())
        outstanding = own[~exact & (own["difference"] <= _STANDS_OUT * usual)]
        kept = pd.concat([own[exact], _complete_linkage(own[exact], outstanding)])
        clusters += [Cluster(paths=paths, look_alikes=False) for paths, _ in _components(kept)]
    return sorted(clusters, key=lambda cluster: (cluster.paths, not cluster.look_alikes))


def _components(pairs: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return (sorted paths, pairs) of each connected component."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if pairs.empty:
        return []
    codes, names = pd.factorize(pd.concat([pairs["a"], pairs["b"]]), sort=True)
    a, b = codes.reshape(2, -1)
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    members = pd.Series(np.asarray(names)).groupby(component).agg(tuple)
    return [(members[number], own) for number, own in pairs.groupby(component[a])]


def _complete_linkage(exact: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return those of `pairs`, closest first, that join clusters whose images all make pairs with each other."""
    same = {path: paths[0] for paths, _ in _components(exact) for path in paths}
    ends = [tuple(sorted(same.get(path, path) for path in pair)) for pair in zip(pairs["a"], pairs["b"], strict=True)]
    linked = set(ends)
    cluster_of = {path: [path] for pair in ends for path in pair}
    joins = np.zeros(len(pairs), dtype=bool)
    for k in np.lexsort((pairs["b"], pairs["a"], pairs["difference"])):
        left, right = (cluster_of[path] for path in ends[k])
        if left is right:
            joins[k] = True
        elif all(tuple(sorted((x, y))) in linked for x in left for y in right):
            joins[k] = True
            left += right
            for path in right:
                cluster_of[path] = left
    return pairs[joins]


def merge_groups(table: pd.DataFrame, pairs: pd.DataFrame, *, cap: int | None = None) -> pd.DataFrame:
    """Return `table` with one `group` for all rows that verified pairs connect: their groups become one.

    The common group has the name of the first of them in alphabetical order. Look-alikes (see `clusters_of`) are not
    connected.

    Args:
        table: with `path` and `group`.
        pairs: as `find_duplicates` gives them; paths that the table lacks are left out.
        cap: see `clusters_of`; default: `default_cap` of the table.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clusters = clusters_of(pairs, cap=default_cap(len(table)) if cap is None else cap)
    cluster_of = {path: k for k, one in enumerate(clusters) if not one.look_alikes for path in one.paths}
    number = table["path"].map(cluster_of)
    inside = number.notna()
    if not inside.any():
        return table.copy()
    codes, names = pd.factorize(table["group"], sort=True)
    rows, columns = codes[inside], number[inside].to_numpy(dtype=np.int64) + len(names)
    size = len(names) + len(clusters)
    _, component = connected_components(
        coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size)), directed=False
    )
    # Names are sorted, so the first of a component is its smallest.
    found, first = np.unique(component[: len(names)], return_index=True)
    of_group = np.asarray(names)[first[np.searchsorted(found, component[: len(names)])]]
    return table.assign(group=pd.Series(of_group[codes], index=table.index, dtype=table["group"].dtype))
