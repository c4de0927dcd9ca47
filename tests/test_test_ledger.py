"""Every look at test labels is a line; a line that is edited, missing, moved or cut off is noticed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_records import make_record

from kit.board.records import all_records, run_folder, write_record
from kit.board.report import write_report
from kit.board.test_use import selection_words, use_words, uses_of_records
from kit.errors import StorageError
from kit.home import family, write_json
from kit.judge import test_ledger
from kit.judge.test_ledger import START, check_chain, ledger_path, looked_at, read_chain
from kit.judge.test_ledger import test_use_of as use_of  # under its own name, pytest would take it for a test
from kit.run import run

AT = {"competition": "toy", "protocol": "official", "data": "abc"}

DOUBT = "; the ledger was changed, so that there may have been more, and better ones"


def look(run="run-1", value=0.9, **changes):
    given = {**AT, "run": run, "opened": "test labels", "kind": "test", "metric": "accuracy", "value": value}
    return test_ledger.look(**(given | changes))


def words(run, **changes):
    return use_words(check_chain(), **(AT | {"run": run, "out_of_fold": True} | changes))


def test_each_look_is_a_line_that_carries_the_hash_of_the_one_before():
    first, second = look(value=0.9), look("run-2", value=0.8)
    assert (first.n, first.previous) == (1, START)
    assert (second.n, second.previous) == (2, first.hash)
    lines = ledger_path().read_text().splitlines()
    assert [json.loads(line)["value"] for line in lines] == [0.9, 0.8]
    assert check_chain().looks == (first, second)
    assert check_chain().sound


def test_the_same_value_of_the_same_thing_is_no_new_look():
    assert look() == look()
    look(kind="fold-ensemble")
    look(metric="log_loss")
    look(value=0.91)
    assert len(check_chain().looks) == 4


def test_a_ledger_that_nobody_wrote_is_empty_and_sound():
    assert (check_chain().looks, check_chain().head, check_chain().sound) == ((), START, True)
    assert not ledger_path().exists()  # to read it makes nothing


def test_what_a_record_keeps_counts_this_protocol_and_these_data():
    look("run-1"), look("run-1", kind="fold-ensemble"), look("run-2", value=0.8)
    look("run-3", protocol="random"), look("run-4", data="fixed"), look("run-5", competition="other")
    assert use_of(**AT) == {
        "opened": 3,
        "runs": 2,
        "elsewhere": 2,
        "head": check_chain().looks[-1].hash,
        "num_lines": 6,
        "sound": True,
    }


def test_the_words_say_how_often_and_call_a_best_of_k_by_its_name():
    look("run-1", 0.90)
    assert words("run-1") == "selected on out-of-fold; test opened once"
    look("run-2", 0.92), look("run-3", 0.91)
    assert words("run-1") == "selected on out-of-fold; test opened 3 times by 3 runs"
    assert words("run-2") == (
        "selected on out-of-fold; test opened 3 times by 3 runs; best of 3 values seen of the test labels: kept after "
        "looking, such a value is too good on average"
    )
    look("run-4", 0.5, protocol="random")
    assert "(and opened once under other protocols or with other data)" in words("run-1")
    assert words("run-1", out_of_fold=False, protocol="none").startswith(
        "nothing out of fold to select on; test never opened (and opened 4 times"
    )


def test_the_best_is_the_smallest_where_that_is_better():
    for name, value in (("a", 0.3), ("b", 0.2), ("c", 0.4)):
        look(name, value, metric="log_loss")
    assert ["best of 3" in words(name) for name in "abc"] == [False, True, False]


def test_public_and_private_scores_are_not_mixed_with_own_looks():
    look("a", 0.9), look("b", 0.8, opened="public score"), look("a", 0.7, opened="public score")
    assert "best of" not in words("a")
    assert "best of 2 public scores seen" in words("b")


def write_ledger(num=4):
    for number in range(num):
        look(f"run-{number}", 0.5 + number / 100)
    return ledger_path(), ledger_path().read_bytes()


def fault_of(content, path):
    """The fault that is found in `content`, with the record of a run that was written after all lines."""
    use = use_of(**AT)
    path.write_bytes(content)
    found = check_chain({"run-9": use}).fault
    path.unlink()
    return found


@given(data=st.data())
def test_any_edit_of_a_byte_is_noticed(data):
    path, content = write_ledger()
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255))
    assume(content[at] != byte)
    assert fault_of(content[:at] + bytes([byte]) + content[at + 1 :], path)


@given(data=st.data())
def test_any_piece_that_is_taken_out_is_noticed(data):
    path, content = write_ledger()
    start = data.draw(st.integers(0, len(content) - 1))
    end = data.draw(st.integers(start + 1, len(content)))
    assert fault_of(content[:start] + content[end:], path)


@given(order=st.permutations(range(4)), keep=st.integers(0, 4), double=st.integers(0, 3))
def test_any_other_order_or_number_of_lines_is_noticed(order, keep, double):
    path, content = write_ledger()
    lines = content.splitlines(keepends=True)
    if order != [0, 1, 2, 3]:
        assert fault_of(b"".join(lines[k] for k in order), path)
    else:
        write_ledger()
    write_ledger()
    if keep < 4:
        assert fault_of(b"".join(lines[:keep]), path)
        write_ledger()
    assert fault_of(b"".join([*lines[: double + 1], *lines[double:]]), path)


def test_an_edit_is_noticed_without_any_record_and_the_paragraph_names_line_and_file():
    path, content = write_ledger()
    path.write_bytes(content.replace(b'"value": 0.51', b'"value": 0.41'))
    chain = check_chain()
    assert len(chain.looks) == 1
    assert chain.fault.startswith(f"Line 2 of the test-use ledger {path} does not have the hash of what it says:")
    assert "\n" not in chain.fault
    assert not use_of(**AT)["sound"]
    assert words("run-0").endswith(DOUBT)


def test_a_line_that_was_made_to_fit_breaks_the_one_behind_it():
    path, content = write_ledger()
    lines = content.splitlines()
    parts = json.loads(lines[1])
    del parts["hash"]
    forged = test_ledger._chained(parts | {"value": 0.1}).line.encode()
    path.write_bytes(b"\n".join([lines[0], forged, *lines[2:], b""]))
    assert check_chain().fault.startswith(f"Line 3 of the test-use ledger {path} does not follow the line before it")


def test_lines_cut_off_at_the_end_are_missed_by_the_record_that_names_them():
    path, content = write_ledger()
    use = use_of(**AT)
    path.write_bytes(b"".join(content.splitlines(keepends=True)[:2]))
    assert check_chain().sound  # two good lines
    fault = check_chain({"run-old": {}, "run-3": use}).fault
    assert "is not the one that the record of run-3 was written with: that names line 4" in fault
    assert "and the file has 2" in fault
    path.unlink()
    assert "and the file has 0" in check_chain({"run-3": use}).fault


def test_a_new_chain_in_place_of_the_old_one_is_noticed():
    path, _ = write_ledger()
    use = use_of(**AT)
    path.unlink()
    for number in range(6):
        look(f"other-{number}")
    assert "has another one in its place" in check_chain({"run-3": use}).fault


@pytest.mark.parametrize("number", ["abc", None, -6, True, 7, 1.0])
def test_a_record_that_names_no_line_of_the_chain_is_a_fault_and_no_crash(number):
    write_ledger()
    assert check_chain({"run-3": {"head": START, "num_lines": number}}).fault
    assert check_chain({"run-3": {"head": START, "num_lines": 0}}).sound


def test_the_runs_whose_test_labels_were_looked_at_are_counted_once_each_by_kind():
    look("a"), look("b"), look("a", 0.8), look("a", metric="log_loss"), look("gone", kind="fold-ensemble")
    look("c", opened="public score"), look("d", protocol="random"), look("e", data="fixed")
    look("f", kind="out-of-fold"), look("g", kind="out-of-fold")  # no look at a test, whoever wrote it down
    counts = {kind: looked_at(read_chain(), **AT, kind=kind) for kind in ("test", "fold-ensemble", "seed-ensemble")}
    assert counts == {"test": 2, "fold-ensemble": 1, "seed-ensemble": 1}  # the last: that of the run that asks
    assert looked_at(read_chain(), **AT, kind="out-of-fold") == 1


@pytest.mark.parametrize("kept", [0, 1], ids=["first line edited", "cut behind the first line"])
def test_the_best_of_five_that_tampers_with_the_ledger_is_no_plain_result(kept):
    for number, value in enumerate((0.5, 0.6, 0.7, 0.8, 0.9)):
        look(f"run-{number}", value)
    best = make_record("run-4", data={"fingerprint": "abc"}, test_use=use_of(**AT))
    write_record(best)
    assert "best of 5 values seen of the test labels" in selection_words(best, check_chain(uses_of_records()))
    path = ledger_path()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] if kept else b"".join([lines[0].replace(b"0.5", b"0.4"), *lines[1:]]))
    said = selection_words(best, check_chain(uses_of_records()))
    assert said == "nothing out of fold to select on; test opened 5 times when this run was recorded" + DOUBT
    silent = replace(best, test_use={})
    assert selection_words(silent, check_chain(uses_of_records())).endswith("is not recorded" + DOUBT)
    assert said.removeprefix("n") in write_report(best).read_text(encoding="utf-8")


def test_a_bad_file_among_the_runs_does_not_keep_the_ledger_from_being_checked():
    write_ledger()
    write_record(make_record("good", test_use=use_of(**AT)))
    for name, content in (("list", []), ("other", {**make_record("good").as_dict(), "test_use": "none"})):
        write_json(family("runs") / name / "record.json", content)
    assert uses_of_records() == {"good": use_of(**AT)}
    ledger_path().unlink()
    assert "the record of good" in check_chain(uses_of_records()).fault


def test_a_broken_chain_goes_on_and_stays_broken():
    path, content = write_ledger(2)
    path.write_bytes(b"rubbish\n" + content)
    new = look("run-9")
    assert new.n == 4
    assert len(path.read_bytes().splitlines()) == 4
    assert check_chain().fault.startswith("Line 1 of")


CUT_SHORT = """
import resource, signal, sys
from kit.judge.test_ledger import ledger_path, look
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
size = ledger_path().stat().st_size + 30
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
look(competition="toy", protocol="p", data="", run="killed", opened="test labels", kind="test", metric="m", value=1)
"""


def test_a_writer_killed_in_the_middle_of_a_line_leaves_a_usable_file():
    path, content = write_ledger(2)
    child = subprocess.run([sys.executable, "-c", CUT_SHORT], env=os.environ, check=False)
    assert child.returncode == -signal.SIGXFSZ  # the kernel's, in the middle of write()
    assert path.read_bytes()[: len(content)] == content
    chain = read_chain()
    assert (len(chain.looks), chain.torn, chain.sound) == (2, 30, True)
    said = []
    third = look("run-3", say=said.append)
    assert third.n == 3
    assert said == [
        "the last line of the test-use ledger was torn, 30 bytes: what wrote it was killed, and had shown no value "
        f"yet. It is kept in {path.with_suffix('.torn')}"
    ]
    assert path.with_suffix(".torn").read_bytes().startswith(b'{"n": 3, ')
    assert (len(check_chain().looks), check_chain().torn, check_chain().sound) == (3, 0, True)


def append_many(name, number):
    for k in range(number):
        look(name, k / 1000)


def test_two_processes_that_append_at_once_lose_nothing():
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_many, args=(f"run-{k}", 25)) for k in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    chain = check_chain()
    assert chain.sound
    assert sorted((one.run, one.value) for one in chain.looks) == sorted(
        (f"run-{k}", value / 1000) for k in range(2) for value in range(25)
    )


def test_a_ledger_that_cannot_be_written_is_said_before_any_value_is_shown(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "taken"))
    with pytest.raises(StorageError, match="a file stands where a folder is needed"):
        look()


def test_a_run_is_one_line_per_set_of_test_predictions_and_a_second_run_of_it_none(finished_toy):
    (record,) = all_records()
    chain = check_chain(uses_of_records())
    assert chain.sound
    assert [(one.kind, one.run) for one in chain.looks] == [
        ("test", record.run_id),
        ("fold-ensemble", record.run_id),
    ]
    values = {result.kind: result.scores["accuracy"].value for result in record.results}
    assert {one.kind: one.value for one in chain.looks} == {k: values[k] for k in ("test", "fold-ensemble")}
    assert record.test_use["head"] == chain.head
    assert (record.test_use["opened"], record.test_use["runs"]) == (2, 1)
    assert selection_words(record, chain) == "selected on out-of-fold; test opened 2 times"
    run(finished_toy, say=lambda line: None)
    (run_folder(record.run_id) / "record.json").unlink()
    run(finished_toy, say=lambda line: None)
    assert check_chain().looks == chain.looks


def test_a_record_of_elsewhere_speaks_for_itself(finished_toy):
    (record,) = all_records()
    (family("ledger") / "test-use.jsonl").unlink()
    assert (
        selection_words(record, check_chain())
        == "selected on out-of-fold; test opened 2 times when this run was recorded"
    )
