"""Progress: how a stage tells what it is doing."""

from collections.abc import Callable
from typing import TypeAlias

Say: TypeAlias = Callable[[str], None]  # takes one line; the command line prints it to stderr
