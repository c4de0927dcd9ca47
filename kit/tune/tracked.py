"""A study in MLflow's table: the study a run, its trials the children. Always an extra, never a condition."""

from typing import TYPE_CHECKING, Any

from kit.progress import Say
from kit.tracking import experiment_of, log_batch, tracking_client
from kit.tune.study import settings_of
from kit.tune.trials import best_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED"}


def track_study(study: "Study", *, say: Say = print) -> bool:
    """Show a study and its trials to MLflow and return whether it has them. What goes wrong is said, and stops nothing.

    What the table has already is not logged again, so that this may be called after each part of a sweep.
    """
    try:
        _track(study)
    except Exception as error:  # an extra: whatever is wrong with it, the study is in its own files
        say(f"MLflow does not have the study ({type(error).__name__}: {next(iter(str(error).splitlines()), '')})")
        return False
    return True


def _track(study: "Study") -> None:
    settings, trials = settings_of(study), study.get_trials(deepcopy=False)
    client = tracking_client()
    experiment = experiment_of(client, settings.slug)
    parent = _parent(client, experiment, study)
    known = {
        run.data.tags["kit.trial"]
        for run in client.search_runs(
            [experiment], filter_string=f"tags.mlflow.parentRunId = '{parent}'", max_results=5000
        )
        if run.info.status != "RUNNING"
    }
    for trial in trials:
        if trial.state.is_finished() and str(trial.number) not in known:
            _track_trial(client, experiment, parent, trial)
    best = best_of(trials)
    if best is not None:
        metrics = [("error", float(best.values[0]), len(trials)), ("num_trials", float(len(trials)), len(trials))]
        log_batch(client, parent, metrics, params={})
        client.set_tag(parent, "kit.best_trial", str(best.number))
    client.set_terminated(parent)


def _parent(client: Any, experiment: str, study: "Study") -> str:
    settings = settings_of(study)
    found = client.search_runs([experiment], filter_string=f"tags.`kit.study` = '{study.study_name}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {"kit.study": study.study_name, "kit.kind": "study", "kit.protocol": settings.protocol}
    parent = str(client.create_run(experiment, run_name=f"study {study.study_name}", tags=tags).info.run_id)
    space = {f"space.{axis.key}": str(axis).removeprefix(f"{axis.key} ") for axis in settings.drawn_from.axes}
    log_batch(client, parent, [], params={**space, "objectives": ",".join(settings.objectives)})
    return parent


def _track_trial(client: Any, experiment: str, parent: str, trial: "FrozenTrial") -> None:
    said = trial.user_attrs
    tags = {
        "mlflow.parentRunId": parent,
        "kit.kind": "trial",
        "kit.trial": str(trial.number),
        "kit.ended": str(said.get("reason") or said.get("infeasible") or said.get("diverged") or trial.state.name),
    }
    run = client.create_run(experiment, run_name=f"trial {trial.number}", tags=tags).info.run_id
    metrics = [("value", float(value), int(step)) for step, value in sorted(trial.intermediate_values.items())]
    metrics += [
        (name, float(said[name]), 0)
        for name in ("error", "minutes", "peak_bytes", "predicted_bytes", "images_per_second")
        if said.get(name) is not None
    ]
    metrics += [(f"constraint_{name}", float(value), 0) for name, value in trial.constraints.items()]
    log_batch(client, run, metrics, params=trial.params)
    client.set_terminated(run, status=STATES[trial.state.name])
