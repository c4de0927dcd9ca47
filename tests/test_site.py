"""The site: made from records on disk, again only where something changed, and by no single file taken down."""

import json
import re
from dataclasses import replace

from test_compare import result, score
from test_page import HOSTILE, NETWORK, Tags, record
from test_records import make_record
from typer.testing import CliRunner

from kit.board.records import write_record
from kit.board.site import write_site
from kit.home import family, write_json, write_text
from kit.judge.test_ledger import ledger_path, look


def written(folder):
    """Write the site of this test's runs alone: the kit's own competitions and published runs would take long."""
    return write_site(folders=[family("runs")], competitions={}, folder=folder)


def finished(run_id, value, **changes):
    """Write the record of a finished run of this machine."""
    one = record(run_id, value, **changes)
    write_record(one)
    return one


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.html")}


def test_every_competition_and_every_run_has_a_page_that_can_be_reached_from_the_index(tmp_path):
    finished("one", 0.9)
    finished("two", 0.8)
    finished("three", 0.8, competition="other", title="Other")
    site = written(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")} == {
        "index.html",
        "toy.html",
        "toy/one.html",
        "toy/two.html",
        "other.html",
        "other/three.html",
    }
    assert set(site.pages) == {"toy", "other"}
    for page in tmp_path.rglob("*.html"):
        for _, attributes in Tags(page.read_text(encoding="utf-8")).found:
            for key in ("href", "src"):
                address = attributes.get(key, "")
                if address and not address.startswith(("#", "https://")):
                    assert (page.parent / address).resolve().is_file(), (page, address)


def test_pages_of_what_did_not_change_are_left_as_they_are(tmp_path):
    finished("one", 0.9)
    finished("three", 0.8, competition="other", title="Other")
    assert set(written(tmp_path).made) == {"toy", "other"}
    before = times(tmp_path)
    assert written(tmp_path).made == ()
    finished("two", 0.7)
    assert written(tmp_path).made == ("toy",)
    after = times(tmp_path)
    assert after["other.html"] == before["other.html"] and after["three.html"] == before["three.html"]
    assert "two.html" in after
    assert re.search(r"2 competitions, 3 runs of ours", (tmp_path / "index.html").read_text(encoding="utf-8"))


def test_a_page_that_was_lost_is_made_again_and_a_run_that_is_gone_has_none(tmp_path):
    finished("one", 0.9)
    finished("two", 0.8)
    written(tmp_path)
    (tmp_path / "toy.html").unlink()
    assert written(tmp_path).made == ("toy",)
    (family("runs") / "two" / "record.json").unlink()
    written(tmp_path)
    assert not (tmp_path / "toy" / "two.html").exists()
    assert "two.html" not in (tmp_path / "toy.html").read_text(encoding="utf-8")


def broken_files():
    good = record("good", 0.9).as_dict()

    def changed(run_id, **changes):
        return json.dumps({**good, "run_id": run_id, **changes}).encode()

    def scored(run_id, **changes):
        (one,) = good["results"]
        scores = {"accuracy": {**one["scores"]["accuracy"], **changes}}
        return changed(run_id, results=[{**one, "scores": scores}])

    endless = json.loads(json.dumps(good).replace(" 0.9,", " NaN,"))
    return {
        "torn": b'{"schema_version": 1, "run_id": "x", ',
        "no-text": b"\xff\xfe\x00",
        "a-list": b"[]",
        "deep": b"[" * 100_000,
        "no-run-id": json.dumps({"schema_version": 1}).encode(),
        "newer": json.dumps({**good, "run_id": "newer", "schema_version": 99}).encode(),
        "no-number": json.dumps({**endless, "run_id": "no-number"}).encode(),
        "no-date": json.dumps({**good, "run_id": "no-date", "created_at": "yesterday"}).encode(),
        "other-tables": json.dumps({**good, "run_id": "other-tables", "recipe": {"input": "none"}}).encode(),
        "no-such-metric": json.dumps({**good, "run_id": "no-such-metric"})
        .replace('"accuracy"', '"no_such_metric"')
        .encode(),
        "extra-key": changed("extra-key", results=[{**good["results"][0], "kind": 3}]),
        "minutes": changed("minutes", cost={"train_minutes": "x"}),
        "blend": changed("blend", recipe={"blend": {}}),
        "weights": changed("weights", recipe={"blend": {"weights": 3}}),
        "line": changed("line", test_use={"head": "0", "num_lines": "abc"}),
        "endless": scored("endless", low=-1e308, high=1e308),
        "inside-out": scored("inside-out", low=0.95),
        "turned": scored("turned", metric="error_rate"),
        "elsewhere": changed("../../../elsewhere"),
        "parent": changed(".."),
        "a-good-one": changed("good"),  # read before the run whose id it has
        "unforeseen": changed("unforeseen", cost={"train_minutes": 10**400}),
    }


def test_a_file_that_is_no_record_is_left_out_and_named_and_all_others_are_shown(tmp_path):
    finished("good", 0.9)
    for key, content in broken_files().items():
        place = family("runs") / key / "record.json"
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
    site = written(tmp_path)
    assert {one.path.split("/")[-2] for one in site.left_out} == set(broken_files())
    why = {one.path.split("/")[-2]: one.why for one in site.left_out}
    assert all(why.values())
    for key, table in (("minutes", "cost.train_minutes"), ("blend", "recipe.blend.weights"), ("line", "num_lines")):
        assert table in why[key]  # known before any page is made
    assert why["unforeseen"].startswith("no page can be made of it (OverflowError: ")
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "1 run of ours" in index
    assert all(f"/{key}/record.json</code>: " in index for key in broken_files())
    assert "Left out" in (tmp_path / "toy.html").read_text(encoding="utf-8")
    assert written(tmp_path).left_out == site.left_out  # also of pages that were left as they are


def test_names_from_outside_write_no_file_outside_the_site(tmp_path):
    names = ["../../escaped", "/etc/x", "a/b", "..", "index", "assets", "CON", "x" * 300, HOSTILE, "\ud800"]
    for number, one in enumerate(names):
        run_id = re.sub(r"[/\0]", "", one) + str(number)
        content = json.dumps(record(run_id, 0.9, competition=one, title=one).as_dict())
        write_text(tmp_path / "records" / f"{number}.json", content)
    folder = tmp_path / "site"
    site = write_site(folders=[tmp_path / "records"], competitions={}, folder=folder)
    assert (set(site.pages), site.left_out) == (set(names), ())
    assert all(page.is_file() and page.parent == folder for page in [*site.pages.values(), site.index])
    assert {path.name for path in (folder / "assets").iterdir()} == {"site.css", "site.js"}
    assert {path.name for path in tmp_path.iterdir() if path.name != "kit-home"} == {"records", "site"}


def test_a_run_that_is_called_like_the_report_of_another_one_has_a_page_of_its_own(tmp_path):
    finished("abc", 0.9)
    finished("report-abc", 0.8)
    write_text(family("runs") / "abc" / "report.html", "<h1>the report</h1>")
    written(tmp_path)
    assert (tmp_path / "toy" / "report-abc.html").read_text(encoding="utf-8") == "<h1>the report</h1>"
    address = re.search(r'href="(toy/[^"]*)"><bdi>report-abc</bdi>', (tmp_path / "toy.html").read_text("utf-8"))[1]
    assert "<h1><bdi>report-abc</bdi></h1>" in (tmp_path / address).read_text(encoding="utf-8")


def test_without_a_run_the_index_says_so(tmp_path):
    assert "No run yet." in written(tmp_path).index.read_text(encoding="utf-8")


def test_a_sweep_and_a_report_become_pages_of_the_site(tmp_path):
    finished("one", 0.9)
    study = family("studies") / "lr"
    write_text(study / "page.html", "<h1>the sweep</h1>")
    verdict = {"verdict": "Tuning helped."}
    write_json(study / "study-result.json", {"slug": "toy", "name": "lr", "comparison": verdict})
    write_text(family("runs") / "one" / "report.html", "<h1>the report</h1>")
    written(tmp_path)
    assert (tmp_path / "toy" / "sweep-lr.html").read_text(encoding="utf-8") == "<h1>the sweep</h1>"
    assert (tmp_path / "toy" / "report-one.html").read_text(encoding="utf-8") == "<h1>the report</h1>"
    assert "Tuning helped." in (tmp_path / "toy.html").read_text(encoding="utf-8")
    assert 'href="report-one.html"' in (tmp_path / "toy" / "one.html").read_text(encoding="utf-8")
    write_text(family("runs") / "one" / "report.html", "<h1>another report</h1>")
    assert written(tmp_path).made == ("toy",)


def test_a_torn_result_of_a_sweep_takes_nothing_down(tmp_path):
    finished("one", 0.9)
    write_text(family("studies") / "lr" / "study-result.json", '{"slug": "to')
    assert set(written(tmp_path).pages) == {"toy"}


def test_pages_say_how_often_the_test_was_opened_and_a_changed_ledger_is_announced(tmp_path):
    finished("one", 0.9)
    seen = {"competition": "toy", "protocol": "official", "data": "f", "run": "one", "opened": "test labels"}
    look(**seen, kind="test", metric="accuracy", value=0.9)
    written(tmp_path)
    assert "test opened once" in (tmp_path / "toy" / "one.html").read_text(encoding="utf-8")
    assert "Test use." not in (tmp_path / "index.html").read_text(encoding="utf-8")
    ledger = ledger_path()
    ledger.write_text(ledger.read_text(encoding="utf-8").replace("0.9", "0.8"), encoding="utf-8")
    assert written(tmp_path).made == ("toy",)
    assert "Test use." in (tmp_path / "index.html").read_text(encoding="utf-8")
    doubt = "the ledger was changed, so that there may have been more, and better ones."
    assert doubt in (tmp_path / "toy" / "one.html").read_text(encoding="utf-8")
    ledger.unlink()
    finished("two", 0.8, test_use={"opened": 1, "head": "a" * 64, "num_lines": 1})  # a line that is gone
    written(tmp_path)
    assert doubt in (tmp_path / "toy" / "two.html").read_text(encoding="utf-8")


def test_the_index_shows_our_best_result_with_its_interval_and_metric(tmp_path):
    finished("worse", 0.6)
    finished("better", 0.9)
    index = written(tmp_path).index.read_text(encoding="utf-8")
    assert "<strong>0.9000</strong><small>accuracy</small><small>[0.8800, 0.9200]</small>" in index
    assert "0.6000" not in index


def test_of_a_run_several_results_are_shown_with_their_intervals_and_the_confused_pairs(tmp_path):
    results = [
        replace(result(score(), score("mean_per_class_accuracy", 0.8)), confused=[("red", "blue", 2)]),
        replace(result(score(value=0.7)), kind="out-of-fold", protocol="five-fold"),
    ]
    write_record(make_record("one", results=results, network=NETWORK, folds={"num_folds": 5, "fingerprint": ""}))
    written(tmp_path)
    html = (tmp_path / "toy" / "one.html").read_text(encoding="utf-8")
    assert "five-fold: out of fold, 5 folds" in html
    assert "[0.7800, 0.8200]" in html and "[0.6800, 0.7200]" in html
    assert "<li><bdi>red</bdi> taken for <bdi>blue</bdi>: 2</li>" in html


def test_the_command_prints_the_index_and_says_what_is_left_out():
    from kit.cli.main import app

    finished("good", 0.9)
    place = family("runs") / "torn" / "record.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"{")
    done = CliRunner().invoke(app, ["board"])
    assert done.exit_code == 0, done.output
    assert str(family("board") / "index.html") in done.stdout
    assert "torn/record.json" in done.stderr
