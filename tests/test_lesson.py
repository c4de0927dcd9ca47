"""The code of fast.ai's first lesson (course v3, 2019), line by line, on real images.

Only the imports, the networks with their weights, and the number and size of the images are other ones, for a machine
with two cores and without internet: twelve images of each of the 37 breeds at 80 pixels, tf_efficientnet_lite0 for
both of the lesson's ResNets. Each test names what a line promises.
"""

import tarfile
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest

import kit

pytestmark = pytest.mark.real

SIZE = 80  # pixels; the lesson has 224
PER_BREED = 12
CATS = {
    *("Abyssinian", "Bengal", "Birman", "Bombay", "British_Shorthair", "Egyptian_Mau", "Maine_Coon", "Persian"),
    *("Ragdoll", "Russian_Blue", "Siamese", "Sphynx"),
}


@pytest.fixture(scope="module")
def machine(test_data, tmp_path_factory):
    """A machine with the weights and without internet; the folder is for the lesson's images."""
    root = tmp_path_factory.mktemp("lesson")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(root / "home"))
        patch.setenv("KIT_WEIGHTS", str(test_data / "weights"))
        yield root


@pytest.fixture(scope="module")
def pets(test_data, machine):
    """The folder that `untar_data(URLs.PETS)` would give, with some of the images."""
    path, taken = machine / "pets", defaultdict(int)
    (path / "images").mkdir(parents=True)
    with tarfile.open(test_data / "data" / "oxford-pets" / "pets-trainval.tar") as archive:
        for member in archive:
            breed = member.name.rsplit("/", 1)[-1].rpartition("_")[0]
            if member.isfile() and taken[breed] < PER_BREED:
                taken[breed] += 1
                (path / "images" / member.name.rsplit("/", 1)[-1]).write_bytes(archive.extractfile(member).read())
    return path


@pytest.fixture(scope="module")
def lesson(pets):
    """What came of each line, in the lesson's order."""
    said, seen = [], SimpleNamespace()
    path_img, pat = pets / "images", r"/([^/]+)_\d+.jpg$"
    data = kit.from_name_re(path_img, pat, size=SIZE, bs=32, say=said.append)
    seen.batch = data.show_batch(rows=3, figsize=(7, 6))
    seen.data, seen.classes, seen.c = data, data.classes, data.c

    learn = kit.Learner(data, "tf_efficientnet_lite0", metrics=["error_rate"])
    seen.learn, seen.frozen_at_first = learn, learn.frozen
    seen.stage_one = learn.fit_one_cycle(4)
    learn.save("stage-1")
    seen.answers_of_stage_one = learn.get_preds()[0]

    interp = learn.interpret()
    seen.interp, seen.top_losses = interp, interp.top_losses(k=len(data.valid))
    seen.sheet = interp.plot_top_losses(9, figsize=(15, 11))
    seen.matrix = interp.plot_confusion_matrix(figsize=(12, 12), dpi=60)
    seen.confused = interp.most_confused(min_val=2)

    learn.unfreeze()
    seen.careless = learn.fit_one_cycle(1)
    seen.answers_of_careless = learn.get_preds()[0]
    learn.load("stage-1")
    seen.answers_of_loaded = learn.get_preds()[0]
    seen.sweep = learn.lr_find()
    seen.plot = seen.sweep.plot()
    seen.answers_after_sweep = learn.get_preds()[0]
    learn.unfreeze()
    seen.careful = learn.fit_one_cycle(2, max_lr=slice(1e-6, 1e-4))
    seen.said = said
    return seen


def test_the_lessons_own_pattern_finds_the_37_breeds(lesson):
    assert lesson.c == len(lesson.classes) == 37
    assert set(lesson.classes) > CATS and "yorkshire_terrier" in lesson.classes
    assert len(lesson.data) == 37 * PER_BREED
    assert len(lesson.data.valid) == pytest.approx(0.2 * len(lesson.data), rel=0.05)  # valid_pct of the lesson


def test_show_batch_shows_three_rows_of_three_under_their_breeds(lesson):
    axes = lesson.batch.axes
    assert len(axes) == 9 and lesson.batch.get_size_inches().tolist() == [7, 6]
    assert all(one.get_title() for one in axes)


def test_stage_one_learns_the_head_and_the_losses_fall(lesson):
    assert lesson.frozen_at_first and lesson.stage_one.stage == "head"
    losses = [log.train_loss for log in lesson.stage_one.history]
    assert len(losses) == 4 and losses[-1] < losses[0]
    table = lesson.stage_one.table()
    assert table["valid_loss"].iloc[-1] < table["valid_loss"].iloc[0]
    assert table["error_rate"].iloc[-1] < 0.6  # 36 of 37 by chance


def test_save_and_load_bring_the_very_same_weights_back(lesson):
    assert not np.array_equal(lesson.answers_of_careless, lesson.answers_of_stage_one)
    assert np.array_equal(lesson.answers_of_loaded, lesson.answers_of_stage_one)  # bit by bit


def test_the_rate_finder_sweeps_and_leaves_no_trace(lesson):
    assert lesson.sweep.lrs[0] < 1e-6 < 1e-4 < lesson.sweep.lrs[-1]
    assert lesson.sweep.lrs[0] < lesson.sweep.suggested < lesson.sweep.lrs[-1]
    assert lesson.plot.axes[0].get_xscale() == "log"
    assert np.array_equal(lesson.answers_after_sweep, lesson.answers_of_stage_one)


def test_the_interpretation_is_of_the_held_out_images_worst_first(lesson):
    assert {one.image_id for one in lesson.top_losses} == set(lesson.data.valid["image_id"])
    losses = [one.loss for one in lesson.top_losses]
    assert losses == sorted(losses, reverse=True)
    assert np.exp(-losses[0]) == pytest.approx(lesson.top_losses[0].probability_of_actual)
    by_id = dict(zip(lesson.data.valid["image_id"], lesson.data.valid["label"], strict=True))
    assert all(one.actual == by_id[one.image_id] == one.image_id.rpartition("_")[0] for one in lesson.top_losses)


def test_the_interpretation_stays_that_of_stage_one(lesson):
    assert np.array_equal(lesson.interp.predictions.probabilities, lesson.answers_of_stage_one)


def test_the_worst_nine_are_drawn_with_what_was_answered(lesson):
    assert lesson.sheet.get_size_inches().tolist() == [15, 11]
    assert lesson.sheet.get_suptitle() == "prediction/actual/loss/probability of actual class"
    worst, drawn = lesson.top_losses[0], [one.get_title() for one in lesson.sheet.axes]
    assert len(drawn) == 9
    assert drawn[0].startswith(f"{worst.predicted} / {worst.actual}") or "…" in drawn[0]
    assert drawn[0].endswith(f"{worst.loss:.2f} / {worst.probability_of_actual:.2f}")


def test_the_confusion_matrix_has_a_name_on_each_row_and_the_lessons_size(lesson):
    axes = lesson.matrix.axes[0]
    assert [one.get_text() for one in axes.get_yticklabels()] == list(lesson.classes)
    assert (lesson.matrix.get_size_inches().tolist(), lesson.matrix.dpi) == ([12, 12], 60)


def test_the_confused_pairs_are_counted_from_real_answers(lesson):
    wrong = [(one.actual, one.predicted) for one in lesson.top_losses if not one.right]
    assert lesson.confused == sorted(lesson.confused, key=lambda row: -row[2])
    assert all(wrong.count((actual, predicted)) == count >= 2 for actual, predicted, count in lesson.confused)
    assert sum(wrong.count(pair) >= 2 for pair in set(wrong)) == len(lesson.confused)


def test_cats_are_taken_for_cats_and_dogs_for_dogs(lesson):
    pairs = [(one.actual in CATS, one.predicted in CATS) for one in lesson.top_losses if not one.right]
    assert sum(actual == predicted for actual, predicted in pairs) > 0.6 * len(pairs)


def test_careful_rates_are_spread_over_the_depth_and_improve_on_the_training_loss(lesson):
    cycle = lesson.careful
    assert cycle.stage == "all" and lesson.careless.stage == "all"
    assert (cycle.peak_lrs[0], cycle.peak_lrs[-1]) == pytest.approx((1e-6, 1e-4))
    assert all(a < b for a, b in zip(cycle.peak_lrs, cycle.peak_lrs[1:], strict=False))
    assert cycle.history[-1].valid_loss < lesson.stage_one.history[-1].valid_loss + 0.1  # nothing was destroyed


def test_the_same_lines_work_on_the_competition_and_its_score_stands_beside_2012(test_data, machine):
    said = []
    data = kit.load(
        "pets", size=64, folds=0, source="subset", mirror=test_data / "data", say=said.append, overrides=["seed=2"]
    )
    learn = kit.Learner(data, "tf_efficientnet_lite0", metrics=["error_rate"])
    learn.fit_one_cycle(1, 3e-3)
    found = learn.compare()
    assert found.score.num_images == 1341 and found.score.value > 0.2
    of_2012 = [row for row in found.rows if row.published.year == 2012]
    assert {f"{row.published.value:.4f}" for row in of_2012} >= {"0.5668", "0.5921"}
    assert all(row.verdict == "not comparable" for row in of_2012)  # other test images, other training, ImageNet
    assert any("PARTIAL DATA" in line for line in said)


# The lesson's last part: the same digits, labelled in five ways.

PER_DIGIT = 30


@pytest.fixture(scope="module")
def mnist_sample(test_data, machine):
    """The folder that `untar_data(URLs.MNIST_SAMPLE)` would give, with some of the images."""
    path, taken = machine / "mnist_sample", defaultdict(int)
    lines = ["name,label"]
    with tarfile.open(test_data / "data" / "mnist-sample" / "mnist_sample.tgz") as archive:
        for member in archive:
            _, _, name = member.name.partition("/")
            folder = name.rpartition("/")[0]
            if not member.isfile() or not name.endswith(".png") or taken[folder] == PER_DIGIT:
                continue
            taken[folder] += 1
            (path / folder).mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(archive.extractfile(member).read())
            if name.startswith("train/"):
                lines.append(f"{name},{int(folder.endswith('7'))}")  # 0: a three, 1: a seven, as in the lesson
    (path / "labels.csv").write_text("\n".join(lines) + "\n")
    return path


def test_from_folder_takes_the_folders_train_and_valid(mnist_sample):
    data = kit.from_folder(mnist_sample, size=26, overrides=["augment.mirror=false"])
    assert data.classes == ("3", "7")
    assert all("train/" in one for one in data.train["path"]) and all("valid/" in one for one in data.valid["path"])
    assert len(data.show_batch(rows=3, figsize=(5, 5)).axes) == 9


def test_five_ways_to_label_give_the_same_labels(mnist_sample):
    path = mnist_sample
    by_csv = kit.from_csv(path, "labels.csv", size=28)
    assert by_csv.classes == ("0", "1")
    fn_paths = [path / name for name in by_csv.plan.train["path"]]
    by_pattern = kit.from_name_re(path / "train", r"/(\d)/\d+\.png$", size=24)
    by_function = kit.from_name_func(path / "train", lambda x: "3" if "/3/" in str(x) else "7", size=24)
    labels = [("3" if "/3/" in str(x) else "7") for x in fn_paths]
    by_lists = kit.from_lists(fn_paths, labels, path=path, size=24)

    def labels_of(data):
        return {data.path / row.path: row.label for row in data.plan.train.itertuples()}

    assert len(labels_of(by_pattern)) == 2 * PER_DIGIT
    assert labels_of(by_pattern) == labels_of(by_function) == labels_of(by_lists)
    assert labels_of(by_csv) == {file: "01"["37".index(label)] for file, label in labels_of(by_lists).items()}


def test_a_learner_tells_threes_from_sevens(mnist_sample):
    data = kit.from_folder(mnist_sample, size=32, bs=8, overrides=["augment.mirror=false"])
    learn = kit.Learner(data, "test_resnet", weights=None, metrics=["accuracy"])
    learn.fit_one_cycle(5, 2e-2)
    assert learn.validate()["accuracy"] > 0.8
    name, index, probabilities = learn.predict(mnist_sample / data.valid["path"].iloc[0])
    assert data.classes[index] == name and probabilities.sum() == pytest.approx(1)
