"""The learner: fast.ai's verbs, held against what the stages do of the same recipe."""

import random
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import kit
from kit.config import Recipe
from kit.errors import ConfigError, DataError, KitError, TrainingError, WeightsError
from kit.learner.cycles import peaks_of
from kit.learner.learner import Learner
from kit.learner.rates import cycle_recipe
from kit.metrics import score
from kit.train.course import Course
from kit.train.schedule import peak_lrs

NETWORK = "test_efficientnet"


@pytest.fixture
def data(toy_competition):
    return kit.load(toy_competition(), folds=2, overrides=["augment.rotate_degrees=5"], say=lambda line: None)


@pytest.fixture
def weights(tmp_path):
    """Return a file of weights, so that a network counts as pretrained."""
    import timm

    torch.manual_seed(7)
    path = tmp_path / f"{NETWORK}.in1k.safetensors"
    save_file(timm.create_model(NETWORK).state_dict(), path)
    return path


def state_of(learn):
    return {name: value.clone() for name, value in learn.network.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# What a cycle does.


def test_a_first_cycle_is_what_kit_train_does_of_that_recipe_bit_for_bit(data, weights, tmp_path):
    from kit.train.checkpoint import load_checkpoint
    from kit.train.models import train_model

    learn = Learner(data, NETWORK, weights=weights)
    cycle = learn.fit_one_cycle(2)
    model = train_model(
        "fold-0",
        data.plan.train,
        learn.data.pack,
        recipe=cycle.recipe,
        classes=data.classes,
        several=False,
        rule=data.competition.folds,
        folder=tmp_path / "models",
        say=lambda line: None,
    )
    assert same(state_of(learn), load_checkpoint(model.checkpoint).network.module.state_dict())
    assert [log["valid_loss"] for log in model.history["history"]] == [log.valid_loss for log in cycle.history]


def test_frozen_then_unfrozen_cycles_have_the_rates_of_a_recipe_with_both_stages_step_by_step(data, weights):
    learn = Learner(data, NETWORK, weights=weights)
    learn.freeze()
    first = learn.fit_one_cycle(2)
    learn.unfreeze()
    second = learn.fit_one_cycle(1)
    whole = learn.recipe.as_dict()["schedule"] | {"frozen_epochs": 2, "epochs": 1}
    recipe = kit.config.recipe_from_dict(learn.recipe.as_dict() | {"schedule": whole})
    course = Course(recipe=recipe, steps_per_epoch=len(second.lrs))
    expected = [course.head_lr_of(step) for step in range(course.num_steps)]
    assert np.array_equal(np.concatenate([first.lrs, second.lrs]), expected)
    for cycle, stage in ((first, "head"), (second, "all")):
        assert list(cycle.peak_lrs) == course.peak_lrs_of(stage, num_groups=len(cycle.peak_lrs))


def test_a_frozen_body_keeps_its_weights_and_an_unfrozen_one_does_not(data, weights):
    learn = Learner(data, NETWORK, weights=weights)
    assert learn.frozen
    before = state_of(learn)
    learn.fit_one_cycle(1)
    after = state_of(learn)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "classifier.weight",
        "classifier.bias",
    }
    learn.unfreeze()
    learn.fit_one_cycle(1, max_lr=slice(1e-3, 1e-2))
    assert not torch.equal(after["conv_stem.weight"], state_of(learn)["conv_stem.weight"])


def test_the_same_script_gives_the_same_weights_and_each_cycle_has_a_seed_of_its_own(data):
    def script(**options):
        learn = Learner(data, NETWORK, weights=None, **options)
        seeds = [learn.fit_one_cycle(1).seed, learn.fit_one_cycle(1).seed]
        return state_of(learn), seeds

    first, seeds = script()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    again, seeds_again = script()
    assert same(first, again)
    assert seeds == seeds_again
    assert seeds[0] != seeds[1]
    assert not same(first, script(seed=2)[0])


def test_where_weights_are_averaged_the_average_is_what_is_kept(data):
    learn = Learner(data, NETWORK, weights=None, overrides=["schedule.average_decay=0.5"])
    cycle = learn.fit_one_cycle(1)
    assert learn.validate()["loss"] == pytest.approx(cycle.history[-1].valid_loss, rel=1e-6)


rates = st.floats(min_value=1e-6, max_value=1.0)


@given(lo=rates, hi=rates, groups=st.integers(min_value=1, max_value=9))
def test_rates_are_spread_over_the_depth_as_fast_ai_spreads_them(lo, hi, groups):
    lo, hi = min(lo, hi), max(lo, hi)
    for max_lr in (hi, slice(hi), slice(lo, hi)):
        recipe = cycle_recipe(Recipe(), 3, frozen=False, max_lr=max_lr, wd=None)
        found = Course(recipe=recipe, steps_per_epoch=1).peak_lrs_of("all", num_groups=groups)
        assert found == pytest.approx(peak_lrs(max_lr, num_groups=groups))
        frozen = cycle_recipe(Recipe(), 3, frozen=True, max_lr=max_lr, wd=None).schedule
        assert (frozen.frozen_lr, frozen.frozen_epochs, frozen.epochs) == (hi, 3, 0)


def test_without_rates_a_cycle_takes_those_of_the_recipe(data):
    learn = Learner(data, NETWORK, weights=None, overrides=["schedule.lr=2e-3", "schedule.lr_spread=4"], wd=0.1)
    cycle = learn.fit_one_cycle(1)
    assert (cycle.peak_lrs[0], cycle.peak_lrs[-1]) == pytest.approx((5e-4, 2e-3))
    assert cycle.recipe.schedule.weight_decay == 0.1
    assert learn.fit_one_cycle(1, wd=0.2).recipe.schedule.weight_decay == 0.2
    assert peaks_of(learn.recipe, learn.network.module, "all") == pytest.approx(list(cycle.peak_lrs))


def test_fine_tune_trains_the_head_and_then_everything_at_fast_ais_rates(data, weights):
    learn = Learner(data, NETWORK, weights=weights)
    last = learn.fine_tune(2, 4e-3)
    assert [(cycle.stage, len(cycle.history)) for cycle in learn.cycles] == [("head", 1), ("all", 2)]
    assert learn.cycles[0].peak_lrs[-1] == 4e-3
    assert (last.peak_lrs[0], last.peak_lrs[-1]) == pytest.approx((2e-5, 2e-3))
    assert not learn.frozen


def test_the_finder_changes_nothing(data, weights):
    one, other = (Learner(data, NETWORK, weights=weights) for _ in range(2))
    before, numbers = state_of(one), torch.get_rng_state()
    found = one.lr_find()
    assert found.suggested == found.valley
    assert "suggested" in repr(found)
    assert "<img" in found._repr_html_()
    assert found.plot().axes[0].get_xlabel() == "learning rate of the head"
    assert same(before, state_of(one))
    assert torch.equal(numbers, torch.get_rng_state())
    one.fit_one_cycle(1)
    other.fit_one_cycle(1)
    assert same(state_of(one), state_of(other))


# What is told of held-out images.


def test_each_epoch_tells_the_metrics_that_were_asked_for(data):
    def half_right(probabilities, truth):
        assert probabilities.shape == (len(truth), 3)
        return (probabilities.argmax(axis=1) == truth).mean() / 2

    learn = Learner(data, NETWORK, weights=None, metrics=["error_rate", half_right, "log_loss"])
    cycle = learn.fit_one_cycle(2)
    assert list(cycle.history[0].measures) == ["error_rate", "half_right", "log_loss"]
    probabilities, truth = learn.get_preds()
    last = cycle.history[-1].measures
    assert last["error_rate"] == score("error_rate", labels=truth, probabilities=probabilities)
    assert last["half_right"] == pytest.approx((1 - last["error_rate"]) / 2)
    assert cycle.table()["log_loss"].tolist() == [log.valid_loss for log in cycle.history]
    assert learn.validate() == pytest.approx({"loss": cycle.history[-1].valid_loss, **last})


def test_a_metric_that_fails_later_costs_its_column_and_not_the_training(data, capsys):
    def fails_on_real_answers(probabilities, truth):
        if len(np.unique(probabilities)) > 1:
            raise ZeroDivisionError("of one's own")
        return 0.0

    cycle = Learner(data, NETWORK, weights=None, metrics=fails_on_real_answers).fit_one_cycle(1)
    assert np.isnan(cycle.history[0].measures["fails_on_real_answers"])
    assert "–" in capsys.readouterr().err


def test_where_nothing_is_held_out_everything_trains_and_nothing_is_told_of_it(toy_competition):
    data = kit.load(toy_competition(), folds=0, say=lambda line: None)
    learn = Learner(data, NETWORK, weights=None)
    cycle = learn.fit_one_cycle(1)
    assert (cycle.history[0].valid_loss, dict(cycle.history[0].measures)) == (None, {})
    assert set(learn.answers("test").folds) == {-1}
    with pytest.raises(DataError, match="No image is held out"):
        learn.answers()


# Answers.


def test_a_single_image_is_answered_as_in_its_pack_whatever_it_comes_as(data):
    from PIL import Image

    learn = Learner(data, NETWORK, weights=None)
    learn.fit_one_cycle(1)
    answers = learn.answers()
    path = data.path / data.valid["path"][0]
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
        given_as = (path, str(path), path.read_bytes(), image.copy(), pixels)
    for picture in given_as:
        name, index, probabilities = learn.predict(picture)
        assert name == data.classes[index]
        assert probabilities == pytest.approx(answers.probabilities[0], abs=1e-6)
    # A grey picture has one channel.
    assert learn.predict(pixels[:, :, 0])[2] == pytest.approx(
        learn.predict(np.repeat(pixels[:, :, :1], 3, axis=2))[2], abs=1e-6
    )


def test_what_is_no_image_is_said_in_a_paragraph(data):
    learn = Learner(data, NETWORK, weights=None)
    for picture in (3, None, np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), b"", b"no image", "a.jpg"):
        with pytest.raises(DataError) as caught:
            learn.predict(picture)
        assert "\n" not in str(caught.value)


def test_answers_carry_their_ids_truth_and_folds(data):
    learn = Learner(data, NETWORK, weights=None)
    held_out, test = learn.answers(), learn.answers("test")
    assert list(held_out.image_ids) == data.valid["image_id"].tolist()
    assert (held_out.kind, set(held_out.folds), test.kind, set(test.folds)) == ("out-of-fold", {0}, "test", {0})
    assert list(held_out.labels) == data.valid["label"].tolist()
    probabilities, truth = learn.tta()
    assert probabilities.shape == (len(truth), 3)
    assert not np.array_equal(probabilities, held_out.probabilities)
    assert np.array_equal(learn.answers(views="lesson").probabilities, probabilities)
    assert len(learn.get_preds("train")[1]) == len(data.train)


def test_an_exported_learner_answers_the_same(data, tmp_path):
    import timm

    from kit.export.answer import answer, open_export

    learn = Learner(data, NETWORK, weights=None)
    learn.fit_one_cycle(1)
    path = data.path / data.valid["path"][0]
    before = learn.predict(path)[2].tolist()
    folder = learn.export(tmp_path / "out")
    assert learn.predict(path)[2].tolist() == before
    (found,) = answer(open_export(folder, device=torch.device("cpu")), [path])
    assert found.probabilities == pytest.approx(before, abs=1e-6)
    module = timm.create_model(f"local-dir:{folder / 'model-1'}", pretrained=True)  # as timm alone reads it
    for key, value in learn.network.module.state_dict().items():
        assert torch.equal(module.state_dict()[key], value)
    with pytest.raises(ConfigError, match="is there already"):
        learn.export(tmp_path / "out")


# Weights on disk.


def test_load_brings_back_what_was_saved_and_leaves_frozenness_alone(data, weights, own_home):
    learn = Learner(data, NETWORK, weights=weights)
    learn.fit_one_cycle(1)
    path = learn.save("stage-1")
    assert path.is_relative_to(own_home / "learners")
    before, answers = state_of(learn), learn.get_preds()[0]
    learn.unfreeze()
    learn.fit_one_cycle(1)
    assert not np.array_equal(answers, learn.get_preds()[0])
    assert learn.load("stage-1") is learn
    assert same(before, state_of(learn))
    assert np.array_equal(answers, learn.get_preds()[0])
    assert not learn.frozen
    fresh = Learner(data, NETWORK, weights=None).load("stage-1")
    assert np.array_equal(answers, fresh.get_preds()[0])
    assert fresh.network.weights_origin == learn.network.weights_origin


def test_a_name_that_leads_elsewhere_is_refused(data):
    learn = Learner(data, NETWORK, weights=None)
    for name in ("", "..", "../out", "/etc/passwd", "a/b", "a\\b", "x" * 101, "a\n", ".hidden", None, 3):
        for verb in (learn.save, learn.load):
            with pytest.raises(ConfigError, match="is not a name to save under"):
                verb(name)


def test_load_names_what_is_there_and_refuses_what_does_not_fit(data, toy_competition, tmp_path):
    learn = Learner(data, NETWORK, weights=None)
    with pytest.raises(WeightsError, match="Nothing is saved yet"):
        learn.load("stage-1")
    path = learn.save("stage-1")
    with pytest.raises(WeightsError, match=r"Did you mean 'stage-1'\? There are: stage-1"):
        learn.load("stage-2")
    other = Learner(data, "test_resnet", weights=None)
    before = state_of(other)
    with pytest.raises(WeightsError, match=r"is of test_efficientnet .* this learner's network is test_resnet"):
        other.load("stage-1")
    assert same(before, state_of(other))
    binary = Learner(data, NETWORK, weights=None, overrides=["loss.kind='binary'"])
    with pytest.raises(WeightsError, match="activation softmax"):
        binary.load("stage-1")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(WeightsError, match="cannot be read"):
        learn.load("stage-1")


def test_weights_of_other_classes_are_refused(data, tmp_path):
    from dataclasses import replace

    learn = Learner(data, NETWORK, weights=None)
    learn.save("stage-1")
    swapped = replace(data.plan.samples, classes=data.classes[::-1])
    learn.data = replace(data, plan=replace(data.plan, samples=swapped))
    with pytest.raises(WeightsError, match="logit k would mean something else"):
        learn.load("stage-1")


# What is wrong is said in one paragraph, and nothing is lost.

WRONG_CYCLES = {
    "0 epochs": ((0,), {}),
    "-1 epochs": ((-1,), {}),
    "got 1.5": ((1.5,), {}),
    "got 'four'": (("four",), {}),
    "got True": ((True,), {}),
    "Did you mean slice(1e-05, 0.01)": ((1,), {"max_lr": slice(1e-2, 1e-5)}),
    "has no highest rate": ((1,), {"max_lr": slice(None, None)}),
    "or a step": ((1,), {"max_lr": slice(1e-5, 1e-3, 2)}),
    "max_lr: 0 is not": ((1,), {"max_lr": 0}),
    "max_lr: 'big' is not": ((1,), {"max_lr": "big"}),
    "'big' in slice": ((1,), {"max_lr": slice("big")}),
    "max_lr: nan": ((1,), {"max_lr": float("nan")}),
    "max_lr: (1e-05, 0.001)": ((1,), {"max_lr": (1e-5, 1e-3)}),
    "wd=-1": ((1,), {"wd": -1}),
    "wd=nan": ((1,), {"wd": float("nan")}),
}


def test_numbers_that_mean_nothing_are_refused_before_anything_is_trained(data):
    learn = Learner(data, NETWORK, weights=None)
    before = state_of(learn)
    for words, (given_, named) in WRONG_CYCLES.items():
        with pytest.raises(ConfigError, match=re.escape(words)) as caught:
            learn.fit_one_cycle(*given_, **named)
        assert "\n" not in str(caught.value)
    for wrong in ((0,), (1, "big"), (1, slice(1e-3)), (1, 0)):
        with pytest.raises(ConfigError):
            learn.fine_tune(*wrong)
    assert same(before, state_of(learn))
    assert learn.cycles == []


WRONG_LEARNERS = {
    "Did you mean 'resnet": (("resnet35",), {"weights": None}),
    "must be 'auto', a file or folder": ((NETWORK,), {"weights": 5}),
    "a network is chosen by timm's name": ((torch.nn.Linear,), {}),
    "KIT_WEIGHTS is not set": (("resnet34",), {}),
    "Learner(..., weights=None)": (("resnet34",), {}),
    "is not a weight file": ((NETWORK,), {"weights": "/nowhere/at.all"}),
    "Did you mean 'accuracy'": ((NETWORK,), {"weights": None, "metrics": "acuracy"}),
    "neither the name of a metric": ((NETWORK,), {"weights": None, "metrics": [3]}),
    "fails on uniform probabilities (6, 3)": ((NETWORK,), {"weights": None, "metrics": lambda p: 1}),
    "model.head": ((NETWORK,), {"weights": None, "head": "big"}),
    "model.drop_rate": ((NETWORK,), {"weights": None, "drop": 2}),
    "schedule.weight_decay": ((NETWORK,), {"weights": None, "wd": -1}),
    "device: 'abacus'": ((NETWORK,), {"weights": None, "device": "abacus"}),
    "no key 'schedule.lrr'": ((NETWORK,), {"weights": None, "overrides": "schedule.lrr=1"}),
}


def test_what_no_learner_can_be_made_of_is_said_in_a_paragraph(data):
    for words, (arguments, named) in WRONG_LEARNERS.items():
        with pytest.raises(KitError, match=re.escape(words)) as caught:
            Learner(data, *arguments, **named)
        assert "\n" not in str(caught.value)


def test_data_must_be_data():
    with pytest.raises(ConfigError, match=r"what kit\.load or kit\.from_folder return, got str"):
        Learner("pets", "resnet34")


def test_a_loss_that_runs_away_leaves_the_weights_as_they_were_and_names_max_lr(data):
    learn = Learner(data, NETWORK, weights=None)
    before = state_of(learn)
    with pytest.raises(TrainingError, match=r"try a third of it \(max_lr=\.\.\.\)"):
        learn.fit_one_cycle(12, max_lr=100, wd=10)
    assert same(before, state_of(learn))
    assert learn.cycles == []


def test_a_network_from_random_weights_has_nothing_to_unfreeze_and_freezing_it_is_remarked(toy_competition):
    said = []
    learn = Learner(kit.load(toy_competition(), folds=2, say=said.append), NETWORK, weights=None)
    assert not learn.frozen
    learn.unfreeze()
    assert not learn.frozen
    learn.freeze()
    assert "RANDOM" in said[-1]


# A look at it.


def test_plots_show_every_step_of_every_cycle(data, weights):
    learn = Learner(data, NETWORK, weights=weights)
    assert "No step was taken yet" in learn.plot_lr().texts[0].get_text()
    assert "No step was taken yet" in learn.plot_losses().texts[0].get_text()
    first = learn.fit_one_cycle(1)
    learn.unfreeze()
    second = learn.fit_one_cycle(1, max_lr=slice(1e-4, 1e-2))
    drawn = [line.get_ydata() for line in learn.plot_lr().axes[0].lines]
    assert np.array_equal(drawn[0], first.lrs)
    assert np.array_equal(drawn[1], second.lrs)
    assert drawn[2] == pytest.approx(second.lrs / 100)
    losses = learn.plot_losses().axes[0]
    assert np.array_equal(losses.lines[0].get_ydata(), first.losses)
    assert {text.get_text() for text in losses.get_legend().texts} == {"training", "held out"}


def test_the_learner_tells_what_it_is(data, weights):
    learn = Learner(data, NETWORK, weights=weights)
    learn.fit_one_cycle(1, 1e-2)
    assert "frozen body, 1 cycle>" in repr(learn)
    assert "1 epoch of the head at 0.01" in learn._repr_html_()
    summary = learn.summary()
    groups = [row for row in summary.rows if row[-1] == "frozen"]
    assert len(groups) == len(summary.rows) - 1
    assert summary.rows[-1][0] == "head"
    learn.unfreeze()
    assert "frozen" not in repr(learn.summary())
    assert "<table>" in learn.summary()._repr_html_()
