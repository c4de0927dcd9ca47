"""Fetch: whole, checked files in one folder, or an explanation."""

import gzip
import hashlib
import io
import os
import socket
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_server import Server, running
from toys import competition, make_toy_competition, tar_bytes, write_files

from kit.competition import load_competition
from kit.errors import FetchError
from kit.files.fetch import fetch
from kit.home import family
from kit.rules import SourceFile, SourceSet

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
ARCHIVE = tar_bytes({"images/a.png": b"one", "images/b.png": b"two"})


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as one:
        yield one


def question(folder: Path, *files: SourceFile, **changes):
    return competition(folder, sources={"local": SourceSet(files=files)}, **changes)


def fetch_quietly(asked, **options) -> Path:
    return fetch(asked, say=lambda line: None, **options)


def nothing_is_left(data: Path) -> bool:
    return not data.exists() or list(data.iterdir()) == []


def test_a_file_is_downloaded_once_and_the_second_fetch_does_nothing(server, tmp_path):
    server.files["a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(url=f"{server.url}/a.bin", sha256=hashlib.sha256(CONTENT).hexdigest()))
    lines: list[str] = []
    folder = fetch(asked, say=lines.append)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert lines == [f"fetching {server.url}/a.bin"]
    assert fetch(asked, say=lines.append) == folder
    assert len(lines) == len(server.ranges) == 1


def test_a_changed_source_is_fetched_anew_out_of_the_same_download(server, tmp_path):
    server.files["a.bin"] = CONTENT
    file = {"url": f"{server.url}/a.bin", "md5": hashlib.md5(CONTENT).hexdigest()}
    first = fetch_quietly(question(tmp_path, SourceFile(**file)))
    second = fetch_quietly(question(tmp_path, SourceFile(**file, save_as="deep/b.bin")))
    assert first == second
    assert [p.relative_to(second).as_posix() for p in second.rglob("*.bin")] == ["deep/b.bin"]
    assert len(server.ranges) == 1


def test_a_broken_fetch_leaves_no_data_folder_and_the_next_one_goes_on(server, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.files.download.FIRST_PAUSE_SECONDS", 0)
    server.files["a.bin"], server.cuts = CONTENT, [300, *[0] * 6]
    asked = question(tmp_path, SourceFile(url=f"{server.url}/a.bin"))
    with pytest.raises(FetchError, match=r"toy needs the file a\.bin, .* 300 bytes are kept"):
        fetch_quietly(asked)
    assert nothing_is_left(family("data") / "toy")
    folder = fetch_quietly(asked)
    assert (folder / "a.bin").read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300-"


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"sha256": "0" * 64}, r"its sha256 is [0-9a-f]{64}, expected 0000"),
        ({"md5": "0" * 32}, r"its md5 is [0-9a-f]{32}, expected 0000"),
        ({"num_bytes": 20_000}, r"it has 10,240 bytes, expected 20,000"),
    ],
)
def test_a_download_of_other_bytes_is_refused_and_removed(server, tmp_path, wrong, fault):
    server.files["a.bin"] = CONTENT
    with pytest.raises(FetchError, match=rf"a\.bin is not the file that was expected: {fault}.* has been removed"):
        fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin", **wrong)))
    assert nothing_is_left(family("downloads") / "toy" / "local")
    assert nothing_is_left(family("data") / "toy")


def test_a_missing_page_names_the_address_and_the_way_out(server, tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(url=f"{server.url}/a.bin")))
    for fragment in (
        "toy needs the file a.bin",
        f"{server.url}/a.bin was refused: HTTP 404 Not Found",
        "--mirror DIR",
        "toy/a.bin",
    ):
        assert fragment in str(caught.value)


def test_without_a_network_the_error_names_the_mirror(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.bin"
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(url=url)))
    for fragment in (url, "refused", "--mirror DIR", "KIT_MIRROR"):
        assert fragment in str(caught.value)


def test_a_download_that_was_changed_since_is_refused_and_removed(server, tmp_path):
    server.files["a.bin"] = CONTENT
    file = SourceFile(url=f"{server.url}/a.bin", sha256=hashlib.sha256(CONTENT).hexdigest())
    write_files(family("downloads") / "toy" / "local", {"a.bin": b"changed"})
    with pytest.raises(FetchError, match=r"a\.bin is not the file that toy names: its sha256 .* removed; run"):
        fetch_quietly(question(tmp_path, file))
    assert (fetch_quietly(question(tmp_path, file)) / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("place", ["far/a.bin", "toy/a.bin", "a.bin"])
def test_a_mirror_folder_serves_a_file_from_any_of_its_places_without_a_copy_in_downloads(tmp_path, place):
    mirror = write_files(tmp_path / "mirror", {place: CONTENT})
    asked = question(tmp_path, SourceFile(path="far/a.bin", num_bytes=len(CONTENT)))
    assert (fetch_quietly(asked, mirror=str(mirror)) / "a.bin").read_bytes() == CONTENT
    assert not family("downloads").exists()


def test_kit_mirror_is_the_mirror_that_no_option_names(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_MIRROR", str(write_files(tmp_path / "mirror", {"a.bin": CONTENT})))
    assert (fetch_quietly(question(tmp_path, SourceFile(path="a.bin"))) / "a.bin").read_bytes() == CONTENT


def test_a_mirror_url_is_asked_before_the_public_address(server, tmp_path):
    server.files["far/a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(path="far/a.bin", url=f"{server.url}/never.bin"))
    assert (fetch_quietly(asked, mirror=f"{server.url}/") / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_mirror_url_that_lacks_the_file_gives_way_to_the_public_address(server, tmp_path):
    server.files["a.bin"] = CONTENT
    asked = question(tmp_path, SourceFile(path="far/a.bin", url=f"{server.url}/a.bin"))
    assert (fetch_quietly(asked, mirror=server.url) / "a.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 2


def test_a_mirror_url_with_a_wrong_file_gives_way_to_the_public_address(server, tmp_path):
    server.files |= {"far/a.bin": b"wrong", "a.bin": CONTENT}
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    asked = question(tmp_path, SourceFile(path="far/a.bin", url=f"{server.url}/a.bin", sha256=sha256))
    assert (fetch_quietly(asked, mirror=server.url) / "a.bin").read_bytes() == CONTENT


def test_a_mirrors_wrong_file_is_refused_and_stays_where_it_is(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"a.bin": CONTENT})
    with pytest.raises(FetchError, match=r"a\.bin is not the file .* Put the right file into the mirror"):
        fetch_quietly(question(tmp_path, SourceFile(path="a.bin", sha256="0" * 64)), mirror=str(mirror))
    assert (mirror / "a.bin").read_bytes() == CONTENT


def test_a_mirror_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(FetchError, match=r"nowhere is not a folder. Give a folder, or a URL"):
        fetch_quietly(question(tmp_path, SourceFile(path="a.bin")), mirror=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("with_mirror", [False, True])
def test_a_file_without_an_address_says_where_a_mirror_keeps_it(tmp_path, with_mirror):
    mirror = write_files(tmp_path / "mirror", {"other.bin": b""}) if with_mirror else None
    with pytest.raises(FetchError) as caught:
        fetch_quietly(question(tmp_path, SourceFile(path="far/a.bin")), mirror=mirror and str(mirror))
    for fragment in ("toy needs the file a.bin", "no public address", "as far/a.bin", "--mirror DIR", "KIT_MIRROR"):
        assert fragment in str(caught.value)
    looked = f"The mirror {mirror} does not have it: looked for far/a.bin, toy/a.bin, a.bin."
    assert (looked in str(caught.value)) is with_mirror
    assert "other sources" not in str(caught.value)


def test_what_cannot_be_had_names_the_places_of_the_mirror_and_the_other_sources(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"small.bin": CONTENT})
    file = SourceFile(path="toy/train.zip", url="http://127.0.0.1:9/train.zip")
    small = SourceSet(files=(SourceFile(path="far/small.bin"),), complete=False)
    own = SourceSet(folder="images")
    first = {
        "public": SourceSet(files=(file,)),
        "kaggle": SourceSet(kaggle="leaf-classification", files=(SourceFile(path="test.zip"),)),
    }
    expected = {
        "public": ["looked for toy/train.zip, train.zip.", "kaggle (Kaggle account), "],
        "kaggle": [
            "looked for toy/leaf-classification.zip, leaf-classification.zip, and it lacks test.zip.",
            "public (download), ",
        ],
    }
    asked = competition(tmp_path, sources={**first, "small": small, "own": own})
    for source, fragments in expected.items():
        with pytest.raises(FetchError) as caught:
            fetch_quietly(asked, source=source, mirror=str(mirror))
        for fragment in (f"The mirror {mirror} does not have it: ", *fragments):
            assert fragment in str(caught.value)
        ways = "small (all of it is in this mirror; not all images), own (kit scrape); choose with --source."
        assert ways in str(caught.value)


def zip_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "archive", "member"),
    [
        ("all.bin", ARCHIVE, "images/a.png"),
        ("all.bin", zip_bytes({"images/a.png": b"one"}), "images/a.png"),
        ("labels-idx1-ubyte.gz", gzip.compress(b"one"), "labels-idx1-ubyte"),
    ],
    ids=["tar", "zip", "gz"],
)
def test_archives_are_unpacked_into_the_data_folder(tmp_path, name, archive, member):
    mirror = write_files(tmp_path / "mirror", {name: archive})
    folder = fetch_quietly(question(tmp_path, SourceFile(path=name, unpack=True)), mirror=str(mirror))
    assert (folder / member).read_bytes() == b"one"


@pytest.mark.parametrize(
    "second", [zip_bytes({"../sly": b""}), zip_bytes({"images/a.png": b"other"}), b""], ids=["sly", "collides", "empty"]
)
def test_one_archive_that_is_refused_leaves_no_data_folder(tmp_path, second):
    mirror = write_files(tmp_path / "mirror", {"1.tar": ARCHIVE, "2.zip": second})
    files = [SourceFile(path=name, unpack=True) for name in ("1.tar", "2.zip")]
    with pytest.raises(FetchError, match=r"2\.zip"):
        fetch_quietly(question(tmp_path, *files), mirror=str(mirror))
    assert nothing_is_left(family("data") / "toy")


def dead_process() -> int:
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def test_what_a_killed_fetch_has_left_is_cleared_and_what_a_living_one_fills_is_not(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"a.bin": CONTENT})
    dead, alive = dead_process(), os.getppid()
    names = [f"local.{dead}.part", f"local.{dead}.part.unpack.{dead}.part", f"local.{alive}.part", f"other.{dead}.part"]
    for name in names:
        write_files(family("data") / "toy" / name, {"half": b""})
    write_files(family("data") / "toy" / "local", {".fetched.json": b"[]"})  # of an earlier time, and damaged
    fetch_quietly(question(tmp_path, SourceFile(path="a.bin")), mirror=str(mirror))
    left = {path.name for path in (family("data") / "toy").iterdir()}
    assert left == {"local", f"local.{alive}.part", f"other.{dead}.part"}


def test_the_toy_competition_is_fetched_from_its_mirror(toy_competition):
    folder = fetch_quietly(load_competition(toy_competition()))
    assert len(list(folder.glob("train/*/*.png"))) == 18
    assert len(list(folder.glob("test/*/*.png"))) == 6


def test_an_adapter_writes_pixels_that_are_not_yet_files_and_a_changed_adapter_writes_them_again(tmp_path):
    folder = make_toy_competition(tmp_path)
    adapter = "def materialise(data_dir):\n    (data_dir / 'made.txt').write_text('{}')\n"
    asked = competition(folder, sources={"local": SourceSet()})
    for text in ("first", "second"):
        (folder / "adapter.py").write_text(adapter.format(text))
        assert (fetch_quietly(asked) / "made.txt").read_text() == text


# Kaggle's files out of a mirror folder; tests/test_kaggle_client.py has what comes from Kaggle itself.

TRAIN, TEST = zip_bytes({"train/a.jpg": b"a"}), zip_bytes({"test/b.jpg": b"b"})
KAGGLE = zip_bytes({"train.zip": TRAIN, "test.zip": TEST, "train.csv": b"id\n"})


def kaggle_question(folder: Path, *files: SourceFile):
    return competition(folder, sources={"kaggle": SourceSet(kaggle="leaf-classification", files=files)})


def content_of(folder: Path) -> dict[str, bytes]:
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if name != ".fetched.json"}


def test_without_credentials_kaggle_is_not_asked(tmp_path):
    with pytest.raises(FetchError) as caught:
        fetch_quietly(kaggle_question(tmp_path))
    for fragment in ("'leaf-classification'", "KAGGLE_API_TOKEN", "leaf-classification.zip", "--mirror DIR"):
        assert fragment in str(caught.value)
    assert nothing_is_left(family("data") / "toy")


@pytest.mark.parametrize("place", ["leaf-classification.zip", "toy/leaf-classification.zip"])
def test_a_mirror_folder_stands_in_for_kaggle(tmp_path, place):
    mirror = write_files(tmp_path / "mirror", {place: zip_bytes({"train.csv": b"id\n"})})
    assert content_of(fetch_quietly(kaggle_question(tmp_path), mirror=str(mirror))) == {"train.csv": b"id\n"}


def test_the_archives_inside_kaggles_archive_are_unpacked_and_removed(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"leaf-classification.zip": KAGGLE})
    files = [
        SourceFile(path="leaf/train.zip", unpack=True, num_bytes=len(TRAIN)),
        SourceFile(path="test.zip", unpack=True),
        SourceFile(path="train.csv", save_as="labels/train.csv"),
    ]
    folder = fetch_quietly(kaggle_question(tmp_path, *files), mirror=str(mirror))
    assert content_of(folder) == {"train/a.jpg": b"a", "test/b.jpg": b"b", "labels/train.csv": b"id\n"}


def test_a_mirror_that_has_kaggles_files_one_by_one_needs_no_archive(tmp_path):
    mirror = write_files(tmp_path / "mirror", {"toy/train.zip": TRAIN, "toy/train.csv": b"id\n"})
    files = [SourceFile(path="leaf/train.zip", unpack=True), SourceFile(path="leaf/train.csv")]
    folder = fetch_quietly(kaggle_question(tmp_path, *files), mirror=str(mirror))
    assert content_of(folder) == {"train/a.jpg": b"a", "train.csv": b"id\n"}
    assert (mirror / "toy/train.zip").is_file()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (SourceFile(path="valid.zip", unpack=True), "toy needs the file valid.zip, which is not in what Kaggle gives"),
        (SourceFile(path="train.zip", unpack=True, sha256="0" * 64), "train.zip is not the file that toy names"),
    ],
    ids=["missing", "wrong"],
)
def test_a_file_that_kaggles_archive_lacks_or_has_otherwise_is_named(tmp_path, file, words):
    mirror = write_files(tmp_path / "mirror", {"leaf-classification.zip": KAGGLE})
    with pytest.raises(FetchError) as caught:
        fetch_quietly(kaggle_question(tmp_path, file), mirror=str(mirror))
    assert words in str(caught.value)
    assert nothing_is_left(family("data") / "toy")


@pytest.mark.real
def test_the_cactus_files_are_fetched_out_of_a_zip_of_zips(test_data, tmp_path):
    (tmp_path / "mirror").mkdir()
    with zipfile.ZipFile(tmp_path / "mirror/leaf-classification.zip", "w") as bundle:
        for name in ("test.zip", "train.csv"):
            bundle.write(test_data / "data/aerial-cactus" / name, name)
    asked = kaggle_question(tmp_path, SourceFile(path="test.zip", unpack=True))
    folder = fetch_quietly(asked, mirror=str(tmp_path / "mirror"))
    assert len(list(folder.glob("test/*.jpg"))) == 4000
    assert sorted(path.name for path in folder.iterdir()) == [".fetched.json", "test", "train.csv"]
