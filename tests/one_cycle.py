"""Made-up learning curves of one-cycle trainings, and a sweep that plays them: what a pruner ends and saves."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.pruners import BasePruner
from optuna.trial import TrialState

from kit.tune.pruning import report_step

WARMUP = 0.25


@dataclass(frozen=True)
class Training:
    """A training that could be made."""

    errors: NDArray[np.float64]  # held out, after each epoch

    @property
    def epochs(self) -> int:
        return len(self.errors)


@dataclass(frozen=True)
class Played:
    """What a sweep with a pruner came to."""

    winner_is_ended: bool  # the training whose last error would have been the lowest
    saved: float  # share of all epochs that were not trained
    regret: float  # how much worse the best error is than the winner's


def learning_rate(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """One cycle, in shares of the peak: up by a cosine, and down by one."""
    rising = 0.5 - 0.5 * np.cos(np.pi * share / WARMUP)
    falling = 0.5 + 0.5 * np.cos(np.pi * (share - WARMUP) / (1 - WARMUP))
    return np.where(share < WARMUP, rising, falling)


def one_cycle_trainings(number: int, *, seed: int) -> list[Training]:
    """Return trainings of 2 to 24 epochs at peak learning rates over three and a half decades.

    Longer ones, and those at a good rate, end lower. Until then a high rate holds the error up, so that the bold one
    that ends best looks worse in the middle than a timid one does.
    """
    random = np.random.default_rng(seed)
    grid = np.linspace(0, 1, 401)
    annealed = np.cumsum(learning_rate(grid)) / learning_rate(grid).sum()
    trainings = []
    for _ in range(number):
        epochs = round(2 ** random.uniform(1, 4.6))
        rate = random.uniform(-2.2, 1.3)  # decades from the usual one; the best is a bit above it
        final = (0.02 + 0.12 * epochs**-0.7) * np.exp(0.8 * (rate - 0.3) ** 2 + random.normal(0, 0.1))
        final = min(final, 0.85)
        share = np.arange(1, epochs + 1) / epochs
        speed = 8 * (epochs / 4) ** 0.5 * 10 ** (0.3 * rate)
        left = (np.exp(-speed * np.interp(share, grid, annealed)) - np.exp(-speed)) / (1 - np.exp(-speed))
        held_up = 0.06 * 10 ** (0.4 * rate) * learning_rate(share)
        noise = np.exp(random.normal(0, 1, epochs) * (0.03 + 0.08 * learning_rate(share)))
        errors = (final + (0.9 - final) * left + held_up) * noise
        errors[-1] = final
        trainings.append(Training(np.minimum(errors, 0.95)))
    return trainings


def play(trainings: Sequence[Training], pruner: BasePruner, *, by_epoch: bool = False) -> Played:
    """Run a sweep in which trial k is training k.

    Args:
        trainings: in the order of the trials.
        pruner: is asked after each epoch but the last.
        by_epoch: report the number of the epoch, as optuna's pruners are usually given it; else the share.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(pruner=pruner)
    ended, trained = set(), 0
    for number, training in enumerate(trainings):
        trial = study.ask()
        trial.set_user_attr("epochs", training.epochs)
        for epoch, error in enumerate(training.errors, 1):
            trained += 1
            trial.report(float(error), epoch if by_epoch else report_step(epoch / training.epochs))
            if epoch < training.epochs and trial.should_prune():
                ended.add(number)
                break
        if number in ended:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(training.errors[-1]))
    finals = [float(training.errors[-1]) for training in trainings]
    best = min(range(len(finals)), key=lambda number: finals[number])
    return Played(
        winner_is_ended=best in ended,
        saved=1 - trained / sum(training.epochs for training in trainings),
        regret=min(final for number, final in enumerate(finals) if number not in ended) - finals[best],
    )


def table(played: Sequence[Played]) -> str:
    """Return one line on many sweeps."""
    saved = [one.saved for one in played]
    return (
        f"the winner was ended in {sum(one.winner_is_ended for one in played)} of {len(played)} sweeps; "
        f"{np.mean(saved):.0%} of the epochs were saved ({min(saved):.0%} to {max(saved):.0%})"
    )
