"""A model of one's own in a network's place: the run it becomes, and every way in which a model can misbehave."""

import random
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import kit
from kit.blend.blend import blend
from kit.board.records import find_record
from kit.board.site import write_site
from kit.cli.main import app
from kit.errors import ConfigError, DataError, TrainingError
from kit.home import family
from kit.judge.test_ledger import read_chain
from kit.learner.own_features import hog, pixels
from kit.learner.own_fit import answered, maker_of, num_fitted
from kit.learner.own_identity import code_fingerprint, described, identity


class Means:
    """A classifier of a few lines: the nearer to a class's mean, the more probable it is."""

    def __init__(self, power=1.0):
        self.power = power

    def fit(self, rows, truth):
        """Keep each class's mean."""
        self.classes_ = np.unique(truth)
        self.means = np.stack([rows[truth == k].mean(axis=0) for k in self.classes_])

    def predict_proba(self, rows):
        """Return (N, K)."""
        far = ((rows[:, None] - self.means[None]) ** 2).sum(axis=2) * self.power
        odds = np.exp(far.min(axis=1, keepdims=True) - far)
        return odds / odds.sum(axis=1, keepdims=True)


def colour(image):
    """Return the mean of each channel."""
    return image.reshape(-1, 3).mean(axis=0) / 255


@pytest.fixture
def data(toy_competition):
    """Return the toy's images, 18 to train on in two folds and 6 to test on, labels known."""
    said = []
    return kit.load(toy_competition(), size=8, say=said.append)


def test_a_network_of_no_layers_becomes_a_run_like_any_other(data):
    run = kit.run_own(data, Means(), features=colour)
    assert set(run.predictions) == {"out-of-fold", "test"}
    kinds = {result.kind: result for result in run.record.results}
    assert kinds["out-of-fold"].scores["accuracy"].value == kinds["test"].scores["accuracy"].value == 1.0
    conditions = kinds["test"].conditions
    assert (conditions.pretraining_group, conditions.adaptation, conditions.inference) == ("none", "trained", "single")
    assert (conditions.training_pool, conditions.selection) == ("official-train", "held-out")
    assert run.record.recipe["own"] | {"code": ""} == {
        "class": "test_own_model.Means",
        "parameters": {"power": 1.0},
        "version": "",
        "features": "colour of 8 px",
        "features_key": run.record.recipe["own"]["features_key"],
        "pretraining": "none",
        "code": "",
    }
    assert find_record(run.record.run_id) == run.record
    assert sorted(path.name for path in run.folder.iterdir()) == [
        "folds.csv", "images.csv", "model.json", "own", "predictions", "quality.json", "record.json", "submission.csv",
        "submission.json",
    ]  # fmt: skip


def test_making_features_is_counted_as_other_work_is(data, monkeypatch):
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 0.0)
    kit.run_own(data, Means(), features=colour)
    said = [line for line in data.say.__self__ if line.startswith("features: ")]
    assert said[0].startswith("features: 24 of 24 images, ")
    assert said[-1] == "features: 24 images in 0 s"


def test_no_model_sees_what_it_is_asked(data):
    seen = []

    class Watching(Means):
        def fit(self, rows, truth):
            super().fit(rows, truth)
            self.rows = {row.tobytes() for row in rows}

        def predict_proba(self, rows):
            seen.append((len(self.rows), len(self.rows & {row.tobytes() for row in rows})))
            return super().predict_proba(rows)

    kit.run_own(data, Watching())
    assert seen == [(9, 0), (9, 0), (18, 0)]


def test_the_same_model_on_the_same_data_is_the_same_run_and_is_not_fitted_again(data):
    first = kit.run_own(data, RandomForestClassifier(5), features=colour)
    said = len(data.say.__self__)
    again = kit.run_own(data, RandomForestClassifier(5), features=colour)
    assert data.say.__self__[said:] == [f"{first.record.run_id} is done already: every stage is re-used"]
    assert again.record == first.record
    others = [
        kit.run_own(data, RandomForestClassifier(6), features=colour),
        kit.run_own(data, RandomForestClassifier(5), features=colour, seed=2),
        kit.run_own(data, RandomForestClassifier(5)),
        kit.run_own(data, RandomForestClassifier(5), features=colour, name="forest"),
    ]
    assert len({first.record.run_id, *(other.record.run_id for other in others)}) == 5
    (first.folder / "record.json").unlink()
    (first.folder / "predictions" / "test.csv").unlink()
    for path in (first.folder / "own").glob("*"):
        path.unlink()
    made = kit.run_own(data, RandomForestClassifier(5), features=colour)
    for kind, answers in first.predictions.items():
        assert np.array_equal(made.predictions[kind].probabilities, answers.probabilities)


def test_an_interrupted_run_goes_on_with_the_fold_that_it_was_at(data, tmp_path):
    diary = tmp_path / "fits.txt"  # in memory it would be part of the model

    class Tired(Means):
        def fit(self, rows, truth):
            with diary.open("a") as file:
                file.write("x")
            if diary.read_text() == "xx":
                raise KeyboardInterrupt
            super().fit(rows, truth)

    with pytest.raises(KeyboardInterrupt):
        kit.run_own(data, Tired, features=colour)
    run = kit.run_own(data, Tired, features=colour)
    assert diary.read_text() == "xxxx"  # of three models: the first one was kept
    assert run.record.cost["num_models"] == 3


def test_a_function_is_called_once_for_each_image_and_its_values_are_kept(data, tmp_path):
    diary = tmp_path / "calls.txt"

    def counted(image):
        with diary.open("a") as file:
            file.write(f"{image.shape}\n")
        return colour(image)

    kit.run_own(data, Means(), features=counted)
    assert diary.read_text() == "(8, 8, 3)\n" * 24
    kit.run_own(data, Means(power=2.0), features=counted)
    assert len(diary.read_text().splitlines()) == 24
    assert len(list((family("tables") / "features").glob("*.npy"))) == 1


def test_global_generators_stay_as_they_were_and_decide_nothing(data):
    class Careless(Means):
        def fit(self, rows, truth):
            super().fit(rows, truth)
            np.random.seed(0)
            self.means = self.means + np.random.normal(size=self.means.shape) + random.random() + float(torch.rand(1))

    np.random.seed(5), random.seed(5), torch.manual_seed(5)
    expected = np.random.random(), random.random(), float(torch.rand(1))
    np.random.seed(5), random.seed(5), torch.manual_seed(5)
    first = kit.run_own(data, Careless(), features=colour)
    assert (np.random.random(), random.random(), float(torch.rand(1))) == expected
    again = kit.run_own(data, Careless, features=colour)  # another run: made by the class
    assert np.array_equal(first.predictions["test"].probabilities, again.predictions["test"].probabilities)


def test_judge_board_blend_lint_and_tracking_take_it_as_a_run(data, tmp_path):
    one = kit.run_own(data, Means(), features=colour)
    two = kit.run_own(data, make_pipeline(StandardScaler(), KNeighborsClassifier(3)), features=colour, name="near")
    told = CliRunner().invoke(app, ["judge", one.record.run_id])
    assert told.exit_code == 0, told.output
    assert "Means" in told.output
    assert one.record.run_id in (write_site().pages["toy"]).read_text(encoding="utf-8")
    mixed = blend("toy", [one.record.run_id, two.record.run_id], rule="mean", say=lambda line: None)
    assert mixed.record.network["name"] == "Means + near (Pipeline)"
    path = one.submission(tmp_path / "mine.csv")
    told = CliRunner().invoke(app, ["lint", str(path), "toy", "--run", one.record.run_id])
    assert (told.exit_code, "no errors" in told.output) == (0, True)
    assert one.record.run_id in read_chain().runs  # it looked at the test's labels


def test_a_run_shows_itself_and_what_it_may_be_compared_with(data):
    run = kit.run_own(data, Means(), features=colour)
    assert repr(run).startswith(f"OwnRun {run.record.run_id}: Means\n")
    assert run._repr_html_().count("<tr>") == 5
    found = run.compare()
    assert (found.result.kind, found.rows, found.claim) == ("test", (), None)
    assert run.compare("out-of-fold").result.kind == "out-of-fold"
    with pytest.raises(DataError, match="has no scored answers of the kind 'nothing'"):
        run.compare("nothing")
    shown = run.interpret()
    assert shown.confusion_matrix().counts.sum() == 18
    assert shown.plot_top_losses(4).axes
    with pytest.raises(DataError, match="came without the networks"):
        shown.show_filters()


def test_classes_may_be_named_in_any_order_and_be_missing():
    class Named:
        classes_ = np.array(["red", "blue"])

        def predict_proba(self, rows):
            return np.array([[0.25, 0.75]] * len(rows))

    found = answered(Named(), np.zeros((2, 1)), classes=("blue", "green", "red"), several=False, seed=1, whose="fold-0")
    assert found.tolist() == [[0.75, 0.0, 0.25]] * 2


@given(st.permutations(range(5)), st.integers(1, 5))
def test_columns_are_put_in_the_order_of_the_classes(order, num_known):
    class Numbered:
        classes_ = np.array(order[:num_known])

        def predict_proba(self, rows):
            share = np.arange(1, num_known + 1, dtype=float)
            return np.array([share / share.sum()] * len(rows))

    found = answered(Numbered(), np.zeros((3, 1)), classes=tuple("abcde"), several=False, seed=1, whose="full")
    assert found[0].argmax() == order[num_known - 1]
    assert np.count_nonzero(found[0]) == num_known


def test_a_class_without_rows_in_a_fold_gets_nought(toy_competition):
    data = kit.load(
        toy_competition(classes=("red", "green", "blue"), images_per_class=8), size=8, say=lambda line: None
    )
    few = data.plan.train.assign(fold=(data.plan.train["label"] == "blue").astype(int))

    run = kit.run_own(replace(data, plan=replace(data.plan, train=few)), Means(), features=colour)
    found = run.predictions["out-of-fold"]
    blue = np.array(found.labels) == "blue"
    assert (found.probabilities[blue, data.classes.index("blue")] == 0).all()
    assert np.allclose(found.probabilities.sum(axis=1), 1)


class Answering:
    """A model that gives what it was made with."""

    def __init__(self, answer):
        self.answer = answer

    def predict_proba(self, rows):
        """Return the answer."""
        return self.answer(len(rows)) if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda n: np.full((n, 3), np.nan), "gave NaN or infinite values for 4 of 4 rows"),
        (lambda n: np.zeros(n), r"array \(4,\) for 4 rows, expected \(4, 3\).*A class for each row is no probability"),
        (lambda n: np.full((n, 2), 0.5), "gave 2 columns for 3 classes"),
        (lambda n: np.full((n - 1, 3), 1 / 3), r"array \(3, 3\) for 4 rows"),
        (
            lambda n: np.array([[5.0, -2, 0.1]] * n),
            r"4 of 4 rows that are no probabilities.*begins \[ 5\. , -2\. ,  0\.1\]",
        ),
        (lambda n: np.full((n, 3), 0.5), "that sum to 1"),
        (lambda n: [["a", "b", "c"]] * n, "that is no table of numbers"),
        (lambda n: None, "expected|no table"),
        (lambda n: 1 / 0, r"predict_proba failed on 4 rows: ZeroDivisionError: division by zero\."),
    ],
)
def test_answers_that_are_no_probabilities_end_in_a_paragraph(answer, words):
    with pytest.raises(TrainingError, match=words) as found:
        answered(Answering(answer), np.zeros((4, 2)), classes=("a", "b", "c"), several=False, seed=1, whose="fold-1")
    assert str(found.value).startswith("fold-1: Answering")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("known", [["a", "b"], ["a", "a", "b"], [0, 1, 7], [-1, 0, 1], ["a", "b", "d"]])
def test_names_of_columns_that_fit_no_class_are_refused(known):
    model = Answering(lambda n: np.full((n, 3), 1 / 3))
    model.classes_ = np.array(known)
    with pytest.raises(TrainingError, match="must name each column once"):
        answered(model, np.zeros((4, 2)), classes=("a", "b", "c"), several=False, seed=1, whose="full")


def test_several_labels_come_as_a_table_or_as_scikit_learns_list():
    rows = np.arange(12, dtype=float).reshape(6, 2)
    truth = np.array(
        [[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]]
    )  # never the second, always the third
    model = KNeighborsClassifier(1).fit(rows, truth)
    assert isinstance(model.predict_proba(rows), list)
    found = answered(model, rows, classes=("a", "b", "c"), several=True, seed=1, whose="full")
    assert found.tolist() == truth.tolist()
    table = Answering(lambda n: np.full((n, 3), 0.75))
    assert (
        answered(table, rows, classes=("a", "b", "c"), several=True, seed=1, whose="full").tolist() == [[0.75] * 3] * 6
    )


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (RidgeClassifier(), r"RidgeClassifier has no predict_proba\(X\)\. It answers with classes alone\..*Calibrated"),
        (3, r"A int has no fit\(X, y\)"),
        ("svc", r"A str has no fit"),
        (lambda: 1, r"A int has no fit"),
        (lambda x: x, "should make a model, and failed: TypeError"),
    ],
)
def test_what_is_no_model_is_refused_before_anything_is_made(data, model, words):
    with pytest.raises(ConfigError, match=words):
        kit.run_own(data, model, features=colour)
    assert not list(family("runs").glob("*/record.json"))


def test_a_factory_that_gives_one_model_twice_would_leak_and_is_refused(data):
    one = Means()
    with pytest.raises(ConfigError, match="returned the same Means twice"):
        kit.run_own(data, lambda: one, features=colour)


def test_a_fit_that_fails_says_whose_and_keeps_the_cause(data):
    class Broken(Means):
        def fit(self, rows, truth):
            raise ValueError("rank is\n3")

    with pytest.raises(TrainingError, match=r"^fold-0: Broken\.fit failed on 9 rows: ValueError: rank is\. ") as found:
        kit.run_own(data, Broken(), features=colour)
    assert isinstance(found.value.__cause__, ValueError)


def test_a_model_is_never_changed_nor_what_it_was_fitted_on_before(data):
    model = Means()
    kit.run_own(data, model, features=colour)
    assert vars(model) == {"power": 1.0}
    forest = RandomForestClassifier(3)
    kit.run_own(data, forest, features=colour)
    assert forest.random_state is None
    assert not hasattr(forest, "estimators_")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda image: image, r"gave an array \(8, 8, 3\) of uint8 for the image .*flatten"),
        (lambda image: [], "expected .F,. finite numbers, at least one"),
        (lambda image: [np.inf, 1.0], "gave values that are not finite"),
        (lambda image: ["a"], "gave an array .* of .U1"),
        (lambda image: image[image > 215], "It must give equally many for each image|expected"),
        (lambda image: 1 / 0, r"failed on the image .*ZeroDivisionError"),
    ],
)
def test_features_that_are_none_end_in_a_paragraph(data, function, words):
    with pytest.raises(DataError, match=words):
        kit.run_own(data, Means(), features=function)


def test_settings_out_of_range_are_refused(data):
    for settings, words in (
        ({"name": "My Model"}, "cannot name a run"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": True}, "seed must be"),
        ({"pretraining": "imagenet"}, "is no group"),
        ({"features": ["red"]}, "features is a list, and toy has images"),
    ):
        with pytest.raises(ConfigError, match=words):
            kit.run_own(data, Means(), **{"features": colour, **settings})


def test_what_was_learned_elsewhere_stands_in_the_conditions(data):
    run = kit.run_own(data, Means(), features=colour, pretraining="imagenet-1k")
    conditions = run.record.results[0].conditions
    assert (conditions.pretraining_group, conditions.adaptation) == ("imagenet-1k", None)


def test_a_random_split_belongs_to_the_seed_of_the_data(toy_competition):
    data = kit.load(toy_competition(), size=8, protocol="random", say=lambda line: None)
    with pytest.raises(ConfigError, match=r"Load the data with it: kit\.load\('toy', seed=3\)"):
        kit.run_own(data, Means(), features=colour, seed=3)


def test_without_folds_and_test_nothing_can_be_answered(toy_competition):
    data = kit.load(toy_competition(), size=8, protocol="folds", folds=0, say=lambda line: None)
    with pytest.raises(DataError, match="loaded without folds"):
        kit.run_own(data, Means(), features=colour)


def test_code_is_told_apart_by_what_it_does_not_by_its_name():
    factor = 2

    def first(image):
        return image * factor

    def second(image):
        return image * 3

    before = code_fingerprint(first)
    assert before == code_fingerprint(first) != code_fingerprint(second)
    factor = 4
    assert code_fingerprint(first) != before


def test_a_helper_that_changes_changes_the_function_that_calls_it():
    space = {}
    exec("def helper(x): return x + 1\ndef top(x): return helper(x)", space)
    before = code_fingerprint(space["top"])
    exec("def helper(x): return x + 2", space)
    assert code_fingerprint(space["top"]) != before


def test_an_identity_is_of_class_and_parameters():
    assert (
        identity(LogisticRegression(C=1.0))
        == identity(LogisticRegression(C=1.0))
        != identity(LogisticRegression(C=2.0))
    )
    nested = [identity(CalibratedClassifierCV(LogisticRegression(C=c))) for c in (1.0, 2.0, 1.0)]
    assert nested[0] == nested[2] != nested[1]
    assert identity(Means()) != identity(Means(power=2.0))
    told = described(make_pipeline(StandardScaler(), LogisticRegression(C=float("inf"))))
    assert told["class"] == "sklearn.pipeline.Pipeline"
    assert told["parameters"]["steps"][1][1]["C"] == "inf"


def test_a_partial_is_told_by_its_arguments():
    found = [partial(KNeighborsClassifier, n_neighbors=k) for k in (1, 1, 2)]
    assert identity(found[0]) == identity(found[1]) != identity(found[2])
    assert described(found[0])["factory"].endswith("KNeighborsClassifier")
    edges = [code_fingerprint(partial(hog, cell=cell)) for cell in (4, 4, 7)]
    assert edges[0] == edges[1] != edges[2]


def test_a_cycle_among_attributes_has_an_identity_too():
    model = Means()
    model.self = model
    assert identity(model) == identity(model)
    assert described(model)["parameters"]["power"] == 1.0


def test_numbers_of_a_fitted_model_are_counted_once():
    assert num_fitted({"weights": np.zeros((3, 4)), "again": [np.ones(5)]}) == 17
    assert num_fitted([lambda: 1]) == 0  # cannot be pickled


def test_makers_give_a_new_model_each_time():
    for model in (Means(), Means, lambda: Means(), KNeighborsClassifier()):
        make = maker_of(model)
        assert make() is not make()


def test_pixels_are_shares_of_white_in_reading_order():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[0, 1] = (255, 51, 0)
    assert pixels(image).shape == (192,)
    assert pixels(image)[:6].tolist() == pytest.approx([0, 0, 0, 1, 0.2, 0])


def test_the_gradients_of_an_edge_vote_for_its_direction():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    image[:, 4:] = 200  # an upright edge: the gradient points to the right, 0 degrees, which lies between bins 8 and 0
    found = hog(image).reshape(2, 2, 9)
    assert np.allclose(found[..., [0, 8]], found[..., 0].mean(), atol=1e-5)
    assert np.allclose(found[..., 1:8], 0, atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    lying = hog(image.transpose(1, 0, 2)).reshape(2, 2, 9)
    assert lying[..., 4].min() > 0.4  # 90 degrees is the middle of bin 4
    assert hog(np.full((28, 28, 3), 7, dtype=np.uint8)).shape == (6 * 6 * 36,)
    assert np.allclose(hog(image), hog(255 - image), atol=0.05)  # dark on light or light on dark
    with pytest.raises(ConfigError, match="fewer than 2 x 2 cells"):
        hog(image[:6, :6])


def test_a_hog_of_a_brighter_image_is_the_same():
    image = np.random.default_rng(1).integers(0, 100, size=(16, 16, 3)).astype(np.uint8)
    assert np.allclose(hog(image), hog(image * 2), atol=1e-5)


def test_run_own_is_told_where_it_is_missing():
    assert "run_own" in dir(kit)
    assert sys.modules["kit"].run_own is kit.run_own


def test_the_code_of_a_module_of_ones_own_is_part_of_the_model(tmp_path, monkeypatch):
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "helping.py").write_text("def of(image):\n    return image.mean()\n")
    helping = importlib.import_module("helping")

    def features(image):
        return np.array([helping.of(image)])

    before = code_fingerprint(features)
    assert code_fingerprint(features) == before
    (tmp_path / "helping.py").write_text("def of(image):\n    return 0.0 * image.mean()\n")
    importlib.reload(helping)
    assert code_fingerprint(features) != before


def test_the_code_behind_a_cache_is_part_of_the_model():
    from functools import cache

    def maker(power):
        @cache
        def weight(channel):
            return channel**power

        def features(image):
            return np.array([weight(k) for k in range(3)])

        return features

    assert code_fingerprint(maker(1)) == code_fingerprint(maker(1))
    assert code_fingerprint(maker(1)) != code_fingerprint(maker(2))
