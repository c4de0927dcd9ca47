"""A network of the user's own: code that the recipe names as "FILE.py:function", as a competition names its adapter."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from kit.config import ModelConfig
from kit.errors import ConfigError, did_you_mean
from kit.home import fingerprint
from kit.own_code import run_file

_MARK = ".py:"


def is_own(name: str) -> bool:
    """Tell whether `model.name` is "FILE.py:function" rather than a network of timm."""
    return _MARK in name


def code_fingerprint(config: ModelConfig) -> str:
    """Return the SHA-256 of the file that makes the network, or an empty string for a network of timm.

    Raises:
        ConfigError: no such file.
    """
    return fingerprint(_file_of(config.name).read_bytes()) if is_own(config.name) else ""


def read_own(name: str) -> tuple[Callable[..., Any], ModuleType]:
    """Import the file that `name` ("FILE.py:function") names and return the function and the file's module.

    The path is absolute or relative to the current folder. The file is run, as an adapter is: it is the user's own
    code. What fails inside it keeps its traceback, which leads to the line.

    Raises:
        ConfigError: no such file, or no such function in it.
    """
    file = _file_of(name)
    function_name = name.rpartition(":")[2]
    module = run_file(file, module_name=f"kit_own_{file.stem}_{fingerprint(str(file))[:8]}")
    function = getattr(module, function_name, None)
    if not callable(function):
        there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(
            f"model.name: {file} has no function {function_name!r}.{did_you_mean(function_name, there)} A function "
            "that takes num_classes and returns a torch.nn.Module is expected."
        )
    return function, module


def _file_of(name: str) -> Path:
    file = Path(name.rpartition(":")[0]).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(
            f"model.name: there is no file {file}, which {name!r} names. Give the path of a Python file, absolute or "
            "relative to the current folder, and a function in it: FILE.py:function."
        )
    return file
