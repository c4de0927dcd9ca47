"""The report of a run: one file with everything in it, honest where something is not there, safe with any words."""

import base64
import re
from dataclasses import replace

import numpy as np
import pytest
from test_compare import published, result, row, score
from test_page import HOSTILE, NETWORK, Tags, no_looks
from test_records import make_record

from kit.board.calibration import calibration_section
from kit.board.records import run_folder
from kit.board.report import PNG, report_page, write_report
from kit.interpret.section import Section, SectionFigure, SectionTable
from kit.judge.predict import Predictions, write_predictions

# One grey pixel.
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg==")
FIGURE = SectionFigure(png=PIXEL, alt="A grey pixel", caption="One pixel")
TABLE = SectionTable(caption="Losses", columns=("image", "loss"), rows=(("a.jpg", "3.20"), ("b.jpg", "0.50")))
SECTION = Section(key="top-losses", title="Top losses", intro="What went wrong.", tables=(TABLE,), figures=(FIGURE,))


def page(record, sections=(), baselines=None):
    return report_page(record, sections=sections, published=baselines, chain=no_looks())


def finished(**changes):
    return make_record("one", **{"network": NETWORK, "results": [result(score())], **changes})


def out_of_fold(folder, *, sure=0.9, num_images=200):
    """Write predictions of two classes, right in three of four, and always `sure` of it."""
    labels = ["cat" if k % 2 else "dog" for k in range(num_images)]
    right = np.arange(num_images) % 8 > 1
    first = np.where((np.array(labels) == "cat") == right, sure, 1 - sure)
    found = Predictions(
        kind="out-of-fold",
        image_ids=tuple(f"{k}.jpg" for k in range(num_images)),
        classes=("cat", "dog"),
        probabilities=np.stack([first, 1 - first], axis=1).astype(np.float32),
        labels=tuple(labels),
        folds=np.arange(num_images) // (num_images // 2),
    )
    path = folder / "predictions" / "out-of-fold.csv"
    write_predictions(path, found)
    return path


def test_the_report_is_one_file_in_the_runs_folder_that_loads_nothing():
    path = write_report(finished(), sections=[SECTION])
    assert path == run_folder("one") / "report.html"
    html = path.read_text(encoding="utf-8")
    for tag, attributes in Tags(html).found:
        assert "srcset" not in attributes
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert tag not in ("link", "iframe", "object")
    assert not re.search(r"@import|url\(", html)


def test_pictures_are_inside_with_words_for_those_who_do_not_see_them():
    html = page(finished(), [SECTION])
    (picture,) = re.findall(r'<img src="data:image/png;base64,([^"]*)" alt="A grey pixel">', html)
    assert base64.b64decode(picture) == PIXEL
    assert PIXEL.startswith(PNG)
    assert "<figcaption><bdi>One pixel</bdi></figcaption>" in html


def test_a_section_has_its_tables_and_a_link_from_the_contents():
    html = page(finished(), [SECTION])
    assert '<a href="#section-top-losses"><bdi>Top losses</bdi></a>' in html
    assert '<h2 id="section-top-losses"><bdi>Top losses</bdi></h2>' in html
    assert "<caption>Losses</caption>" in html
    assert '<td class="n"><bdi>3.20</bdi></td>' in html  # a number as text stands to the right as well


def test_verdicts_are_in_words_and_the_fields_that_differ_are_named():
    rows = [row(method="Close", value=0.905), row(id="b", method="Probe", adaptation="linear-probe")]
    html = page(finished(), baselines=published(*rows))
    assert "not distinguishable" in html
    assert "adaptation: ours trained, theirs linear-probe" in html
    assert "Not comparable: 1 published, with the fields that differ" in html


def test_what_the_record_does_not_state_is_said():
    one = replace(result(), conditions=replace(result().conditions, pretraining_group=None))
    html = page(finished(results=[one]), baselines=published(row()))
    assert "<dt>pre-training</dt><dd><bdi>not stated</bdi></dd>" in html
    assert "Not stated of this run: pre-training" in html


def test_test_use_cost_recipe_and_versions_are_told():
    html = page(finished(test_use={"opened": 3}))
    assert "test opened 3 times when this run was recorded" in html
    assert "<dt>train minutes</dt><dd><bdi>0.1</bdi></dd>" in html
    assert "&quot;image_size&quot;: 32" in html
    assert "<dt>python</dt><dd><bdi>3.11</bdi></dd>" in html


def test_hostile_sections_stay_words():
    hostile = Section(
        key=HOSTILE,
        title=HOSTILE,
        intro=HOSTILE,
        tables=(SectionTable(caption=HOSTILE, columns=(HOSTILE,), rows=((HOSTILE,),)),),
        figures=(SectionFigure(png=PIXEL, alt=HOSTILE, caption=HOSTILE),),
    )
    html = page(finished(title=HOSTILE), [hostile])
    assert HOSTILE not in html
    found = Tags(html).found
    assert [tag for tag, _ in found].count("script") == 1  # our own
    assert [tag for tag, _ in found].count("img") == 1
    assert not [key for _, attributes in found for key in attributes if key.startswith("on")]
    keys = [attributes["id"] for _, attributes in found if "id" in attributes]
    assert len(keys) == len(set(keys))


def test_calibration_is_measured_on_the_runs_own_out_of_fold_predictions(tmp_path):
    # Always 0.9 sure and right in 3 of 4: the distance is 0.15, and the best temperature takes 0.9 to 0.75,
    # whose odds are 9 and 3: ln 9 / ln 3 = 2.
    section = calibration_section(out_of_fold(tmp_path))
    rows = section.tables[0].rows
    assert rows[0][1] == pytest.approx(0.15, abs=1e-6)
    assert rows[1][1] == pytest.approx(0.0, abs=1e-3)
    assert "The temperature 2.000" in section.intro
    assert section.figures[0].png.startswith(PNG)
    write_predictions_of_the_run = out_of_fold(run_folder("one"))
    assert write_predictions_of_the_run.is_file()
    assert "What a temperature changes, out of fold" in write_report(finished()).read_text(encoding="utf-8")


def test_without_out_of_fold_predictions_the_report_says_how_to_have_calibration():
    html = write_report(finished()).read_text(encoding="utf-8")
    assert "Calibration is measured out of fold, and this run has no such predictions here." in html


def test_predictions_that_cannot_be_read_are_named_and_the_report_is_written(tmp_path):
    path = tmp_path / "out-of-fold.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "cannot be read" in calibration_section(path).intro
    path.write_text("image_id,label\n1,cat\n", encoding="utf-8")
    assert calibration_section(path).intro
