"""Inspect: what one pass over the files tells, which faults it finds, and when a file is not read again."""

import hashlib
import io
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toys import coloured_png, write_files

from kit.errors import DataError
from kit.quality.inspect import FACT_DTYPES, inspect_files, read_facts, write_facts

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(kind: str = "JPEG", *, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(NOISE).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def facts_of(tmp_path: Path, **files: bytes) -> pd.DataFrame:
    folder = write_files(tmp_path / "data", files)
    return inspect_files(folder, list(files), say=lambda line: None).set_index("path")


def test_a_sound_file_is_described_by_its_content(tmp_path: Path):
    data = encoded(quality=90)
    row = facts_of(tmp_path, **{"a.png": data}).loc["a.png"]
    assert (row["format"], row["width"], row["height"], row["mode"], row["bits"]) == ("JPEG", 60, 40, "RGB", 8)
    assert (row["orientation"], row["num_frames"], row["num_bytes"], row["fault"]) == (1, 1, len(data), "")
    assert row["sha256"] == hashlib.sha256(data).hexdigest()
    assert abs(row["mean"] - NOISE.mean()) < 10 and row["std"] > 20


def test_rows_stand_in_the_order_of_the_paths_and_a_row_without_an_image_is_empty(tmp_path: Path):
    folder = write_files(tmp_path, {f"{k}.png": coloured_png("red", k) for k in range(20)})
    paths = [f"{k}.png" for k in reversed(range(20))]
    facts = inspect_files(folder, [*paths[:10], "", *paths[10:]])
    assert facts["path"].tolist() == [*paths[:10], "", *paths[10:]]
    assert facts.loc[10, ["num_bytes", "sha256", "format", "hash", "fault"]].tolist() == [0, "", "", 0, ""]
    assert {name: str(dtype) for name, dtype in facts.dtypes.items()} == FACT_DTYPES


def test_jpegs_of_another_quality_have_other_tables_and_those_of_one_quality_the_same(tmp_path: Path):
    facts = facts_of(tmp_path, a=encoded(quality=75), b=encoded(quality=90), c=encoded(quality=75))
    tables = facts["jpeg_tables"]
    assert tables["a"] == tables["c"] != tables["b"] and len(tables["a"]) == 10


@pytest.mark.parametrize(
    ("content", "column", "expected"),
    [
        (encoded(mode="L"), "mode", "L"),
        (encoded(mode="CMYK"), "mode", "CMYK"),
        (encoded("PNG", mode="P"), "mode", "P"),
        (encoded("PNG", mode="1"), "bits", 1),
        (encoded("PNG", mode="RGBA"), "mode", "RGBA"),
        (encoded("PNG", mode="I;16"), "bits", 16),
        (encoded("GIF", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")]), "num_frames", 2),
        (encoded("WEBP"), "format", "WebP"),
    ],
)
def test_unusual_images_are_known_by_their_header(tmp_path: Path, content: bytes, column: str, expected: object):
    row = facts_of(tmp_path, a=content).loc["a"]
    assert row[column] == expected
    assert (row["width"], row["height"]) == (60, 40)


def test_the_size_is_as_stored_and_the_orientation_says_how_it_is_turned(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    row = facts_of(tmp_path, a=encoded(exif=exif)).loc["a"]
    assert (row["width"], row["height"], row["orientation"]) == (60, 40, 6)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "empty"),
        (b"<html>Not found</html>", "not an image"),
        (bytes(1000), "not an image"),
        (encoded()[:-30], "truncated"),
        (encoded("PNG")[:-30], "truncated"),
        (encoded("PNG")[:200] + b"xx" + encoded("PNG")[202:], "damaged"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "unsupported"),
        # A PNG header that claims 60,000 x 60,000 pixels.
        (encoded("PNG")[:16] + bytes.fromhex("0000ea600000ea60") + encoded("PNG")[24:], "damaged"),
    ],
)
def test_a_bad_file_has_a_fault_in_words_and_no_pixels(tmp_path: Path, content: bytes, fault: str):
    row = facts_of(tmp_path, a=content, sound=encoded()).loc["a"]
    assert row["fault"] == fault
    assert (row["mean"], row["std"], row["hash"]) == (0, 0, 0)


def test_a_small_file_of_very_many_pixels_is_not_decoded(tmp_path: Path):
    def chunk(tag: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + tag + content + zlib.crc32(tag + content).to_bytes(4, "big")

    size = (60_000).to_bytes(4, "big")
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + size + bytes((8, 2, 0, 0, 0))) + chunk(b"IEND", b"")
    assert facts_of(tmp_path, a=bomb).loc["a", "fault"] == "too many pixels"


def test_a_missing_file_and_a_folder_are_faults_not_errors(tmp_path: Path):
    (tmp_path / "folder.jpg").mkdir()
    facts = inspect_files(tmp_path, ["gone.jpg", "folder.jpg"])
    assert facts["fault"].tolist() == ["missing", "unreadable"]


@pytest.mark.parametrize("path", ["../secret.jpg", "/etc/passwd", "a/../../b.jpg"])
def test_a_path_that_leads_out_of_the_folder_is_refused(tmp_path: Path, path: str):
    with pytest.raises(DataError, match="leads out of the data folder"):
        inspect_files(tmp_path, [path])


def test_facts_come_back_from_csv_as_they_were(tmp_path: Path):
    folder = write_files(tmp_path, {"NA": encoded(), "a,b.png": encoded("PNG", mode="L"), "null": b""})
    facts = inspect_files(folder, ["NA", "a,b.png", "null", ""])
    assert facts["hash"].max() > 2**53  # more than a float64 could keep
    write_facts(tmp_path / "facts.csv", facts)
    pd.testing.assert_frame_equal(read_facts(tmp_path / "facts.csv"), facts)


def test_facts_that_cannot_be_read_say_that_they_are_made_again(tmp_path: Path):
    (tmp_path / "facts.csv").write_text("path,num_bytes\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match="Remove the file; it is made again"):
        read_facts(tmp_path / "facts.csv")


def test_only_a_file_of_other_size_or_time_is_read_again(tmp_path: Path):
    folder = write_files(tmp_path, {"a.png": coloured_png("red", 1), "b.png": coloured_png("red", 2)})
    known = inspect_files(folder, ["a.png", "b.png"])
    known["sha256"] = "as known"
    os.utime(folder / "b.png", ns=(1, 1))
    again = inspect_files(folder, ["b.png", "a.png"], known=known).set_index("path")
    assert again.loc["a.png", "sha256"] == "as known"
    assert again.loc["b.png", "sha256"] == hashlib.sha256(coloured_png("red", 2)).hexdigest()


@pytest.mark.real
def test_odd_originals_of_the_pets_and_of_dogs_vs_cats_are_recognised(test_data: Path, tmp_path: Path):
    for name in ("oxford-pets", "dogs-vs-cats"):
        with tarfile.open(test_data / "data" / name / "raw-odd-files.tar") as tar:
            tar.extractall(tmp_path / name, filter="data")
    paths = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    facts = inspect_files(tmp_path, paths)
    facts.index = [Path(path).stem for path in paths]
    assert facts.loc["Abyssinian_34", ["format", "mode", "fault"]].tolist() == ["GIF", "P", ""]
    assert facts.loc["Abyssinian_5", ["format", "mode", "fault"]].tolist() == ["PNG", "RGBA", ""]
    assert facts.loc["490", ["format", "fault"]].tolist() == ["JPEG", "truncated"]
