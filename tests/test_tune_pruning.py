"""Pruning is fair to one-cycle schedules: the same share, the same length, and only what will hardly win."""

import math

import optuna
import pytest
from one_cycle import one_cycle_trainings, play, table
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from kit.tune.pruning import FairPruner, curve_of, report_step

PEERS = ((0.9, 0.5, 0.2), (0.9, 0.5, 0.21), (0.9, 0.52, 0.2), (0.8, 0.48, 0.19), (0.9, 0.5, 0.22), (0.8, 0.5, 0.2))

FAR = (6.0, 5.0)  # losses at a quarter and a half of the schedule


def make_study(*curves, epochs=8, directions=("minimize",), pruner=None):
    """A study with finished trials: scores at shares 0.25, 0.5 and 1, or at the ends of several folds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=list(directions), pruner=pruner or FairPruner())
    for curve in curves:
        report(study, trial := study.ask(), steps(curve), epochs=epochs)
        study.tell(trial, [curve[-1]] * len(directions))
    return study


def steps(curve):
    return dict(zip((250, 500, 1000), curve, strict=False))


def report(study, trial, reported, *, epochs=8):
    trial.set_user_attr("epochs", epochs)
    if len(study.directions) > 1:
        trial.set_user_attr("curve", list(reported.items()))
        return
    for step, value in reported.items():
        trial.report(value, step)


def is_ended(study, curve, *, epochs=8, reported=None):
    """Whether a new trial with this curve is ended after its last report."""
    trial = study.ask()
    report(study, trial, reported or steps(curve), epochs=epochs)
    return study.pruner.prune(study, study.get_trials()[trial.number])


def test_on_one_cycle_curves_the_median_pruner_ends_the_winner_and_ours_keeps_it_and_saves_a_third():
    sweeps = [one_cycle_trainings(60, seed=seed) for seed in range(10)]
    median = [play(sweep, MedianPruner(), by_epoch=True) for sweep in sweeps]
    by_share = [play(sweep, MedianPruner()) for sweep in sweeps]
    fair = [play(sweep, FairPruner()) for sweep in sweeps]
    found = f"median, by epoch: {table(median)}\nmedian, by share: {table(by_share)}\nfair:             {table(fair)}"
    assert sum(one.winner_is_ended for one in median) >= 7, found
    assert not any(one.winner_is_ended for one in fair), found
    assert sum(one.saved for one in fair) / len(fair) >= 0.30, found


def test_a_trial_far_behind_its_peers_is_ended():
    assert is_ended(make_study(*PEERS), FAR)


def test_a_trial_that_its_peers_example_could_still_bring_to_the_front_goes_on():
    assert not is_ended(make_study(*PEERS), (0.9, 0.55))


def test_the_best_at_a_share_go_on_even_if_the_record_seems_out_of_reach():
    study = make_study(*PEERS, (0.001, 0.001, 0.001), epochs=8)
    assert not is_ended(study, (0.7, 0.4))


def test_nothing_is_ended_while_the_learning_rate_still_rises():
    study = make_study()
    for error in (0.20, 0.21, 0.19, 0.2):
        report(study, trial := study.ask(), {100: 0.3, 500: 0.3, 1000: error})
        study.tell(trial, error)
    assert not is_ended(study, (), reported={240: 900.0})
    assert is_ended(study, (), reported={260: 900.0})


def test_a_long_training_is_not_held_against_short_ones():
    study = make_study(*PEERS, epochs=2)
    assert is_ended(study, FAR, epochs=4)
    assert not is_ended(study, FAR, epochs=5)


def test_scores_between_two_reports_of_a_peer_lie_on_a_straight_line():
    study = make_study((0.9, 0.5, 0.1))
    curve = curve_of(study.trials[0], ideal=0.0)
    assert curve.best_until(0.75) == pytest.approx(0.3)
    assert curve.best_until(0.25) == 0.9
    assert math.isnan(curve.best_until(0.2))


def test_the_best_score_so_far_counts_not_a_jump_in_the_middle_of_the_cycle():
    curve = curve_of(make_study((0.3, 0.8, 0.1)).trials[0], ideal=0.0)
    assert curve.best_until(0.5) == 0.3


def test_a_score_that_is_no_number_ends_a_trial_at_once():
    assert is_ended(make_study(), (math.nan,))
    assert is_ended(make_study(), (), reported={10: math.inf})


def test_with_fewer_than_four_finished_peers_nothing_is_ended():
    assert not is_ended(make_study(*PEERS[:3]), FAR)


def test_an_accuracy_is_held_against_one():
    study = make_study(*[tuple(1 - error / 10 for error in peer) for peer in PEERS], directions=("maximize",))
    assert is_ended(study, (0.0, 0.3))
    assert not is_ended(study, (0.9, 0.945))


def test_a_trial_that_was_lost_is_no_peer_of_the_one_that_takes_its_place():
    study = make_study(*PEERS)
    lost = study.ask()
    report(study, lost, {500: 0.01})
    study.tell(lost, state=TrialState.FAIL)
    assert curve_of(study.trials[lost.number], ideal=0.0) is None


def test_a_trial_that_broke_its_limit_is_no_record_to_beat():
    study = make_study(*PEERS)
    greedy = study.ask()
    report(study, greedy, steps((0.9, 0.5, 0.001)))
    greedy.set_constraint("memory", 0.5)
    study.tell(greedy, 0.001)
    assert not is_ended(study, (0.9, 0.55))


def test_with_several_objectives_the_curve_in_the_attributes_is_looked_at():
    study = make_study(*PEERS, directions=("minimize", "minimize"))
    assert is_ended(study, FAR)
    assert not is_ended(study, (0.9, 0.55))


def folds(*finals):
    return {report_step(1.0, fold_position=k): value for k, value in enumerate(finals)}


def study_of_folds(*finals):
    study = make_study()
    for one in finals:
        report(study, trial := study.ask(), folds(*one))
        study.tell(trial, sum(one) / len(one))
    return study


def test_a_trial_that_is_worse_than_the_best_one_on_four_folds_of_four_is_spared_the_fifth():
    study = study_of_folds((0.10, 0.12, 0.11, 0.10, 0.12), (0.5, 0.5, 0.5, 0.5, 0.5))
    worse = folds(0.14, 0.15, 0.12, 0.13)
    assert is_ended(study, (), reported=worse)
    assert not is_ended(study, (), reported=dict(list(worse.items())[:3]))  # of three folds chance is 1/8


def test_a_trial_that_is_worse_on_some_folds_only_goes_on():
    study = study_of_folds((0.10, 0.12, 0.11, 0.10, 0.12))
    assert not is_ended(study, (), reported=folds(0.14, 0.15, 0.08, 0.09))


def test_a_trial_whose_last_fold_is_done_is_not_ended():
    study = study_of_folds((0.10, 0.12, 0.11, 0.10))
    assert not is_ended(study, (), reported=folds(0.5, 0.5, 0.5, 0.5))


def test_shares_are_reported_in_thousandths_fold_after_fold():
    assert [report_step(share) for share in (1 / 3, 0.5, 1.0)] == [333, 500, 1000]
    assert report_step(0.5, fold_position=2) == 2500
    assert report_step(0.0001) == 1
