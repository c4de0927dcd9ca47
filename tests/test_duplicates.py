"""Duplicates: copies are found however they were made, and pictures that are merely alike are left alone."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.quality import hashes as hashes_module
from kit.quality.duplicates import clusters_of, default_cap, find_duplicates, merge_groups
from kit.quality.hashes import PLAIN, difference_hash, hash_image, near_pairs


def scene(number: int, *, height: int = 120, width: int = 160) -> np.ndarray:
    """Return a picture of smooth noise at three scales, (H, W, 3) uint8: no two numbers are alike."""
    generator = np.random.default_rng(number)
    picture = np.full((height, width, 3), 128, dtype=np.float32)
    for cells, contrast in ((4, 45), (12, 25), (40, 12)):
        noise = generator.normal(0, contrast, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def save(path: Path, image: np.ndarray, *, quality: int = 95) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), image[..., ::-1], options)
    return path.name


def pairs_of(pairs: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(zip(pairs["a"], pairs["b"], pairs["kind"], strict=True))


def test_a_hash_has_a_bit_for_each_pair_of_neighbours_and_the_mirror_image_has_its_own():
    rising = np.tile(np.arange(0, 180, 20, dtype=np.uint8), (8, 1))  # 9 x 8: each one brighter than the one before
    assert difference_hash(rising) == 2**64 - 1
    assert hash_image(rising) == (2**64 - 1, 0)
    one = np.full((8, 9), 100, dtype=np.uint8)
    one[0, 1] = 200  # brighter than its left neighbour: bit 0 of row 0; mirrored: bit 6 of row 0
    assert hash_image(one) == (1 << 63, 1 << (63 - 6))
    assert hash_image(scene(1)[:, ::-1]) == hash_image(scene(1))[::-1]


def test_plain_images_and_those_with_a_little_noise_have_no_hash():
    plain = np.full((64, 64, 3), 90, dtype=np.uint8)
    noise = np.random.default_rng(1).integers(0, 3, plain.shape, dtype=np.uint8)
    assert hash_image(plain) == hash_image(plain + noise) == (PLAIN, PLAIN)


@pytest.mark.parametrize("number", range(8))
def test_resizing_encoding_and_brightening_change_at_most_six_bits(number):
    image = scene(number)
    for size in ((80, 60), (230, 170)):
        copy = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        copy = cv2.convertScaleAbs(copy, alpha=0.9, beta=15)
        copy = cv2.imdecode(cv2.imencode(".jpg", copy, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)
        assert np.bitwise_count(difference_hash(image) ^ difference_hash(copy)) <= 6


def by_brute_force(hashes: np.ndarray, distance: int) -> dict[tuple[int, int, bool], int]:
    found = {}
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            apart = int(np.bitwise_count(hashes[i, 0] ^ hashes[j, 0]))
            mirrored = min(int(np.bitwise_count(hashes[x, 1] ^ hashes[y, 0])) for x, y in ((i, j), (j, i)))
            found |= {(i, j, turned): bits for turned, bits in ((False, apart), (True, mirrored)) if bits <= distance}
    return found


def found_by(hashes: np.ndarray, distance: int) -> dict[tuple[int, int, bool], int]:
    pairs = near_pairs(hashes, distance=distance)
    columns = (pairs.first.tolist(), pairs.second.tolist(), pairs.mirrored.tolist(), pairs.distance.tolist())
    found = {(i, j, turned): bits for i, j, turned, bits in zip(*columns, strict=True)}
    assert len(found) == len(pairs)
    return found


def skewed_hashes(seed: int, number: int) -> np.ndarray:
    """Return hashes of which many are equal, mirror images or a few bits beside another one."""
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, (number, 2), dtype=np.uint64)
    for _ in range(number):
        source, target = generator.integers(0, number, 2)
        hashes[target] = hashes[source][:: generator.choice([1, -1])]
        for bit in generator.integers(0, 64, generator.integers(0, 12)):
            hashes[target, generator.integers(2)] ^= np.uint64(1 << int(bit))
    return hashes


@given(seed=st.integers(0, 2**31 - 1), number=st.integers(0, 40), distance=st.integers(0, 15))
def test_no_near_pair_is_lost_and_none_is_made_up(seed, number, distance):
    hashes = skewed_hashes(seed, number)
    assert found_by(hashes, distance) == by_brute_force(hashes, distance)


def test_a_crowd_is_a_star_that_is_reported_and_hides_no_other_pair(monkeypatch):
    monkeypatch.setattr(hashes_module, "_MOST_PARTNERS", 10)
    hashes = skewed_hashes(1, 60)
    equal = np.tile(np.array([[7, 99]], dtype=np.uint64), (50, 1))
    middle = np.array([0x0F1E2D3C4B5A6978], dtype=np.uint64)
    near = np.concatenate([middle, middle ^ (np.uint64(1) << np.arange(40, dtype=np.uint64))])
    around = np.stack([near, ~near], axis=1)
    whole = np.concatenate([hashes, equal, around])
    pairs = near_pairs(whole, distance=6)
    crowded = set(pairs.crowded.tolist())
    assert {*range(60, 110), *range(110, 151)} <= crowded
    alone = {pair: bits for pair, bits in by_brute_force(whole, 6).items() if not crowded.intersection(pair[:2])}
    found = {pair: bits for pair, bits in found_by(whole, 6).items() if not crowded.intersection(pair[:2])}
    assert found == alone and alone
    # Each row of a crowd is connected with the others.
    names = pair_table(*[(str(a), str(b), "near", 0.0) for a, b in zip(pairs.first, pairs.second, strict=True)])
    connected = [set(cluster.paths) for cluster in clusters_of(names, cap=1_000)]
    for rows in (range(60, 110), range(110, 151)):
        assert any({str(row) for row in rows} <= cluster for cluster in connected)


def test_a_hundred_thousand_blank_images_make_a_pair_each():
    hashes = np.zeros((100_000, 2), dtype=np.uint64)
    pairs = near_pairs(hashes)
    assert len(pairs) == 99_999 and len(pairs.crowded) == 100_000


def test_fifty_planted_copies_are_found_and_nothing_else(tmp_path):
    paths = [save(tmp_path / f"scene{k:03d}.jpg", scene(k)) for k in range(120)]
    planted = set()
    for k in range(50):
        copy = scene(k)
        kind = "near"
        if k % 3 == 1:
            copy, kind = copy[:, ::-1], "mirrored"
        if k % 3 != 2:
            copy = cv2.resize(copy, (96 + 3 * k, 72 + 2 * k), interpolation=cv2.INTER_AREA)
        copy = cv2.convertScaleAbs(copy, alpha=1.0, beta=k % 20)
        paths.append(save(tmp_path / f"copy{k:03d}.jpg", copy, quality=50 + k % 45))
        planted.add((f"copy{k:03d}.jpg", f"scene{k:03d}.jpg", kind))
    pairs = find_duplicates(tmp_path, paths)
    assert set(pairs_of(pairs)) == planted
    assert pairs["difference"].between(0, 0.08).all() and pairs["distance"].between(0, 6).all()


def texture(generator: np.random.Generator) -> np.ndarray:
    """Return a smooth texture, a gradient or a shape on a plain ground, (80, 96, 3) uint8."""
    kind = generator.integers(3)
    y, x = np.mgrid[0:80, 0:96].astype(np.float32)
    colour = generator.uniform(30, 220, (2, 3))
    if kind == 0:
        noise = generator.normal(0, 1, (int(generator.integers(3, 30)),) * 2).astype(np.float32)
        part = cv2.resize(noise, (96, 80), interpolation=cv2.INTER_CUBIC) * 0.3 + 0.5
    elif kind == 1:
        angle = generator.uniform(0, 2 * np.pi)
        part = 0.5 + (x / 96 - 0.5) * np.cos(angle) + (y / 80 - 0.5) * np.sin(angle)
    else:
        left, top, wide, high = generator.uniform((10, 10, 8, 8), (80, 70, 40, 40))
        inside = ((x - left) / wide) ** 2 + ((y - top) / high) ** 2 < 1
        part = inside if generator.random() < 0.5 else (abs(x - left) < wide / 2) & (abs(y - top) < high / 2)
    picture = colour[0] + (colour[1] - colour[0]) * np.asarray(part, dtype=np.float32)[..., None]
    return np.clip(picture + generator.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm_among_sixty_textures_gradients_and_shapes(seed, tmp_path):
    generator = np.random.default_rng(seed)
    paths = [save(tmp_path / f"{k:02d}.jpg", texture(generator), quality=90) for k in range(60)]
    assert pairs_of(find_duplicates(tmp_path, paths)) == []


def test_equal_files_and_equal_pixels_are_exact_however_small(tmp_path):
    tiny = scene(1, height=16, width=16)
    paths = [save(tmp_path / name, tiny) for name in ("a.png", "b.png", "c.bmp")]  # c: other bytes, equal pixels
    paths.append(save(tmp_path / "d.jpg", tiny, quality=90))  # a copy, but below 64 pixels all look alike
    assert pairs_of(find_duplicates(tmp_path, paths)) == [("a.png", "b.png", "exact"), ("a.png", "c.bmp", "exact")]


def test_what_is_known_of_the_files_is_not_read_again_and_the_order_of_paths_does_not_matter(tmp_path):
    names = [save(tmp_path / "b.jpg", scene(1)), save(tmp_path / "a.jpg", scene(1)[:, ::-1]), "", "gone.jpg"]
    hashes = np.array([[*hash_image(scene(1))], [*hash_image(scene(1)[:, ::-1])], [0, 0], [0, 0]], dtype=np.uint64)
    known = {
        "hashes": hashes,
        "shapes": np.array([[120, 160], [120, 160], [0, 0], [0, 0]]),
        "sha256": ["1", "2", "", ""],
    }
    pairs = find_duplicates(tmp_path, names, **known)
    assert pairs_of(pairs) == [("a.jpg", "b.jpg", "mirrored")]
    pd.testing.assert_frame_equal(find_duplicates(tmp_path, names[::-1]), pairs)


def test_plain_unreadable_and_missing_files_are_in_no_pair_but_equal_bytes_are(tmp_path):
    grey = np.full((80, 80, 3), 100, dtype=np.uint8)
    paths = [save(tmp_path / "plain1.png", grey), save(tmp_path / "plain2.png", grey + 1)]
    for name in ("broken1.jpg", "broken2.jpg"):
        (tmp_path / name).write_bytes(b"\xff\xd8 no picture")
    pairs = find_duplicates(tmp_path, [*paths, "broken1.jpg", "broken2.jpg", "missing.jpg"])
    assert pairs_of(pairs) == [("broken1.jpg", "broken2.jpg", "exact")]
    assert find_duplicates(tmp_path, []).empty


def test_look_alikes_are_told_about(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes_module, "_MOST_PARTNERS", 3)
    paths = [save(tmp_path / f"{k}.jpg", scene(1), quality=60 + 3 * k) for k in range(8)]
    lines: list[str] = []
    pairs = find_duplicates(tmp_path, paths, say=lines.append)
    assert "8 images look so much alike that not all their pairs were compared" in lines[0]
    assert [cluster.paths for cluster in clusters_of(pairs, cap=50)] == [tuple(paths)]


def pair_table(*rows: tuple[str, str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["a", "b", "kind", "difference"]).assign(distance=0)


def test_clusters_are_what_pairs_connect():
    pairs = pair_table(("a", "b", "exact", 0.0), ("b", "c", "near", 0.02), ("x", "y", "mirrored", 0.01))
    assert [(one.paths, one.look_alikes) for one in clusters_of(pairs, cap=10)] == [
        (("a", "b", "c"), False),
        (("x", "y"), False),
    ]
    assert clusters_of(pairs.iloc[:0], cap=10) == []


def test_a_chain_of_look_alikes_is_reported_and_only_what_stands_out_of_it_stays_together():
    chain = [(f"i{k:02d}", f"i{k + 1:02d}", "near", 0.03) for k in range(20)]
    copies = [("i03", "i04", "near", 0.001), ("i04", "i05", "near", 0.001), ("i10", "j", "exact", 0.0)]
    pairs = pair_table(*[row for row in chain if row[:2] not in {("i03", "i04"), ("i04", "i05")}], *copies)
    first, *others = clusters_of(pairs, cap=10)
    assert first.look_alikes and len(first.paths) == 22
    # i03-i05 is no pair, so complete linkage takes the first of the two equally close pairs.
    assert [(one.paths, one.look_alikes) for one in others] == [(("i03", "i04"), False), (("i10", "j"), False)]


def test_copies_of_one_file_are_one_picture_however_many():
    pairs = pair_table(*[("a", f"b{k:03d}", "exact", 0.0) for k in range(100)])
    (cluster,) = clusters_of(pairs, cap=10)
    assert len(cluster.paths) == 101 and not cluster.look_alikes
    assert (default_cap(100), default_cap(20_000)) == (50, 200)


def test_groups_that_a_pair_connects_become_one_with_the_first_name():
    table = pd.DataFrame({"path": ["a", "b", "c", "d", "e", ""], "group": ["zoe", "yan", "yan", "d", "e", ""]})
    pairs = pair_table(("a", "b", "near", 0.01), ("d", "gone", "near", 0.01))
    merged = merge_groups(table, pairs)
    assert merged["group"].tolist() == ["yan", "yan", "yan", "d", "e", ""]
    assert table["group"].tolist()[0] == "zoe"
    shuffled = merge_groups(table.iloc[::-1], pairs.iloc[::-1])
    assert shuffled.sort_index()["group"].tolist() == merged["group"].tolist()


def test_look_alikes_are_not_merged():
    chain = pair_table(*[(f"i{k}", f"i{k + 1}", "near", 0.03) for k in range(5)])
    table = pd.DataFrame({"path": [f"i{k}" for k in range(6)], "group": [f"i{k}" for k in range(6)]})
    assert merge_groups(table, chain, cap=5)["group"].nunique() == 6
    assert merge_groups(table, chain, cap=6)["group"].nunique() == 1


@pytest.mark.real
def test_the_ten_near_duplicates_among_the_pets_are_found_and_no_other(test_data, tmp_path):
    import tarfile

    for part in ("trainval", "test", "unlisted"):
        with tarfile.open(test_data / f"data/oxford-pets/pets-{part}.tar") as tar:
            tar.extractall(tmp_path, filter="data")
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    found = find_duplicates(tmp_path, paths)
    assert len(paths) == 2937 and set(found["kind"]) == {"near"}
    assert {frozenset((Path(a).stem, Path(b).stem)) for a, b in zip(found["a"], found["b"], strict=True)} == {
        frozenset((f"{breed}_{a}", f"{breed}_{b}"))
        for breed, a, b in (
            ("german_shorthaired", 150, 3),
            ("german_shorthaired", 179, 19),
            ("german_shorthaired", 180, 20),
            ("Abyssinian", 151, 99),
            ("Abyssinian", 5, 87),
            ("Abyssinian", 40, 63),
            ("Abyssinian", 24, 56),
            ("Abyssinian", 11, 177),
            ("Abyssinian", 122, 172),
            ("Bombay", 136, 150),
        )
    }
