"""The look: the pictures are those that the network sees, of images spread over all classes, and names stay names."""

import base64
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from kit.cli.look import look
from kit.config import AugmentConfig
from kit.data.augment import central_view, training_view
from kit.data.look import CELL, Views, choose, write_look
from kit.data.samples import Samples
from kit.errors import ConfigError, DataError
from kit.store.pack import Pack

CHROMIUM = Path("/usr/bin/chromium")
SIDE = 24
HOSTILE = '<script>alert("x")</script>&\'"'
VIEWS = Views(augment=AugmentConfig(), image_size=SIDE, crop_share=1.0, seed=3, num_epochs=4)


def toy(classes, per_class, folder=Path()):
    """Return samples and pack of noise images, `per_class` of each class, named <class>/<k>."""
    ids = [f"{name}/{k}" for name in classes for k in range(per_class)]
    labels = [name for name in classes for _ in range(per_class)]
    table = pd.DataFrame({"image_id": ids, "label": labels, "path": ids, "split": "train"})
    num_bytes = 32 * 40 * 3
    pack = Pack(
        pixels=np.random.default_rng(0).integers(0, 256, size=len(ids) * num_bytes, dtype=np.uint8),
        offsets=np.arange(len(ids) + 1) * num_bytes,
        shapes=np.tile([32, 40], (len(ids), 1)),
        row_of={image_id: row for row, image_id in enumerate(ids)},
        folder=folder,
    )
    return Samples(table=table, folder=folder, classes=tuple(classes)), pack


class Page(HTMLParser):
    """What a browser would show: the pictures with their texts, the names of all tags, and the words."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.pictures, self.words = set(), [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))

    def handle_data(self, data):
        self.words += data


def decoded(picture):
    data = np.frombuffer(base64.b64decode(picture["src"].partition(",")[2]), dtype=np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def test_the_page_shows_the_stored_image_and_the_views_of_evaluation_and_training(tmp_path):
    samples, pack = toy(["cat"], 1)
    _, page = write_look(samples, pack, title="Toy", views=VIEWS, folder=tmp_path)
    stored = pack.image(0)
    trained = training_view(VIEWS.augment, image_size=SIDE, seed=3)
    expected = [
        stored,
        *central_view(image_size=SIDE, crop_share=1.0)([stored], ["cat/0"], 0),
        *(trained([stored], ["cat/0"], epoch)[0] for epoch in (1, 2, 3, 4)),
    ]
    shown = Page(page.read_text(encoding="utf-8")).pictures
    assert [picture["alt"] for picture in shown[1:3]] == ["cat, cat/0, evaluation", "cat, cat/0, training, epoch 1"]
    assert all(np.array_equal(decoded(picture), image) for picture, image in zip(shown, expected, strict=True))


def test_the_sheet_has_the_same_pictures_beside_each_other(tmp_path):
    samples, pack = toy(["cat", "dog"], 1)
    views = Views(augment=AugmentConfig(), image_size=CELL, crop_share=1.0, seed=3, num_epochs=2)
    sheet, _ = write_look(samples, pack, title="Toy", views=views, folder=tmp_path)
    picture = cv2.imread(str(sheet), cv2.IMREAD_COLOR_RGB)
    trained = training_view(views.augment, image_size=CELL, seed=3)
    for row, image_id in enumerate(["cat/0", "dog/0"]):
        for epoch in (1, 2):
            (view,) = trained([pack.image(row)], [image_id], epoch)  # CELL pixels a side: pasted as it is
            assert contains(picture, view), (image_id, epoch)


def contains(picture, part):
    found = cv2.matchTemplate(picture, part, cv2.TM_SQDIFF)
    _, _, (x, y), _ = cv2.minMaxLoc(found)
    return np.array_equal(picture[y : y + part.shape[0], x : x + part.shape[1]], part)


def test_names_of_other_people_stay_text(tmp_path):
    samples, pack = toy([HOSTILE, "a\nb\x1b[31m", "猫" * 80], 1)
    sheet, page = write_look(samples, pack, title=HOSTILE, views=VIEWS, folder=tmp_path)
    html = page.read_text(encoding="utf-8")
    shown = Page(html)
    assert "script" not in shown.tags and HOSTILE in shown.words
    assert any(picture["alt"].startswith(HOSTILE) for picture in shown.pictures)
    # It asks nothing of anybody.
    assert all(picture["src"].startswith("data:image/") for picture in shown.pictures)
    assert not shown.tags & {"a", "link", "iframe", "object"} and "url(" not in html and "@import" not in html
    assert sheet.stat().st_size > 0


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_browser_the_page_is_no_wider_than_the_window(tmp_path):
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    samples, pack = toy(["cat", "dog" * 30], 1)
    views = replace(VIEWS, num_epochs=5, augment=AugmentConfig(transforms=({"name": "Blur", "p": 1.0},) * 4))
    _, file = write_look(samples, pack, title="Toy", views=views, folder=tmp_path)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1100, "height": 800})
        page.goto(file.as_uri())
        assert page.evaluate("document.querySelector('.wide').scrollWidth") <= 1100
        widths = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().width)")
        assert len(widths) == 14 and all(80 < width < 160 for width in widths)
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390  # the table scrolls, the page does not
        chromium.close()


@given(num_classes=st.integers(1, 50), cap=st.integers(1, 50), per_class=st.integers(1, 3))
def test_rows_are_spread_over_all_classes_and_no_image_comes_twice(num_classes, cap, per_class):
    names = [f"class-{k:02d}" for k in range(num_classes)]
    samples, pack = toy(names, 2)
    chosen = choose(samples.train, samples.classes, pack, num_classes=cap, per_class=per_class)
    shown = list(dict.fromkeys(name for name, _ in chosen))
    assert len(shown) == min(cap, num_classes) and shown == sorted(shown)
    assert shown[0] == names[0] and (len(shown) == 1 or shown[-1] == names[-1])
    assert len(set(chosen)) == len(chosen) == len(shown) * min(per_class, 2)
    assert all(image_id.startswith(name) for name, image_id in chosen)


def test_an_image_of_several_classes_can_stand_for_each():
    samples, pack = toy(["cat", "dog"], 1)
    table = samples.train.assign(label=["cat + dog", "dog"])
    assert choose(table, ("cat", "dog"), pack, num_classes=9, per_class=1)[0] == ("cat", "cat/0")


def test_images_without_pixels_and_classes_without_images_are_passed_over(tmp_path):
    samples, pack = toy(["cat", "dog"], 1)
    without = pd.concat([samples.table, samples.table.assign(image_id=["lost/0", "lost/1"])], ignore_index=True)
    chosen = choose(without, ("bird", "cat", "dog"), pack, num_classes=9, per_class=9)
    assert chosen == [("cat", "cat/0"), ("dog", "dog/0")]
    nothing = Samples(table=samples.table.iloc[:0], folder=Path(), classes=("cat",))
    with pytest.raises(DataError, match="no training image"):
        write_look(nothing, pack, title="Toy", views=VIEWS, folder=tmp_path)


def test_the_command_looks_at_a_competition_and_says_where_the_pictures_are(toy_competition, tmp_path):
    app = typer.Typer()
    app.command()(look)
    more = ["--set", 'augment.transforms=[{name = "Blur", p = 1.0}]', "--classes", "2", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [toy_competition(), *more], catch_exceptions=False)
    assert done.exit_code == 0
    assert str(tmp_path / "out" / "sheet.png") in done.stdout
    page = Page((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert len(page.pictures) == 2 * 7  # stored, evaluation, five epochs
    assert "2 of 3 classes" in page.words and "Plain colours" in page.words
    lines = page.words.splitlines()  # the settings as a recipe has them
    assert "image_size = 32" in lines and 'transforms = [{name = "Blur", p = 1.0}]' in lines

    wrong = ["--set", 'augment.transforms=[{name = "Blurr"}]']
    refused = CliRunner().invoke(app, ["toy", *wrong])
    assert isinstance(refused.exception, ConfigError) and "'Blur'" in str(refused.exception)
