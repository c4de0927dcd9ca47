"""Files are whole or absent, whatever happens while they are written."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from kit.errors import ConfigError, StorageError
from kit.home import (
    FAMILIES,
    clear_family,
    explained,
    family,
    family_sizes,
    filling,
    fingerprint,
    kit_home,
    make_folder,
    sha256_of_file,
    write_json,
    write_text,
    writing,
)


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_everything_stands_under_kit_home(own_home):
    assert kit_home() == own_home
    assert [family(name).parent for name in FAMILIES] == [own_home] * len(FAMILIES)


def test_without_kit_home_it_is_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("KIT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert kit_home().name == "competition-kit"


def test_a_tilde_in_kit_home_is_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KIT_HOME", "~/kit")
    assert kit_home() == tmp_path / "user" / "kit"


def test_text_is_written_as_given_with_its_folders(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "ü\r\n\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "ü\r\n\n".encode()
    assert files_below(tmp_path) == ["a", "a/b.txt"]


def test_bytes_are_written_too(tmp_path):
    with writing(tmp_path / "a.bin", "wb") as file:
        file.write(b"\n\x00")
    assert (tmp_path / "a.bin").read_bytes() == b"\n\x00"


def test_json_keeps_its_order_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": ["ü"]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "b": 1,\n  "a": [\n    "ü"\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", float("nan"))
    assert files_below(tmp_path) == ["a.json"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError], ids=["Ctrl-C", "a bug"])
def test_an_interrupted_file_leaves_what_was_there_before(tmp_path, interruption):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def interrupted():
        with writing(path) as file:
            file.write("ne")
            assert path.read_text() == "old"  # half-written is never visible
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert path.read_text() == "old"
    assert files_below(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError], ids=["Ctrl-C", "a bug"])
def test_an_interrupted_folder_leaves_what_was_there_before(tmp_path, interruption):
    folder = tmp_path / "data"
    with filling(folder) as part:
        (part / "old.txt").touch()

    def interrupted():
        with filling(folder) as part:
            (part / "new.txt").touch()
            assert files_below(folder) == ["old.txt"]
            raise interruption

    with pytest.raises(interruption):
        interrupted()
    assert files_below(tmp_path) == ["data", "data/old.txt"]


def test_a_filled_folder_takes_the_place_of_the_old_one(tmp_path):
    for name in ("old.txt", "new.txt"):
        with filling(tmp_path / "data") as part:
            (part / name).touch()
    assert files_below(tmp_path) == ["data", "data/new.txt"]


def test_what_a_killed_process_left_does_not_get_into_the_folder(tmp_path):
    leftover = tmp_path / f"data.{os.getpid()}.part"
    leftover.mkdir()
    (leftover / "half.txt").touch()
    with filling(tmp_path / "data") as part:
        (part / "whole.txt").touch()
    assert files_below(tmp_path) == ["data", "data/whole.txt"]


WORDS = {
    errno.ENOSPC: ["The disk is full", "Nothing half-written", "`kit cache`", "KIT_HOME"],
    errno.EACCES: ["No permission to write", "set KIT_HOME to a folder of yours"],
    errno.EPERM: ["No permission to write", "KIT_HOME"],
    errno.EROFS: ["No permission to write", "KIT_HOME"],
    errno.ENOTDIR: ["a file stands where a folder is needed", "KIT_HOME"],
}


@pytest.mark.parametrize(("code", "fragments"), WORDS.items(), ids=map(errno.errorcode.get, WORDS))
def test_a_storage_fault_names_the_place_and_the_way_out_and_leaves_nothing(tmp_path, monkeypatch, code, fragments):
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "a.txt", "text")
    for fragment in (str(tmp_path / "a.txt"), *fragments):
        assert fragment in str(caught.value)
    assert files_below(tmp_path) == []


def test_another_fault_of_the_system_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError), explained(tmp_path):
        (tmp_path / "missing").read_text()


def test_a_full_disk_while_a_folder_is_filled_leaves_nothing(tmp_path):
    def fill():
        with filling(tmp_path / "data") as part:
            (part / "half.txt").touch()
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="The disk is full"):
        fill()
    assert files_below(tmp_path) == []


def test_a_read_only_place_is_named(tmp_path, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match=r"No permission to write .*new"):
        make_folder(tmp_path / "new")


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "data").touch()
    for folder in (tmp_path / "data", tmp_path / "data" / "deeper"):
        with pytest.raises(StorageError, match="a file stands where a folder is needed"):
            make_folder(folder)


def test_the_checksum_of_a_file_is_that_of_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_fingerprint_sees_the_borders_of_its_parts():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint("ab", "c") == fingerprint(b"ab", b"c")
    assert len(fingerprint()) == 64


def test_the_cache_is_measured_and_cleared_by_family_and_runs_stay_unless_they_are_named(own_home):
    for name in ("packs", "tables", "runs"):
        write_text(family(name) / "deep" / "file", "12345")
    assert {name: size for name, (size, _) in family_sizes().items() if size} == {"packs": 5, "tables": 5, "runs": 5}
    assert clear_family("packs") == 5
    assert clear_family("all") == 5
    assert files_below(own_home) == ["runs", "runs/deep", "runs/deep/file"]
    assert clear_family("runs") == 5
    assert files_below(own_home) == []


def test_an_unknown_family_is_refused_with_the_known_ones():
    known = r"Did you mean 'packs'\? Known are downloads, data, .*and all"
    with pytest.raises(ConfigError, match=rf"--clear 'pack' is unknown. {known}"):
        clear_family("pack")
