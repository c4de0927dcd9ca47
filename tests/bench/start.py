"""What a run costs beside its training: the seconds to its first step, and what tracking and checkpoints take.

    KIT_TEST_DATA=... python -m tests.bench.start --out FOLDER [--rounds 3] [--set KEY=VALUE ...]

`kit run pets --source subset`, as the command line does it, in a process of its own each round, on a machine that has
the files, the pack and Python's compiled modules already (the first round makes them and is not counted; bytecode is
written also where PYTHONDONTWRITEBYTECODE is set, or every start would compile torch). The clock starts before the
process is made; torch tells when its first optimizer step is done. The time inside the kit's own functions that write
checkpoints and states and that talk to MLflow is taken by wrapping them. Each round is another seed, so that it trains.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.parts import Parts, data_folder, hardware, say


def main(arguments: list[str]) -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.start")
    parser.add_argument("--out", type=Path, required=True, help="folder for finished parts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe; repeatable")
    options = parser.parse_args(arguments)
    os.environ["KIT_HOME"] = str((options.out / "home").resolve())
    os.environ["KIT_WEIGHTS"] = str(data_folder() / "weights")
    parts = Parts(options.out, settings={"set": options.set})
    parts.get("warm-up", lambda: measured([*options.set, "schedule.frozen_epochs=1", "schedule.epochs=0", "seed=1000"]))
    found = [
        parts.get(f"start-{seed}", lambda seed=seed: measured([*options.set, f"seed={seed}"]))
        for seed in range(1, options.rounds + 1)
    ]
    print(f"`python -m tests.bench.start {' '.join(sys.argv[1:])}` on {hardware()}; medians of {len(found)} runs.\n")
    print("| what | seconds | share of the run |\n| --- | --- | --- |")
    names = {
        "first_step": "from the start of the process to the first optimizer step",
        "checkpoints": "writing checkpoints and states",
        "tracking": "tracking: MLflow's table, its import included",
        "whole": "the whole run",
    }
    for key, name in names.items():
        seconds = statistics.median(one[key] for one in found)
        share = statistics.median(one[key] / one["whole"] for one in found)
        print(f"| {name} | {seconds:.1f} | {share:.1%} |")
    cost = statistics.median((one["checkpoints"] + one["tracking"]) / one["whole"] for one in found)
    print(f"| tracking and checkpoints together | | {cost:.1%} |")
    from kit.home import write_json

    write_json(options.out / "start.json", {"command": sys.argv[1:], "hardware": hardware(), "runs": found})


def measured(overrides: list[str]) -> dict[str, float]:
    """Do one run in a new process and return its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = ["run", "pets", "--source", "subset", "--mirror", str(data_folder() / "data")]
        command += [part for one in overrides for part in ("--set", one)]
        begun = time.time()
        subprocess.run(
            [sys.executable, "-m", "tests.bench.start", "--child", str(begun), str(answer), *command],
            check=True,
            stdout=sys.stderr,
            env={key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
        )
        found: dict[str, float] = json.loads(answer.read_text(encoding="utf-8"))
        say(f"    {found}")
        return found


def child(begun: str, answer: str, *command: str) -> None:
    """Be `kit` with these arguments, and write what took how long."""
    start = float(begun)
    found: dict[str, float] = {"checkpoints": 0.0, "tracking": 0.0}

    def timed(function: Callable[..., Any], key: str) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            before = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                found[key] += time.perf_counter() - before

        return wrapped

    # Before anything imports their names.
    import kit.train.checkpoint
    import kit.train.state

    kit.train.checkpoint.save_checkpoint = timed(kit.train.checkpoint.save_checkpoint, "checkpoints")
    kit.train.state.write_state = timed(kit.train.state.write_state, "checkpoints")
    from torch.optim.optimizer import register_optimizer_step_post_hook

    import kit.run

    kit.run.track_run = timed(kit.run.track_run, "tracking")
    register_optimizer_step_post_hook(lambda *_: found.setdefault("first_step", time.time() - start) and None)
    from kit.cli.main import main as kit_main

    sys.argv = ["kit", *command]
    try:
        kit_main()
    except SystemExit as end:
        if end.code:
            raise
    found["whole"] = time.time() - start
    Path(answer).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(sys.argv[1:])
