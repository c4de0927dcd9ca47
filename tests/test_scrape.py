"""Scraping: every address gets one row that says what became of it, whenever it is cut, however often it is run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scrape_site import QUICK, hang_up, http, say_nothing, states, tiny_png
from toys import coloured_png, write_files

from kit.errors import ConfigError, DataError, StorageError
from kit.scrape.collector import Limits
from kit.scrape.manifest import JOURNAL, MANIFEST, ManifestRow, open_journal, read_manifest


def test_an_image_is_stored_under_its_checksum_with_the_suffix_of_its_content(collect, site, own_home):
    image = coloured_png("red", 1)
    site.answers["/photo.jpg"] = http(image)  # a PNG, whatever its name says
    collection = collect({"black bear": ["/photo.jpg"]})
    (row,) = collection.rows
    assert row.file == f"black bear/{row.sha256[:16]}.png"
    assert (own_home / "collected" / "bears" / "images" / row.file).read_bytes() == image
    assert (row.format, row.width, row.height, row.num_bytes, row.attempts) == ("png", 24, 20, len(image), 1)
    assert datetime.now(UTC) - datetime.fromisoformat(row.fetched_at) < timedelta(minutes=5)


def test_ten_thousand_addresses_of_which_three_thousand_fail_in_ten_ways_are_all_accounted_for(collect, site):
    ways = {
        "HTTP 404": http(status=404),
        "HTTP 500": http(status=500),
        "HTTP 429": http(status=429),
        "connection broke off": hang_up,
        "timeout": say_nothing(2.5),
        "empty answer": http(b""),
        "not an image: an HTML page": http(b"<!doctype html><p>Log in, please"),
        "cut off": http(tiny_png(7)[:-20]),
        "too large": http(bytes(3000)),
        "opted out": http(tiny_png(8), x_robots_tag="noai"),
    }
    addresses, images, failing = 7000, 2000, {way: 12 if way == "timeout" else 332 for way in ways}
    for k in range(addresses):
        site.answers[f"/{k}"] = http(tiny_png(k % images))
    for way, answer in ways.items():
        for k in range(failing[way]):
            site.answers[f"/{way.replace(' ', '-')}/{k}"] = answer
    paths = list(site.answers)
    limits = replace(QUICK, attempts=2, read_seconds=1.5, per_host=16, threads=16, max_bytes=2000)
    collection = collect({"a": paths[0::2], "b": paths[1::2]}, limits=limits)
    expected = {**failing, "": images, "same image": addresses - images}
    assert Counter(row.kind_of_reason for row in collection.rows) == expected
    assert sorted(row.url for row in collection.rows) == sorted(site.url(path) for path in paths)
    assert len(collection.paths) == images
    assert read_manifest(collection.manifest.parent) == list(collection.rows)


def test_an_address_that_stands_twice_is_fetched_once_and_keeps_both_rows(collect, site):
    site.answers["/a"] = http(coloured_png("red", 1))
    collection = collect({"red": ["/a", "/a", "/a#top"]})
    assert states(collection) == [("ok", ""), ("duplicate", "same image"), ("duplicate", "same image")]
    assert site.paths() == ["/a"]


def test_an_image_in_two_classes_is_kept_in_the_first_and_reported(collect, site):
    image = coloured_png("red", 1)
    site.answers |= {"/a": http(image), "/b": http(image)}
    collection = collect({"black": ["/a"], "grizzly": ["/b"]})
    assert states(collection) == [("ok", ""), ("duplicate", "conflict: same image in class black")]
    (conflict,) = collection.conflicts
    assert conflict.url == site.url("/b") and conflict.file.startswith("black/")
    assert sorted(path.parent.name for path in collection.folder.rglob("*.png")) == ["black"]


def test_a_failed_address_becoming_a_known_image_does_not_move_it_to_another_class(collect, site):
    image = coloured_png("red", 1)
    site.answers["/b"] = http(image)
    lists = {"a": ["/a"], "b": ["/b"]}
    assert states(collect(lists)) == [("failed", "HTTP 404"), ("ok", "")]
    site.answers["/a"] = http(image)
    again = collect(lists, retry_failed=True)
    assert states(again) == [("duplicate", "conflict: same image in class b"), ("ok", "")]
    assert [path.parent.name for path in again.folder.rglob("*.png")] == ["b"]


def test_a_second_run_asks_nothing_again_and_failed_addresses_only_when_told(collect, site):
    site.answers["/good"] = http(coloured_png("red", 1))
    first = collect({"red": ["/good", "/bad"]})
    assert collect({"red": ["/good", "/bad"]}).rows == first.rows
    assert sorted(site.paths()) == ["/bad", "/good"]
    site.answers["/bad"] = http(coloured_png("red", 2))
    again = collect({"red": ["/good", "/bad"]}, retry_failed=True)
    assert states(again) == [("ok", ""), ("ok", "")]
    assert sorted(site.paths()) == ["/bad", "/bad", "/good"]


def test_rows_of_an_earlier_list_stay_in_the_manifest(collect, site):
    site.answers |= {"/a": http(coloured_png("red", 1)), "/b": http(coloured_png("blue", 2))}
    collect({"red": ["/a"]})
    collection = collect({"blue": ["/b"]})
    assert [(row.label, row.status) for row in collection.rows] == [("red", "ok"), ("blue", "ok")]
    assert collection.counts_by_class() == {"blue": 1, "red": 1}


def test_an_image_that_the_user_has_removed_stays_removed(collect, site):
    site.answers |= {path: http(coloured_png("red", 1)) for path in ("/a", "/copy")}
    (path,) = collect({"red": ["/a"]}).paths
    collection = collect({"red": ["/a"]})
    (collection.folder / path).unlink()
    again = collect({"red": ["/a", "/copy"]}, retry_failed=True)
    assert again.paths == ()
    assert states(again) == [("ok", ""), ("duplicate", "same image")]
    assert list(again.folder.rglob("*.png")) == []


def test_an_interrupted_collection_keeps_what_it_has(collect, site, own_home, monkeypatch):
    site.answers |= {"/a": http(coloured_png("red", 1)), "/slow": say_nothing(1.5)}
    said = []

    def interrupt(line: str) -> None:
        said.append(line)
        if line.startswith("fetching: 1 of 2"):
            raise KeyboardInterrupt

    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("kit.progress.LINE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        collect({"a": ["/a", "/slow"]}, say=interrupt)
    assert b"/a" in (own_home / "collected" / "bears" / JOURNAL).read_bytes()
    assert said[-1].startswith("fetching: 1 of 2 addresses (1 ok), ")
    site.answers["/slow"] = http(coloured_png("red", 2))
    assert states(collect({"a": ["/a", "/slow"]})) == [("ok", ""), ("ok", "")]
    assert site.paths().count("/a") == 1


def test_a_disk_that_cannot_be_written_ends_the_run_and_loses_nothing(collect, site, own_home):
    site.answers["/a"] = http(coloured_png("red", 1))
    write_files(own_home / "collected" / "bears", {"images": b"a file in the folder's place"})
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        collect({"a": ["/a"]})
    (own_home / "collected" / "bears" / "images").unlink()
    assert states(collect({"a": ["/a"]})) == [("ok", "")]


def test_killed_at_any_moment_the_same_command_goes_on_and_ends_with_the_same_manifest(tmp_path, site):
    paths = [f"/{k}" for k in range(60)]
    for k, path in enumerate(paths):
        site.answers[path] = lambda _, k=k: time.sleep(0.01) or http(tiny_png(k // 2) if k % 3 else b"")
    lists = tmp_path / "lists"
    write_files(
        lists,
        {
            "a.txt": "\n".join(map(site.url, paths[:40])).encode(),
            "b.txt": "\n".join(map(site.url, paths[30:])).encode(),
        },
    )
    code = (
        "import sys; from pathlib import Path; from dataclasses import replace;"
        "from kit.scrape.collector import Limits; from kit.scrape.scrape import collect;"
        "collect('bears', [Path(sys.argv[1])], allow_hosts=[sys.argv[2]],"
        "limits=Limits(pause_seconds=0, per_host=3, threads=3))"
    )
    command = [sys.executable, "-c", code, str(lists), site.host]

    def run(home: Path, *, kill_after: int | None = None) -> None:
        process = subprocess.Popen(command, env={**os.environ, "KIT_HOME": str(home)}, stdout=subprocess.DEVNULL)
        journal = home / "collected" / "bears" / JOURNAL
        while kill_after is not None and process.poll() is None:
            if journal.is_file() and journal.read_bytes().count(b"\n") >= kill_after:
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.002)
        process.wait()

    interrupted, straight = tmp_path / "interrupted", tmp_path / "straight"
    for kill_after in (5, 35):
        run(interrupted, kill_after=kill_after)
    journal = interrupted / "collected" / "bears" / JOURNAL
    settled = journal.read_bytes().count(b"\n")
    assert 35 <= settled < 60
    with journal.open("ab") as torn:
        torn.write(b'{"key": "http://torn')
    run(interrupted)
    asked = len(site.paths())
    assert asked <= 60 + 2 * 3  # what was under way at each kill, and nothing else, is asked again
    run(straight)

    def without_times(home: Path) -> list[ManifestRow]:
        return [replace(row, fetched_at="", attempts=1) for row in read_manifest(home / "collected" / "bears")]

    def files(home: Path) -> list[str]:
        folder = home / "collected" / "bears" / "images"
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    assert len(without_times(straight)) == 70
    assert without_times(interrupted) == without_times(straight)
    assert [name for name in files(interrupted) if not name.endswith(".part")] == files(straight)


def test_a_line_behind_a_torn_one_is_whole(tmp_path):
    rows = [ManifestRow(url=url, label="a", status="failed", reason="timeout", attempts=2) for url in ("one", "two")]
    with open_journal(tmp_path) as (journal, before):
        journal.add("one", rows[0])
    assert before == {}
    with (tmp_path / JOURNAL).open("ab") as torn:
        torn.write(b'{"key": "tor')
    with open_journal(tmp_path) as (journal, before):
        journal.add("two", rows[1])
    assert before == {"one": rows[0]}
    with open_journal(tmp_path) as (journal, before):
        journal.clear()
    assert before == {"one": rows[0], "two": rows[1]}
    assert (tmp_path / JOURNAL).read_bytes() == b""


def test_two_scrapes_into_one_collection_do_not_mix(collect, site):
    site.answers["/a"] = lambda _: time.sleep(1) or http(coloured_png("red", 1))
    first = threading.Thread(target=collect, args=({"a": ["/a"]},))
    first.start()
    while not site.paths():
        time.sleep(0.01)
    with pytest.raises(DataError, match="Another `kit scrape`"):
        collect({"a": ["/a"]})
    first.join()


def test_a_manifest_of_another_form_is_not_written_over(collect, site, own_home):
    write_files(own_home / "collected" / "bears", {MANIFEST: b"mine\n"})
    with pytest.raises(DataError, match="Move it away"):
        collect({"a": ["/a"]})
    assert (own_home / "collected" / "bears" / MANIFEST).read_bytes() == b"mine\n"


def test_limits_that_let_nothing_through_are_refused():
    with pytest.raises(ConfigError, match="per_host must be at least 1"):
        Limits(per_host=0)


def test_a_host_that_does_not_exist_is_a_row(collect):
    collection = collect({"a": ["http://nowhere.invalid/a.jpg", "nonsense", "http://[::1", "ftp://a.example/b.jpg"]})
    assert [row.kind_of_reason for row in collection.rows[1:]] == [
        "not an http address",
        "not an address",
        "not an http address",
    ]
    assert collection.rows[0].reason.startswith(("host not found", "no connection"))
    assert json.dumps([row.attempts for row in collection.rows[1:]]) == "[0, 0, 0]"
