"""How commands speak: lines of progress, one JSON document for programs, widths and colours."""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from kit.progress import Lines

PLAIN_WIDTH = 120  # of what is written to a file or a pipe

say = Lines()


def width(*, narrowest: int = 40) -> int:
    """Return how many columns a line may have: the terminal's, at most `PLAIN_WIDTH`."""
    if not sys.stdout.isatty():
        return PLAIN_WIDTH
    return max(narrowest, min(PLAIN_WIDTH, shutil.get_terminal_size().columns))


def has_colours() -> bool:
    """Whether standard output is a terminal that wants colours (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, **style: Any) -> str:
    """Return the text in a colour or weight, where there are colours; the arguments are those of `typer.style`."""
    import typer

    return typer.style(text, **style) if has_colours() else text


def print_json(value: object) -> None:
    """Print one JSON document and nothing else; what is not a finite number is null."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def plain(value: Any) -> Any:
    """Return what JSON can hold of dataclasses, paths, arrays and tables: objects, lists, text, finite numbers."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # infinite or not a number
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "tolist"):  # numpy's
        return plain(value.tolist())
    return str(value)
