"""A recipe as the text of a TOML file, which `kit run --recipe` takes."""

import json
from collections.abc import Mapping
from typing import Any

from kit.config import Recipe


def recipe_toml(recipe: Recipe) -> str:
    """Return the text of a TOML file that reads back as `recipe`: every key, the defaults too."""
    plain = recipe.as_dict()
    tables = {key: value for key, value in plain.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in plain.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, but TOML wants one more of them.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
