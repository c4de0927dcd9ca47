"""Quality: planted faults are all found, clean data raises no alarm, and the gate lets nobody through unawares."""

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from textures import encoded, table_of, texture, write_textures

from kit.data.folds import assign_folds
from kit.errors import DataError
from kit.quality.duplicates import PAIR_COLUMNS, find_duplicates
from kit.quality.findings import Finding, gate, proposed_fixes, summary
from kit.quality.fixes import Fix, Fixes
from kit.quality.inspect import inspect_files
from kit.quality.quality import check_quality

CLASSES = ("cat", "dog")
NO_PAIRS = pd.DataFrame(columns=list(PAIR_COLUMNS))


def check(folder: Path, table: pd.DataFrame, **options: object) -> dict[str, Finding]:
    """Inspect, look for copies, deal two folds unless others are given, and return the findings by kind."""
    facts = inspect_files(folder, table["path"].tolist(), say=lambda line: None)
    if "pairs" not in options:
        hashes = facts[["hash", "mirror_hash"]].to_numpy(dtype=np.uint64)
        options["pairs"] = find_duplicates(folder, table["path"].tolist(), hashes=hashes)
    if "folds" not in options:
        options["folds"] = assign_folds(table[table["split"] == "train"], num_folds=2, seed=1)
    usual = {"split_is_official": True, "classes": CLASSES}
    found = check_quality(table, facts, options.pop("pairs"), **{**usual, **options})  # type: ignore[arg-type]
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


def labels_for(paths: list[str], *, seed: int = 0) -> list[str]:
    return np.random.default_rng(seed).choice(CLASSES, len(paths)).tolist()


def small_set(folder: Path, *, num_images: int = 12, **options: object) -> pd.DataFrame:
    paths = sorted(write_textures(folder, num_images=num_images, seed=7, suffix=".png"))
    return table_of(paths, [CLASSES[k % 2] for k in range(num_images)], **options)  # type: ignore[arg-type]


def pairs_of(*pairs: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame([(*pair, 0, 0.0) for pair in pairs], columns=list(PAIR_COLUMNS))


@pytest.mark.parametrize("seed", range(20))
def test_clean_sets_raise_no_alarm(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    suffix = ".jpg" if seed % 2 else ".png"
    paths = write_textures(tmp_path, num_images=40 + 2 * seed, seed=seed, suffix=suffix, quality=60 + seed)
    splits = rng.choice(["train", "test"], len(paths), p=[0.7, 0.3]).tolist()
    table = table_of(paths, rng.choice(CLASSES, len(paths)).tolist(), splits=splits)
    found = check(tmp_path, table, split_is_official=seed % 3 == 0)
    assert [finding.message for finding in found.values() if finding.severity != "note"] == []


def test_fifty_planted_copies_are_found_in_folds_and_across_the_split(tmp_path: Path):
    """Ten each: resized, encoded again, brightened, mirrored, the same bytes."""
    originals = [f"original-{k:02d}.jpg" for k in range(50)]
    copies = [f"copy-{k:02d}.jpg" for k in range(50)]
    for k in range(50):
        image = texture(k, height=120, width=160)
        copy = [
            lambda i: encoded(cv2.resize(i, (104, 78), interpolation=cv2.INTER_AREA), quality=90),
            lambda i: encoded(i, quality=50),
            lambda i: encoded(cv2.convertScaleAbs(i, alpha=1.0, beta=12), quality=90),
            lambda i: encoded(np.ascontiguousarray(i[:, ::-1]), quality=85),
            lambda i: encoded(i, quality=90),
        ][k // 10](image)
        (tmp_path / originals[k]).write_bytes(encoded(image, quality=90))
        (tmp_path / copies[k]).write_bytes(copy)
    table = table_of([*originals, *copies], [CLASSES[k % 2] for k in range(100)], splits=["train"] * 75 + ["test"] * 25)
    # Copies in turn in the training fold of their original, in the other one, and in the test set.
    folds = table[table["split"] == "train"].assign(fold=[0] * 50 + [k % 2 for k in range(25)])
    found = check(tmp_path, table, folds=folds, split_is_official=False)
    expected = {(f"original-{k:02d}", f"copy-{k:02d}") for k in range(50)}
    planted = {
        kind: {tuple(sorted(pair[:2], reverse=True)) for pair in found[kind].details["pairs"]}
        for kind in ("duplicates-train-test", "duplicates-folds", "duplicates-within")
    }
    assert set.union(*planted.values()) == expected
    assert planted["duplicates-train-test"] == {pair for pair in expected if int(pair[0][-2:]) >= 25}
    assert planted["duplicates-folds"] == {(f"original-{k:02d}", f"copy-{k:02d}") for k in range(1, 25, 2)}
    kinds = [pair[2] for kind in planted for pair in found[kind].details["pairs"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"near": 30, "mirrored": 10, "exact": 10}
    assert [found[kind].severity for kind in planted] == ["stop", "stop", "warn"]


def test_copies_across_the_publishers_own_split_are_a_recorded_warning_with_the_training_image_to_drop(tmp_path: Path):
    table = small_set(tmp_path, splits=["train"] * 9 + ["test"] * 3)
    a, b = table["path"][2], table["path"][10]
    found = check(tmp_path, table, pairs=pairs_of((b, a, "near")))
    finding = found["duplicates-train-test"]
    assert finding.severity == "warn"
    assert [(fix.image_id, fix.action) for fix in finding.proposed] == [(table["image_id"][2], "drop")]
    record = summary(list(found.values()))
    assert record["warn"] == 1 and record["findings"][0]["details"]["num_pairs"] == 1
    json.dumps(record, allow_nan=False)


def test_a_group_in_two_folds_stops_and_so_does_one_on_both_sides_of_our_own_split(tmp_path: Path):
    table = small_set(tmp_path, splits=["train"] * 9 + ["test"] * 3)
    table.loc[[0, 1], "group"] = "patient 1"
    table.loc[[8, 9], "group"] = "patient 2"
    folds = table[table["split"] == "train"].assign(fold=[0, 1, 0, 1, 0, 1, 0, 1, 0])
    found = check(tmp_path, table, folds=folds, split_is_official=False)
    assert (found["group-folds"].severity, found["group-folds"].details["groups"]) == ("stop", ["patient 1"])
    assert (found["group-split"].severity, found["group-split"].details["groups"]) == ("stop", ["patient 2"])
    official = check(tmp_path, table, folds=None, split_is_official=True)
    assert official["group-split"].severity == "warn" and "group-folds" not in official


def test_copies_under_two_labels_are_a_warning_and_a_person_decides(tmp_path: Path):
    table = small_set(tmp_path)
    a, b = table["image_id"][0], table["image_id"][1]
    finding = check(tmp_path, table, pairs=pairs_of((f"{a}.png", f"{b}.png", "exact")), folds=None)["duplicate-labels"]
    assert finding.severity == "warn"
    assert {(fix.image_id, fix.action, fix.label) for fix in finding.proposed} == {(a, "", "dog"), (b, "", "cat")}


@pytest.mark.parametrize("share", [1.0, 0.8])
def test_a_jpeg_quality_that_goes_with_the_label_is_found_and_named(tmp_path: Path, share: float):
    rng = np.random.default_rng(3)
    paths = write_textures(tmp_path, num_images=120, seed=3)
    labels = labels_for(paths)
    for k, (path, label) in enumerate(zip(paths, labels, strict=True)):
        quality = 70 if (label == "cat") == (rng.random() < share) else 80
        (tmp_path / path).write_bytes(encoded(texture(k), quality=quality))
    finding = check(tmp_path, table_of(paths, labels))["file-fact-leak"]
    assert finding.severity == "warn"
    assert finding.details["probes"][0]["facts"] == ["jpeg_tables"]
    assert "the JPEG quantisation tables" in finding.message


def test_a_file_size_that_goes_with_the_subject_is_a_note_only(tmp_path: Path):
    paths = write_textures(tmp_path, num_images=100, seed=5)
    labels = labels_for(paths)
    for k, (path, label) in enumerate(zip(paths, labels, strict=True)):
        image = texture(k)
        (tmp_path / path).write_bytes(encoded(cv2.GaussianBlur(image, (9, 9), 0) if label == "cat" else image))
    found = check(tmp_path, table_of(paths, labels))
    assert [finding.severity for finding in found.values()] == ["note"]
    assert found["file-size-tells-label"].details["probes"][0]["facts"][0] in {"num_bytes", "bits_per_pixel"}


def test_a_test_set_of_other_files_is_a_warning_that_names_the_fact(tmp_path: Path):
    paths = write_textures(tmp_path, num_images=90, seed=6)
    for k, path in enumerate(paths[60:]):
        (tmp_path / path).write_bytes(encoded(texture(9000 + k, height=90, width=90)))
    table = table_of(paths, labels_for(paths), splits=["train"] * 60 + ["test"] * 30)
    finding = check(tmp_path, table)["train-test-shift"]
    assert finding.severity == "warn"
    assert {"width", "height"} <= {name for probe in finding.details["probes"] for name in probe["facts"]}


def test_files_that_cannot_be_used_stop_and_training_images_are_proposed_to_be_dropped(tmp_path: Path):
    table = small_set(tmp_path, splits=["train"] * 9 + ["test"] * 3)
    ids = table["image_id"]
    for k in (0, 10):
        path = tmp_path / table["path"][k]
        path.write_bytes(path.read_bytes()[:-40])
    (tmp_path / table["path"][1]).write_text("<html>not found</html>", encoding="utf-8")
    found = check(tmp_path, table, fixes=Fixes(rows=(Fix(image_id=ids[0], action="keep", why="fine"),)))
    assert found["truncated"].image_ids == (ids[0], ids[10])  # even though somebody wrote "keep"
    assert f"{ids[1]} (not an image)" in found["unreadable"].message
    assert {fix.image_id for fix in proposed_fixes(list(found.values())) if fix.action == "drop"} == {ids[0], ids[1]}
    assert "Fetch the files again" in found["unreadable"].message
    assert "Delete or mend" in check(tmp_path, table, own_folder=True)["unreadable"].message


def test_unusual_files_are_told_by_kind_unless_somebody_keeps_them(tmp_path: Path):
    table = small_set(tmp_path, num_images=24)
    path = [tmp_path / name for name in table["path"]]
    path[0].write_bytes(encoded(texture(1)))  # a JPEG named .png
    path[1].write_bytes(encoded(np.full((72, 96, 3), 130, np.uint8), suffix=".png"))
    path[2].write_bytes(encoded(texture(2, height=8, width=8), suffix=".png"))
    path[3].write_bytes(encoded(np.dstack([texture(3), np.full((72, 96), 200, np.uint8)]), suffix=".png"))
    path[4].write_bytes(encoded(texture(4).astype(np.uint16) * 257, suffix=".png"))
    found = check(tmp_path, table)
    expected = {"wrong-extension": 0, "blank": 1, "tiny": 2, "alpha": 3, "16-bit": 4}
    assert {kind: found[kind].image_ids for kind in expected} == {
        k: (table["image_id"][n],) for k, n in expected.items()
    }
    kept = Fixes(rows=tuple(Fix(image_id=table["image_id"][n], action="keep", why="looked at") for n in range(5)))
    assert not set(expected) & set(check(tmp_path, table, fixes=kept))


def test_what_most_images_have_is_a_note(tmp_path: Path):
    table = small_set(tmp_path)
    for k, path in enumerate(table["path"]):
        (tmp_path / path).write_bytes(encoded(np.dstack([texture(k), np.full((72, 96), 9, np.uint8)]), suffix=".png"))
    assert check(tmp_path, table, pairs=NO_PAIRS)["alpha"].severity == "note"


def test_classes_and_test_labels_that_cannot_be_learned_are_warnings(tmp_path: Path):
    table = small_set(tmp_path, splits=["train"] * 9 + ["test"] * 3)
    table["label"] = ["cat"] * 8 + ["dog", "bird", "", "cat"]
    found = check(tmp_path, table, classes=("cat", "dog", "bird"), pairs=NO_PAIRS)
    assert found["class-without-images"].details["classes"] == ["bird"]
    assert found["rare-class"].details["classes"] == {"dog": 1}
    assert found["test-label-unknown"].details["labels"] == ["bird"]
    assert found["test-label-missing"].image_ids == (table["image_id"][10],)
    assert {finding.severity for finding in found.values()} == {"warn"}


def test_another_label_for_a_test_image_is_said(tmp_path: Path):
    table = small_set(tmp_path, splits=["train"] * 9 + ["test"] * 3)
    fix = Fix(image_id=table["image_id"][11], action="relabel", label="dog", why="barks")
    assert check(tmp_path, table, fixes=Fixes(rows=(fix,)))["test-relabelled"].image_ids == (fix.image_id,)


def test_rows_without_images_are_no_fault(tmp_path: Path):
    table = small_set(tmp_path).assign(path="")
    assert check(tmp_path, table, pairs=NO_PAIRS) == {}


def test_the_gate_names_every_stop_and_the_ways_out_and_opens_only_when_told():
    stop = [Finding(kind=kind, severity="stop", message=f"{kind} is bad.") for kind in ("one", "two")]
    warn = Finding(kind="three", severity="warn", message="three is odd.")
    with pytest.raises(DataError) as refused:
        gate([warn, *stop], slug="toy")
    for words in ("one is bad.", "two is bad.", "fixes.csv", "--despite-findings"):
        assert words in str(refused.value)
    assert "three" not in str(refused.value)
    gate([warn], slug="toy")
    gate([warn, *stop], slug="toy", override=True)
    assert summary([warn, *stop], override=True)["overridden"] is True
    assert summary([warn], override=True)["overridden"] is False


@pytest.mark.parametrize("kind", ["unreadable", "truncated"])
def test_the_gate_stays_shut_for_files_that_give_no_pixels(kind):
    finding = Finding(kind=kind, severity="stop", message="a.jpg is bad.")
    with pytest.raises(DataError, match=r"`kit check toy` .* by which such files are left out") as refused:
        gate([finding], slug="toy", override=True)
    assert "--despite-findings" not in str(refused.value)


def test_a_decided_proposal_goes_before_an_undecided_one():
    drop, open_one = Fix(image_id="a", action="drop", why="cut"), Fix(image_id="a", action="", why="plain?")
    findings = [
        Finding(kind="x", severity="warn", message="", proposed=(open_one,)),
        Finding(kind="y", severity="stop", message="", proposed=(drop,)),
    ]
    assert proposed_fixes(findings) == (drop,)


@pytest.mark.real
def test_the_near_duplicates_of_the_pets_are_recorded_warnings(test_data: Path, tmp_path: Path):
    """The four of README.md across the official split, and the six within a side (122/172 is not in the README)."""
    across = {("german_shorthaired_150", "german_shorthaired_3"), ("german_shorthaired_179", "german_shorthaired_19"),
              ("german_shorthaired_180", "german_shorthaired_20"), ("Abyssinian_151", "Abyssinian_99")}  # fmt: skip
    within = {("Abyssinian_5", "Abyssinian_87"), ("Abyssinian_40", "Abyssinian_63"), ("Abyssinian_24", "Abyssinian_56"),
              ("Bombay_136", "Bombay_150"), ("Abyssinian_11", "Abyssinian_177"),
              ("Abyssinian_122", "Abyssinian_172")}  # fmt: skip
    wanted = {name for pair in across | within for name in pair}
    rows = []
    for side in ("trainval", "test"):
        with tarfile.open(test_data / "data" / "oxford-pets" / f"pets-{side}.tar") as tar:
            for number, member in enumerate(m for m in tar if m.isfile()):
                stem = Path(member.name).stem
                if stem in wanted or number % 25 == 0:
                    tar.extract(member, tmp_path, filter="data")
                    rows.append((member.name, stem.rpartition("_")[0], "train" if side == "trainval" else "test"))
    paths, labels, splits = zip(*rows, strict=True)
    table = table_of(paths, labels, splits=splits)
    found = check(tmp_path, table, folds=None, classes=sorted(set(labels)))

    def names(kind: str) -> set[tuple[str, ...]]:
        return {tuple(sorted(Path(image_id).name for image_id in pair[:2])) for pair in found[kind].details["pairs"]}

    assert names("duplicates-train-test") == across
    assert names("duplicates-within") == within
    assert "stop" not in {finding.severity for finding in found.values()}
    assert {"duplicates-train-test", "duplicates-within"} <= {
        entry["kind"] for entry in summary(list(found.values()))["findings"]
    }
