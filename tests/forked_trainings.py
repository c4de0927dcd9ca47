"""Trainings in processes of their own, to be killed: forked from one that has imported everything, in milliseconds.

Run as a program, this file is that one. It reads orders from stdin, a line of JSON each, does them one after the other
in a child, and answers on stdout with lines of JSON: {"pid"} at once; {"step"} after each step and {"said"} of a
training; {"ended"} with the child's exit status as `subprocess` gives it.
"""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CLASSES = ("red", "green", "blue")
ROOM = 100_000  # bytes that a file may have on a disk that is "full": enough for a line, not for a state


class Forker:
    """The test's side of it."""

    def __init__(self, root: Path) -> None:
        """Start the process, with a toy competition below `root`."""
        places = {"KIT_HOME": "home", "KIT_COMPETITIONS": "competitions", "KIT_MIRROR": "mirror"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {name: str(root / folder) for name, folder in places.items()},
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def start(self, **order: Any) -> "Attempt":
        """Begin one; the one before must have ended."""
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return Attempt(self._answers)

    def close(self) -> None:
        """End the process."""
        self._orders.close()
        self._process.wait(timeout=60)
        self._answers.close()


class Attempt:
    """One child."""

    def __init__(self, answers: Iterator[str]) -> None:
        """Wait until it has been forked."""
        self._answers = answers
        self.said: list[str] = []
        self.step = 0  # the last that was done
        self.status: int | None = None
        self.pid = int(json.loads(next(answers))["pid"])

    def until_step(self, number: int) -> None:
        """Read on until so many of its steps are done, or it has ended."""
        done = 0
        while self.status is None and done < number:
            done += "step" in self._next()

    def until_said(self, text: str) -> None:
        """Read on until it has said this."""
        while not any(text in line for line in self.said):
            assert self.status is None, f"ended with {self.status} before it said {text!r}: {self.said}"
            self._next()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, which may come too late."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self) -> int:
        """Read on until it has ended and return its status."""
        while self.status is None:
            self._next()
        return self.status

    def _next(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(next(self._answers))
        self.step = answer.get("step", self.step)
        self.status = answer.get("ended", self.status)
        self.said += [answer["said"]] if "said" in answer else []
        return answer


# The other side.


def answer(**values: Any) -> None:
    """Write one line at once: lines this short come through a pipe whole."""
    os.write(1, (json.dumps(values) + "\n").encode())


def fit_toy(order: dict[str, Any], train: Any, valid: Any, pack: Any) -> None:
    """Train as the order says, and leave the trace beside the weights."""
    import numpy as np
    import torch

    from kit.config import recipe_from_dict
    from kit.errors import KitError
    from kit.train.loop import fit
    from kit.train.model import make_network

    plan, folder = recipe_from_dict(order["recipe"]), Path(order["folder"])

    def tick(step: int, total: int, loss: float) -> None:
        answer(step=step)
        if [step] == order.get("full", [])[:1]:
            fill_disk(full=True)
        if [step] == order.get("full", [])[1:]:
            fill_disk(full=False)

    try:
        trained = fit(
            make_network(plan.model, num_classes=3, seed=1),
            pack,
            train,
            valid,
            recipe=plan,
            classes=CLASSES,
            several=False,
            folder=folder,
            device=torch.device("cpu"),
            seed=1,
            tick=tick,
            say=lambda line: answer(said=line),
        )
    except KitError as error:
        answer(said=str(error))
        sys.exit(error.exit_code)
    with (folder / "trace.npz").open("wb") as file:
        np.savez(
            file,
            losses=trained.losses,
            lrs=trained.lrs,
            valid=np.array([(log.valid_loss, log.valid_accuracy) for log in trained.history]),
            best=trained.best_epoch,
            resumed_at=trained.resumed_at,
        )


def fill_disk(*, full: bool) -> None:
    """Let files of this process grow no more, or again."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM if full else hard, hard))


def run_kit(order: dict[str, Any]) -> None:
    """Be the `kit` command; stdout and stderr go to files."""
    from kit.cli.main import main

    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(Path(order["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.environ.update(order["env"])
    sys.argv = ["kit", *order["kit"]]
    main()


def main() -> None:
    """Import, pack, and do the orders."""
    root = Path(sys.argv[1])
    from toys import make_toy_competition

    make_toy_competition(root)
    import cv2.utils  # noqa: F401
    import timm.utils  # noqa: F401
    import torch._dynamo  # noqa: F401 (an optimizer imports it: seconds)

    import kit.cli.main
    import kit.judge.judgement
    import kit.run
    import kit.train.loop  # noqa: F401
    from kit.plan import plan_run
    from kit.store.pack import pack_images

    samples = plan_run("toy", say=lambda line: None).samples
    pack = pack_images(samples, store_size=32, say=lambda line: None)
    gc.freeze()  # a collection in a child would write to, and so copy, all that it shares with us
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.environ.update(order.get("env", {}))
                run_kit(order) if "kit" in order else fit_toy(order, samples.train, samples.test, pack)
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except KeyboardInterrupt:
                code = 130
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        answer(pid=child)
        _, status = os.waitpid(child, 0)
        answer(ended=os.waitstatus_to_exitcode(status))
    os._exit(0)  # nothing is left to tidy up, which would take seconds


if __name__ == "__main__":
    main()
