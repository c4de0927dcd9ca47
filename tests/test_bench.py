"""`kit bench`: which rates are measured, what they predict, and what is printed. No test asks for a speed."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench.pairs import compared
from bench.parts import Parts
from toys import TOY_RECIPE, make_toy_competition

from kit.bench import VIEWS, BenchReport, StageRate, bare_rate, measure, predicted_minutes
from kit.cli.bench import show_report
from kit.config import recipe_from_dict
from kit.data.folds import held_out_rows
from kit.errors import ConfigError
from kit.home import family
from kit.plan import plan_run
from kit.train.model import make_network

SECONDS = 0.02


def quiet(line):
    pass


FROZEN_TOO = TOY_RECIPE.replace("frozen_epochs = 0", "frozen_epochs = 1")


@pytest.fixture
def plan(toy_competition):
    """Plans of the toy: 18 images to train on, 6 to test, two folds and the full model."""
    slug = toy_competition(recipe=FROZEN_TOO)
    return lambda *overrides: plan_run(slug, overrides=overrides, say=quiet)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The report of the toy's recipe, which has both stages, and whether a run was left behind."""
    root = tmp_path_factory.mktemp("bench")
    make_toy_competition(root, recipe=FROZEN_TOO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(root / "home"))
        patch.setenv("KIT_COMPETITIONS", str(root / "competitions"))
        patch.setenv("KIT_MIRROR", str(root / "mirror"))
        return measure(plan_run("toy", say=quiet), seconds=SECONDS, say=quiet), family("runs").exists()


def test_every_stage_that_the_recipe_has_is_measured_beside_the_bare_network(measured):
    report, _ = measured
    assert [rate.stage for rate in report.stages] == ["head", "all"]
    for rate in report.stages:
        assert rate.images_per_second > 0 and rate.ceiling > 0
        assert rate.share == rate.images_per_second / rate.ceiling
    assert report.input_rate > 0 and report.evaluation_rate > 0
    assert (report.network, report.image_size, report.batch_size, report.num_models) == ("resnet10t", 32, 8, 3)


def test_measuring_leaves_no_run_behind(measured):
    _, has_runs = measured
    assert not has_runs


def test_the_report_is_plain_json_with_shares_and_versions(measured):
    report, _ = measured
    found = json.loads(json.dumps(report.as_dict()))
    assert [stage["share"] for stage in found["stages"]] == [rate.share for rate in report.stages]
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["recipe"] == "baseline" and found["competition"] == "toy"


def test_a_stage_without_epochs_is_left_out(plan):
    report = measure(plan("schedule.frozen_epochs=0"), seconds=SECONDS, say=quiet)
    assert [rate.stage for rate in report.stages] == ["all"]


def test_minutes_are_images_over_rates_of_all_models(plan):
    # 18 training images in folds of 9; each of three models has 1 frozen and 1 whole epoch.
    made = plan()
    assert [len(held_out_rows(made.train, fold)) for fold in (0, 1)] == [9, 9]
    training, prediction = predicted_minutes(made, stages={"head": 2.0, "all": 1.0}, evaluation_rate=3.0)
    seconds = [9 / 2 + 9 / 1 + 2 * 9 / 3, 9 / 2 + 9 / 1 + 2 * 9 / 3, 18 / 2 + 18 / 1]  # the full one has no fold
    assert training * 60 == pytest.approx(sum(seconds))
    assert prediction * 60 == pytest.approx((9 + 6 + 9 + 6 + 6) / 3)


@pytest.mark.parametrize(("views", "num_views"), VIEWS.items())
def test_each_view_of_an_image_is_predicted(plan, views, num_views):
    once = predicted_minutes(plan(), stages={"all": 1.0}, evaluation_rate=1.0)
    with_views = predicted_minutes(plan(f"input.test_views={views}"), stages={"all": 1.0}, evaluation_rate=1.0)
    assert with_views[1] == pytest.approx(num_views * once[1])
    assert with_views[0] == once[0]  # after an epoch the fold is looked at once


def test_the_bare_network_trains_its_head_alone_where_the_body_is_frozen():
    recipe = recipe_from_dict(
        {
            "model": {"name": "resnet10t", "weights": "none"},
            "input": {"image_size": 32, "store_size": 32},
            "schedule": {"batch_size": 4},
        }
    )
    network = make_network(recipe.model, num_classes=3, seed=1)
    options = {"recipe": recipe, "num_classes": 3, "device": torch.device("cpu"), "seconds": 0.01}
    before = {name: tensor.clone() for name, tensor in network.module.named_parameters()}
    assert bare_rate(network, stage="head", **options) > 0
    changed = {name for name, tensor in network.module.named_parameters() if not torch.equal(tensor, before[name])}
    assert changed == {"fc.weight", "fc.bias"}
    bare_rate(network, stage="all", **options)
    still = [name for name, tensor in network.module.named_parameters() if torch.equal(tensor, before[name])]
    assert not still


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_no_time_to_measure_in_is_refused(plan, seconds):
    with pytest.raises(ConfigError, match="--seconds must be a number above 0"):
        measure(plan(), seconds=seconds, say=quiet)


def test_the_table_has_a_line_per_measurement_and_the_minutes(capsys):
    rate = StageRate(stage="all", images_per_second=45.0, ceiling=50.0)
    report = BenchReport(
        competition="pets",
        recipe="baseline",
        network="resnet18",
        image_size=128,
        batch_size=32,
        device="a processor",
        num_threads=2,
        input_rate=4000.0,
        stages=(replace(rate, stage="head", images_per_second=190.0, ceiling=200.0), rate),
        evaluation_rate=250.0,
        training_minutes=3.42,
        prediction_minutes=0.1,
        num_models=1,
    )
    show_report(report)
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        "pets, recipe baseline: resnet18, 128 px, batches of 32, on a processor (2 threads)",
        "",
        "images/s bare network share",
        "input alone 4,000",
        "head on a frozen body 190 200 95%",
        "every layer 45 50 90%",
        "evaluation, one view 250",
        "",
        "predicted for the whole run, 1 model: 3.4 min of training, 0.1 min of prediction",
    ]


# What the benches of tests/bench/ stand on.


def test_a_paired_difference_is_the_share_won_less_the_share_lost():
    first = np.array([[1, 1, 0, 0, 0, 1, 1, 1, 1, 1]] * 2, dtype=bool)
    second = np.array([[1, 1, 1, 1, 0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]], dtype=bool)
    found = compared(first, second)
    assert found.by_seed == pytest.approx((0.1, 0.3))  # two won and one lost; three won
    assert found.mean == pytest.approx(0.2)
    assert found.p_by_seed == pytest.approx((1.0, 0.25))  # of three throws; 2 / 2**3
    assert found.low < found.mean < found.high


def test_equal_networks_differ_by_nothing():
    same = np.random.default_rng(0).random((3, 50)) < 0.7
    found = compared(same, same)
    assert (found.mean, found.low, found.high, found.p_by_seed) == (0.0, 0.0, 0.0, (1.0, 1.0, 1.0))


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = 0
    for number in range(100):
        first, second = random.random((3, 300)) < 0.70, random.random((3, 300)) < 0.75
        found = compared(first, second, seed=number)
        covered += found.low <= 0.05 <= found.high
    assert 89 <= covered <= 99  # 95 of 100, give or take


def test_a_finished_part_is_not_done_again_unless_its_settings_changed(tmp_path):
    calls = []

    def work():
        calls.append(1)
        return {"rate": 1.5}

    assert Parts(tmp_path, settings={"size": (32, 32)}).get("one", work) == {"rate": 1.5}
    assert Parts(tmp_path, settings={"size": (32, 32)}).get("one", work) == {"rate": 1.5}
    assert len(calls) == 1
    Parts(tmp_path, settings={"size": (64, 64)}).get("one", work)
    assert len(calls) == 2
