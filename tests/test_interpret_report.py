"""Figures and sections: what a report says of a finished run, and what it says where something is gone."""

import io
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from kit.board.records import all_records
from kit.errors import ConfigError, DataError
from kit.home import family
from kit.interpret.cases import top_losses
from kit.interpret.confusion import Confusion, confusion
from kit.interpret.drawing import both_shortened, png_of, shortened
from kit.interpret.embedding import EmbeddingMap
from kit.interpret.interpretation import Interpretation, interpret
from kit.interpret.plots import plot_cases
from kit.interpret.plots_confusion import plot_confusion, plot_table
from kit.interpret.plots_network import plot_embedding
from kit.interpret.report import report_sections
from kit.interpret.section import SectionTable
from kit.interpret.tables import class_table
from kit.judge.predict import Predictions

HOSTILE = (
    "<script>alert(1)</script>",
    "$\\frac{1}{0}$ and $",
    "a\nb\x00\x1b[31m",
    "\u202eright to left \u05d0\u05d1",
    "very long " * 30,
    "\u732b",
    "",
)


def hostile_predictions():
    number = len(HOSTILE)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(number), size=3 * number).astype(np.float32)
    return Predictions(
        kind="test",
        image_ids=tuple(f"{name} {k}" for k, name in enumerate(HOSTILE * 3)),
        classes=tuple(name or "empty" for name in HOSTILE),
        probabilities=probabilities,
        labels=tuple(name or "empty" for name in HOSTILE * 3),
        folds=np.full(3 * number, -1),
    )


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel()] + [label.get_text() for label in axes.get_yticklabels()]
    return found


def grey(image_id):
    return np.full((12, 16, 3), 90, dtype=np.uint8)


def size_of(png):
    with Pillow.open(io.BytesIO(png)) as picture:
        picture.load()
        assert picture.format == "PNG"
        return picture.size


def test_a_sheet_of_top_losses_has_prediction_actual_loss_and_probability_over_each_image():
    predictions = Predictions(
        kind="test",
        image_ids=("Ragdoll_12",),
        classes=("Birman", "Ragdoll"),
        probabilities=np.array([[0.75, 0.25]], dtype=np.float32),
        labels=("Ragdoll",),
        folds=np.array([-1]),
    )
    figure = Interpretation(predictions, grey).plot_top_losses(9, figsize=(15, 11))
    assert figure.get_size_inches().tolist() == [15, 11]
    (axes,) = figure.axes
    assert axes.get_title() == "Birman / Ragdoll\n1.39 / 0.25"
    assert axes.get_xlabel() == "Ragdoll_12"
    assert figure.get_suptitle() == "prediction/actual/loss/probability of actual class"


def test_a_sheet_of_no_images_says_so():
    assert "There is no such image." in texts(plot_cases((), grey))


def test_hostile_names_are_drawn_as_they_are_without_a_warning():
    predictions = hostile_predictions()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in (
            plot_cases(top_losses(predictions, 21), grey),
            plot_confusion(confusion(predictions)),
            plot_table(class_table(predictions)),
        ):
            width, height = size_of(png_of(figure, dpi=40))
            assert width > 100 and height > 100


def test_long_names_keep_both_ends_and_a_dollar_begins_no_formula():
    assert shortened("staffordshire_bull_terrier", 12) == "staffo…rrier"
    assert shortened("pug", 12) == "pug"
    assert both_shortened("pug", "staffordshire_bull_terrier", 60) == "pug / staffordshire_bull_terrier"
    assert both_shortened("pug", "staffordshire_bull_terrier", 20) == "pug / staffor…errier"
    assert shortened("$x$", 12) == r"\$x\$"
    assert len(shortened("x" * 1000, 5)) == 5


def test_a_sheet_of_photographs_in_256_colours_keeps_the_white_of_the_page():
    figure = plot_cases(
        top_losses(hostile_predictions(), 3), lambda _: np.arange(768).reshape(16, 16, 3).astype(np.uint8)
    )
    with Pillow.open(io.BytesIO(png_of(figure, photographs=True))) as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_of_hundreds_of_classes_the_matrix_shows_those_with_the_most_wrong_answers():
    num = 200
    actual = np.arange(num).repeat(2)
    answered = actual.copy()
    answered[::2][:3] = [7, 7, 7]  # 0, 1 and 2 are taken for 7
    probabilities = np.eye(num, dtype=np.float32)[answered]
    predictions = Predictions(
        kind="test",
        image_ids=tuple(map(str, range(2 * num))),
        classes=tuple(f"class {k}" for k in range(num)),
        probabilities=probabilities,
        labels=tuple(f"class {k}" for k in actual),
        folds=np.full(2 * num, -1),
    )
    figure = plot_confusion(confusion(predictions), max_classes=4)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"class {k}" for k in (0, 1, 2, 7)]
    assert "the 4 of 200 classes with the most wrong answers" in figure.axes[0].get_title()


def drawn_matrix(counts):
    """Draw a matrix of counts; give the luminance of each cell as drawn, by WCAG, and the texts in the cells."""
    counts = np.array(counts)
    names = tuple(f"class {k}" for k in range(len(counts)))
    figure = plot_confusion(Confusion(classes=names, counts=counts, values=counts.astype(float), normalise="none"))
    picture = figure.axes[0].images[0]
    colours = picture.to_rgba(picture.get_array())[..., :3]
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722), figure.axes[0].texts


def test_a_handful_of_mistakes_of_two_classes_is_nothing_like_hundreds_of_right_answers():
    luminance, _ = drawn_matrix([[300, 5], [2, 280]])
    assert luminance[0, 0] < luminance[1, 1] < 0.1 and luminance[1, 0] > luminance[0, 1] > 0.6


def test_a_single_mistake_beside_a_hundred_right_answers_is_told_from_none():
    luminance, _ = drawn_matrix([[100, 1, 0], [0, 100, 0], [0, 4, 100]])
    assert luminance[0, 2] - luminance[0, 1] > 0.1 < luminance[0, 1] - luminance[2, 1]


def test_the_number_in_a_cell_is_readable_whatever_the_colour():
    luminance, texts = drawn_matrix(np.arange(1, 122).reshape(11, 11))
    assert len(texts) == 121
    for text in texts:
        column, row = text.get_position()
        lighter, darker = sorted((luminance[row, column], {"white": 1, "black": 0}[text.get_color()]), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, 1.4.3, for small text


def test_a_matrix_of_no_images_is_drawn():
    luminance, texts = drawn_matrix([[0, 0], [0, 0]])
    assert (luminance > 0.9).all() and len(texts) == 0


def test_the_map_rings_wrong_answers_and_counts_them():
    found = EmbeddingMap(
        image_ids=("a", "b", "c"),
        points=np.array([[0, 0], [1, 1], [2, 0]], dtype=np.float32),
        actual=("cat", "cat", "dog"),
        predicted=("cat", "dog", "dog"),
        explained=0.9,
    )
    (axes,) = plot_embedding(found).axes
    assert axes.get_legend().get_texts()[0].get_text() == "wrong answers (1 of 3)"


def test_names_of_classes_that_lie_on_one_another_are_moved_apart_on_the_map():
    names = [f"a rather long name {k}" for k in range(6)]
    random = np.random.default_rng(0)
    points = np.concatenate([random.normal(size=(60, 2)), [[-9, -9], [9, 9]]]).astype(np.float32)
    actual = (*names * 10, "far", "away")
    figure = plot_embedding(
        EmbeddingMap(
            image_ids=tuple(map(str, range(62))), points=points, actual=actual, predicted=actual, explained=0.9
        )
    )
    png_of(figure)  # lays it out
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 8
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])


def test_an_interpretation_without_images_or_networks_says_what_it_needs():
    found = Interpretation(hostile_predictions())
    assert len(found.most_uncertain(4)) == 4
    with pytest.raises(DataError, match="came without images"):
        found.plot_top_losses()
    with pytest.raises(DataError, match="without the networks"):
        found.show_filters()


def record():
    (one,) = all_records(family("runs"))
    return one


def test_a_finished_run_is_interpreted_out_of_fold_by_the_networks_that_answered(finished_toy):
    found = interpret(record().run_id)
    assert found.predictions.kind == "out-of-fold"
    cases = found.top_losses(4)
    maps = found.attention(cases)
    assert [one.case for one in maps] == list(cases)
    assert {case.fold for case in found.top_losses(99)} == {0, 1}
    stages, views, image_ids = found.strongest_patches(fold=1)
    folds = dict(zip(found.predictions.image_ids, found.predictions.folds, strict=True))
    assert {folds[one] for one in image_ids} == {1}
    assert len(views) == len(image_ids) and stages
    with pytest.raises(ConfigError, match="of the folds 0, 1, and of no fold 7"):
        found.show_filters(fold=7)
    assert interpret(record().run_id, kind="test").predictions.kind == "test"


def test_the_report_has_all_sections_with_pictures_that_open_and_say_what_they_show(finished_toy):
    sections = report_sections(record())
    keys = [section.key for section in sections]
    assert keys == ["top-losses", "confusion", "classes", "sure-and-unsure", "attention", "filters", "patches", "map"]
    for section in sections:
        assert section.title and section.intro and "\n" not in section.intro
        for figure in section.figures:
            assert min(size_of(figure.png)) > 100 and figure.alt and figure.caption
    assert all(section.figures for section in sections)
    ids = {row[0] for row in sections[0].tables[0].rows}
    assert ids <= set(interpret(record().run_id).predictions.image_ids)


def test_without_the_data_the_tables_are_there_and_a_sentence_says_what_is_missing(finished_toy):
    shutil.rmtree(family("data"))
    by_key = {section.key: section for section in report_sections(record())}
    assert by_key["top-losses"].tables[0].rows and not by_key["top-losses"].figures
    assert "cannot be shown" in by_key["top-losses"].intro and "kit prepare toy --source local" in by_key["map"].intro
    assert by_key["confusion"].figures and by_key["filters"].figures


def test_without_the_checkpoints_only_what_needs_them_is_missing(finished_toy):
    for path in family("runs").glob("*/models/*/last.safetensors"):
        path.unlink()
    by_key = {section.key: section for section in report_sections(record())}
    assert by_key["top-losses"].figures
    for key in ("attention", "filters", "patches", "map"):
        assert "is not on this machine, or its file is damaged" in by_key[key].intro
        assert not by_key[key].figures


def test_of_a_run_of_another_machine_the_report_is_one_sentence_without_paths(finished_toy):
    one = record()
    for folder in family("runs").glob("*/predictions"):
        shutil.rmtree(folder)
    (section,) = report_sections(one)
    assert "There is nothing to interpret" in section.intro
    assert str(family("runs")) not in section.intro


def test_a_row_of_a_table_has_a_cell_for_each_column():
    with pytest.raises(AssertionError):
        SectionTable(caption="", columns=("a", "b"), rows=(("only one",),))


def test_groups_of_several_images_get_a_section_of_their_own(finished_toy):
    path = next(family("tables").glob("*/*/samples.csv"))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    path.unlink()  # a hard link to what other tests read
    table.assign(group="film of " + table["label"]).to_csv(path, index=False)
    (section,) = [one for one in report_sections(record(), with_network=False) if one.key == "groups"]
    assert {row[0] for row in section.tables[0].rows} == {"film of red", "film of green", "film of blue"}
    assert {row[1] for row in section.tables[0].rows} == {6}


def test_images_in_a_folder_of_ones_own_are_shown_where_they_lie(tmp_path, monkeypatch):
    from toys import toy_images, write_files

    from kit.cli.new import new
    from kit.run import run

    data = write_files(tmp_path / "data", toy_images(("red", "green"), 8))
    new("colours", from_=data, to=tmp_path / "mine")
    monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "mine"))
    overrides = ["model.name=test_resnet", "schedule.epochs=1", "input.image_size=32", "num_folds=2"]
    _, record = run("colours", protocol="five-fold", overrides=overrides, say=lambda line: None)
    found = interpret(record.run_id)
    assert found.images(found.predictions.image_ids[0]).shape[2] == 3
