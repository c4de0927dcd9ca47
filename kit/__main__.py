"""The `kit` command, and `python -m kit`: a Ctrl-C ends it in one line from the first moment on."""

import os
import signal
from types import FrameType

from kit.errors import INTERRUPTED, PARTING


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{PARTING}\n".encode())
    os._exit(INTERRUPTED)  # nothing has begun that could be left half done


def main() -> None:
    """Run the command line, see `kit.cli.main`."""
    signal.signal(signal.SIGINT, _end)  # importing takes a moment, in which Python's own answer is a traceback
    from kit.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
