"""The check page: it stands alone, escapes everything, shows pictures of what it talks about, and caps long lists."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from textures import encoded, table_of, texture

from kit.board.check_page import MAX_PAIRS, write_check_page
from kit.quality.findings import Finding
from kit.quality.fixes import Fix, read_fixes

EVIL = "<script>alert('x')</script>"


@pytest.fixture
def page_of(tmp_path: Path):
    """Return a function: findings and a table's paths -> the page's text, with a picture behind each path."""

    def make(findings: list[Finding], paths: list[str], labels: list[str] | None = None, **options: object) -> str:
        for k, path in enumerate(paths):
            (tmp_path / path).write_bytes(encoded(texture(k)))
        table = table_of(paths, labels or ["cat"] * len(paths))
        page, _ = write_check_page(
            "toy", findings, table, data=tmp_path, fixes=tmp_path / "fixes.csv", folder=tmp_path / "board", **options
        )  # type: ignore[arg-type]
        return page.read_text(encoding="utf-8")

    return make


def test_the_page_stands_alone_and_shows_both_pictures_of_a_pair(page_of):
    pair = Finding(
        kind="duplicates-within",
        severity="warn",
        message="1 pair.",
        image_ids=("a", "b"),
        details={"pairs": [["a", "b", "near"]]},
    )
    text = page_of([pair], ["a.jpg", "b.jpg", "c.jpg"])
    pictures = re.findall(r'src="([^"]{0,40})', text)
    assert len(pictures) == 2 and all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert not re.search(r"https?://|<script|<link|@import|url\(", text)
    assert "duplicates within" in text and "Look at these" in text


def test_names_classes_and_messages_are_escaped(page_of):
    finding = Finding(
        kind="blank",
        severity="warn",
        message=EVIL,
        image_ids=("a&amp;<b>",),
        proposed=(Fix(image_id="a&amp;<b>", action="", why=EVIL),),
    )
    text = page_of([finding], ["a&amp;<b>.jpg"], labels=[EVIL])
    assert "<script" not in text and "<b>" not in text
    assert text.count("&lt;script&gt;") == 3 and "a&amp;amp;&lt;b&gt;" in text


def test_long_lists_are_cut_and_say_by_how_much(page_of):
    pairs = [["a", "b", "near"]] * (MAX_PAIRS + 1000)
    text = page_of([Finding(kind="x", severity="stop", message="m", details={"pairs": pairs})], ["a.jpg", "b.jpg"])
    assert text.count("<img") == 2 * MAX_PAIRS
    assert "and 1,000 more pairs" in text


def test_a_picture_that_cannot_be_read_leaves_a_place_with_words(page_of, tmp_path: Path):
    finding = Finding(kind="unreadable", severity="stop", message="m", image_ids=("a", "nowhere"))
    page_of([finding], ["a.jpg"])
    (tmp_path / "a.jpg").write_bytes(b"")
    table = table_of(["a.jpg"], ["cat"])
    page, _ = write_check_page("toy", [finding], table, data=tmp_path, fixes=tmp_path / "f", folder=tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("cannot be read") == 2 and "not in the table" in text and "<img" not in text


def test_clean_data_says_so(page_of):
    assert "Nothing was found." in page_of([], ["a.jpg"])


def test_the_proposal_beside_it_can_be_taken_over_once_every_action_is_decided(page_of, tmp_path: Path):
    findings = [
        Finding(kind="x", severity="warn", message="m", proposed=(Fix(image_id="a", action="drop", why="copy of b"),))
    ]
    doubtful = pd.DataFrame(
        {
            "image_id": ["b"],
            "label": ["cat"],
            "suggested": ["dog"],
            "probability_of_label": [0.1],
            "score": [0.05],
            "rank": np.array([1]),
        }
    )
    proposed = [Fix(image_id="b", action="", label="dog", why="doubtful"), Fix(image_id="a", action="", why="again")]
    text = page_of(findings, ["a.jpg", "b.jpg"], suspicious=doubtful, proposed=proposed)
    assert "rather <strong>dog</strong>?" in text and 'href="toy-fixes-proposed.csv"' in text
    proposal = tmp_path / "board" / "toy-fixes-proposed.csv"
    rows = proposal.read_text(encoding="utf-8").splitlines()
    assert rows == ["image_id,action,label,who,when,why", "a,drop,,,,copy of b", "b,,dog,,,doubtful"]
    proposal.write_text("\n".join(rows).replace("b,,", "b,relabel,"), encoding="utf-8")
    fixes = read_fixes(proposal, classes=("cat", "dog"))
    assert (fixes.dropped, fixes.relabelled) == ({"a"}, {"b": "dog"})
