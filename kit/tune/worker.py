"""A worker of a sweep: draws trials, lets each run in a process of its own, and tells the study what came of it.

Any number of workers, on any number of machines, may work on one study; they share trials and budget through its
storage. A worker that is started by `kit tune` gets its task by the standard input, which stays open, and tells by
lines of JSON what is to be said. It imports no torch: memory is for the trials.
"""

import contextlib
import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kit.config import Recipe
from kit.errors import ConfigError, KitError, TrainingError
from kit.home import fingerprint, write_text
from kit.progress import Say
from kit.train.stopping import StoppedError, StopRequests, stop_when_alone
from kit.tune.attempt import attempt
from kit.tune.minutes import measured, predicted_seconds
from kit.tune.recipe_file import recipe_toml
from kit.tune.space import recipe_with, suggest
from kit.tune.study import Settings, StudyPlace, reaching, settings_of, turn
from kit.tune.trial import Task
from kit.tune.trials import finished, origin_of, owner, queue_again

if TYPE_CHECKING:
    from optuna import Study, Trial

LOOK_SECONDS = 0.2  # between looks at whether somebody asked for the end
WAIT_SECONDS = 1.0  # between looks at trials of others, one of which may be lost
DRAWS = 5  # that would not end within the budget, one after the other, before a worker gives up
FAILURES = 3  # of trials, one after the other, after which something is wrong with all of them


@dataclass(frozen=True, kw_only=True)
class Session:
    """What one worker is to do."""

    name: str
    url: str  # of the database; "": the journal
    slot: int  # number of the worker within its command
    session: int  # number of the command on this study
    num_trials: int  # of the study, all in all
    deadline: float  # seconds since the epoch: no trial goes on after it
    seed: int
    mirror: str | None = None


def work(session: Session, *, say: Say) -> None:
    """Run trials until there are enough, the budget is used up, or somebody asks for the end.

    Raises:
        KitError: the study cannot be used, or trial after trial fails.
        StoppedError: a signal asked for the end; the trial is queued again, and its state is kept.
    """
    from optuna.samplers import TPESampler

    place = StudyPlace(name=session.name, url=session.url)
    study = place.load()
    settings = settings_of(study)
    not_started = failures = 0
    with StopRequests() as requests, reaching(place):
        while requests.number is None and time.time() < session.deadline:
            for number in queue_again(study, place):
                say(f"trial {number}: its process is gone; it is queued again")
            with turn(place):
                trials = study.get_trials(deepcopy=False)
                done, under_way = len(finished(trials)), sum(trial.state.name == "RUNNING" for trial in trials)
                trial = None
                if done + under_way < session.num_trials:
                    # A new one for each draw: gone on with, a study would begin with the same draws again.
                    study.sampler = TPESampler(seed=_seed(session, len(trials)))
                    trial = study.ask()
                    trial.set_user_attr("owner", owner())
                    trial.set_user_attr("began", time.time())
            if trial is None:
                if done >= session.num_trials:
                    return
                _wait(WAIT_SECONDS, requests)
                continue
            recipe = _drawn(trial, settings)
            if recipe is None:
                _end(study, trial, reason="no recipe takes these values together")
                failures += 1
            elif (seconds := _too_long(recipe, study, settings, deadline=session.deadline)) is not None:
                left = session.deadline - time.time()
                trial.set_user_attr("not_started", True)
                _end(study, trial, reason=f"it would take {seconds:.0f} s, and {left:.0f} s are left")
                not_started += 1
                if not_started >= DRAWS:
                    say(f"{left:.0f} s of the budget are left, too little for another trial")
                    return
                continue
            else:
                not_started = 0
                task = _task(trial, recipe, settings, place, session)
                ended = attempt(study, trial, task, requests=requests, deadline=session.deadline, say=say)
                failures = failures + 1 if ended == "failed" else 0
            if failures >= FAILURES:
                reason = str(study.get_trials(deepcopy=False)[trial.number].user_attrs.get("reason", ""))
                raise TrainingError(
                    f"{FAILURES} trials of {session.name} failed one after the other, the last one for this reason: "
                    f"{reason.rstrip('.')}. Their logs are in {place.folder / 'trials'}. Mend it, and the same command "
                    "goes on."
                )
    if requests.number is not None:
        raise StoppedError("stopped: what is done is kept, and the same command goes on.", requests.number)


def _task(trial: "Trial", recipe: Recipe, settings: Settings, place: StudyPlace, session: Session) -> Task:
    """Write the trial's own recipe, and return what its process is to do."""
    folder = place.folder / "trials" / f"{origin_of(trial):04d}"
    write_text(folder / "recipe.toml", recipe_toml(recipe))
    return Task(
        slug=settings.slug,
        recipe=str(folder / "recipe.toml"),
        protocol=settings.protocol,
        source=settings.source,
        mirror=session.mirror,
        labels=settings.labels,
        num_folds_used=settings.folds_used,
        folder=str(folder),
        memory=settings.memory,
    )


def _seed(session: Session, num_trials: int) -> int:
    number = fingerprint(str(session.seed), str(session.session), str(session.slot), str(num_trials))
    return int(number[:8], 16) % 2**31


def _wait(seconds: float, requests: StopRequests) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and requests.number is None:
        time.sleep(LOOK_SECONDS)


def _drawn(trial: "Trial", settings: Settings) -> Recipe | None:
    """Return the trial's recipe, or None where its values do not go together."""
    try:
        return recipe_with(settings.untuned, suggest(trial, settings.drawn_from))
    except ConfigError:
        return None


def _too_long(recipe: Recipe, study: "Study", settings: Settings, *, deadline: float) -> float | None:
    """Return how long a trial would take if that is more than is left, in seconds."""
    seconds = predicted_seconds(
        recipe, measured(study.get_trials(deepcopy=False), settings), folds_used=settings.folds_used
    )
    return seconds if seconds is not None and time.time() + seconds > deadline else None


def _end(study: "Study", trial: "Trial", *, reason: str) -> None:
    """End a trial that was not trained, and is not queued again."""
    from optuna.trial import TrialState

    trial.set_user_attr("reason", reason)
    trial.set_user_attr("ended", time.time())
    study.tell(trial, state=TrialState.FAIL)


def _be_a_worker() -> int:
    """Do what comes by the standard input, tell by the standard output, and return the exit code."""
    session = Session(**json.loads(sys.stdin.readline()))
    threading.Thread(target=stop_when_alone, daemon=True).start()

    def tell(**event: str) -> None:
        with contextlib.suppress(OSError):  # who listened is gone; what is done is in the study
            print(json.dumps(event), flush=True)

    try:
        work(session, say=lambda line: tell(line=line))
    except KitError as error:
        tell(error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_be_a_worker())
