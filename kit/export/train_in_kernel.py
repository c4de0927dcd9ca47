"""Training on Kaggle, by the recipe of an exported run: within a session's time, and on from an earlier session's end.

A process of its own trains, so that it can be asked to stop as any training can: by a signal.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import DataError
from kit.export.in_kernel import Session, competition_of, data_folder, devices, folders_below, write_answers
from kit.progress import Say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from kit.plan import RunPlan

SOURCE = "kernel"  # the source set that stands for the session's files


def train_there(session: Session) -> Path:
    """Train as the exported run did, folds side by side on the GPUs there are, and write the submission.

    A process of its own trains, and is asked to stop when the time is nearly over: it finishes the step, keeps its
    state in `working`/runs and answers with the models that are done. The next session goes on from there, where the
    output of this one is attached.

    Returns:
        `working`/submission.csv.

    Raises:
        DataError: no model was finished in time, or the training failed.
    """
    places = (session.bundle, session.root, session.working, session.temporary)
    env = {**os.environ, "PYTHONPATH": str(session.bundle / "code")}
    command = [sys.executable, "-m", "kit.export.train_in_kernel", *map(str, places), str(session.limit_seconds)]
    with subprocess.Popen(command, env=env) as training:
        try:
            training.wait(timeout=max(0.0, session.seconds_left()))
        except subprocess.TimeoutExpired:
            print("the time is over: training is asked to stop")
            training.send_signal(signal.SIGTERM)
            training.wait()
    path = session.working / "submission.csv"
    if training.returncode or not path.is_file():
        raise DataError(
            f"The training ended with exit code {training.returncode} and no submission. If the time was over, attach "
            "this session's output (kernel_sources) and run again: it goes on from the last step."
        )
    return path


def train(session: Session, *, say: Say = print) -> None:
    """Train in this process, and write the submission of the models that there are in the end.

    Raises:
        StoppedError: asked to stop before any model was finished; the state is kept.
    """
    from kit.plan import plan_run
    from kit.run import finish
    from kit.train.models import find_model
    from kit.train.stopping import StoppedError

    home = session.temporary / "kit"
    _take_up_earlier(session, home)
    competition = competition_of(session)
    data = data_folder(session, competition)
    folders = session.temporary / "competitions"
    shutil.rmtree(folders, ignore_errors=True)
    shutil.copytree(competition.folder, folders / competition.slug)
    with (folders / competition.slug / "competition.toml").open("a", encoding="utf-8") as file:
        file.write(f"\n[sources.{SOURCE}]\nfolder = {json.dumps(str(data.resolve()))}\n")
    os.environ |= {
        "KIT_HOME": str(home),
        "KIT_COMPETITIONS": str(folders),
        "KIT_WEIGHTS": str(session.bundle / "weights"),
        "HF_HUB_OFFLINE": "1",
    }
    plan = plan_run(
        competition.slug,
        recipe=str(session.bundle / "recipe.toml"),
        protocol=session.about["protocol"],
        source=SOURCE,
        despite_findings=True,  # the run has passed; what hidden test images are like must not end the session
        say=say,
    )
    try:
        finish(plan, say=say, parallel=len(devices()))
        shutil.copyfile(plan.folder / "submission.csv", session.working / "submission.csv")
    except StoppedError as error:
        done = [name for name in plan.models if find_model(plan.folder / "models", name)]
        say(f"stopped: {error} Models that are done: {', '.join(done) or 'none'}")
        if not done:
            raise
        answered = _mean_of_models(plan, done)
        write_answers(session, competition, plan.samples.test, answered, data=data, clip=0.0)


def _mean_of_models(plan: "RunPlan", names: Sequence[str]) -> "NDArray[np.float32]":
    """Return (N, C): the answers of the model trained on everything, or the mean of the fold models that are done."""
    import numpy as np

    from kit.plan import pack_for
    from kit.train.checkpoint import load_checkpoint
    from kit.train.inference import answers
    from kit.train.model import choose_device
    from kit.train.models import FULL, find_model

    pack = pack_for(plan, say=print)
    parts = []
    for name in [FULL] if FULL in names else names:
        model = find_model(plan.folder / "models", name)
        assert model is not None
        checkpoint = load_checkpoint(model.checkpoint, config=plan.recipe.model)
        device = choose_device(plan.recipe.device)
        parts.append(answers(checkpoint, pack, plan.samples.test, recipe=plan.recipe, device=device))
    mean: NDArray[np.float32] = np.mean(parts, axis=0).astype(np.float32)
    return mean


def _take_up_earlier(session: Session, home: Path) -> None:
    """Let the runs be kept in `working`, beginning with those that an earlier session's output has."""
    runs = session.working / "runs"
    if not runs.is_dir():
        earlier = next((one for one in folders_below(session.root) if one.name == "runs"), None)
        if earlier is not None:
            shutil.copytree(earlier, runs)
            print(f"going on from {earlier}")
    runs.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "runs").exists():
        (home / "runs").symlink_to(runs.resolve())


if __name__ == "__main__":
    bundle, root, working, temporary = map(Path, sys.argv[1:5])
    train(Session(bundle=bundle, root=root, working=working, temporary=temporary, limit_seconds=float(sys.argv[5])))
