"""Stopping when asked: Ctrl-C and SIGTERM let the step finish and the state be written; a second Ctrl-C does not."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from kit.errors import KitError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(KitError):
    """Training ended because somebody asked for it; what was done is kept."""

    def __init__(self, message: str, number: int) -> None:
        """Take the paragraph, and the signal's number: the exit code is 128 + that, as shells have it."""
        super().__init__(message)
        self.exit_code = 128 + number


_interrupts: list[int] = []  # that ended nothing, if we are still here


def remember_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, as ever, and be remembered until training begins.

    Libraries drop exceptions while they are imported or collected: the interrupt of somebody who is sure to have
    pressed the keys would be lost with them.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        _interrupts.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


def was_interrupted() -> bool:
    """Tell whether a Ctrl-C came that `remember_interrupts` remembers, whatever became of its exception."""
    return bool(_interrupts)


class StopRequests:
    """Takes the signals while it is entered, in the main thread; elsewhere they go where they went before."""

    def __init__(self) -> None:
        """Begin with what was asked for before, see `remember_interrupts`."""
        self.number: int | None = _interrupts.pop() if _interrupts else None  # of the first signal that came
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequests":
        """Take the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


def stop_when_alone() -> None:
    """Ask this process for its end when the one that started it is gone: to be run by a thread of its own.

    That one holds the other end of the standard input, from which nothing comes any more.
    """
    if not os.read(0, 1):  # not by sys.stdin, whose lock would be held when we exit
        os.kill(os.getpid(), signal.SIGTERM)
