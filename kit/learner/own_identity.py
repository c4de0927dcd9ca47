"""What a model of the user's own is: its class and parameters as plain values, and a fingerprint of its code.

Two models with one identity give the same answers to the same rows, as far as code and parameters decide them. Of
libraries the name and version count; of code outside them (a notebook's, a script's) each function that is reached, by
its bytecode. Nothing is ever read back from a file: a model is the user's code.
"""

import math
import sys
import sysconfig
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from kit.home import fingerprint

# What a class holds besides code, some of it put there when it is used: `__slotnames__` by pickling, caches by `abc`.
NOT_CODE = (
    *("__dict__", "__weakref__", "__doc__", "__module__", "__firstlineno__", "__annotations__", "__slotnames__"),
    *("__abstractmethods__", "_abc_impl", "__static_attributes__"),
)
_DEEPEST = 20  # of values inside values: what lies deeper is told by its type


def described(model: Any) -> dict[str, Any]:
    """Return what the record of a run says of a model: `class`, `parameters`, `version` of its library.

    A scikit-learn estimator is told by `get_params`, with the estimators inside it; a class or a function by its name;
    any other object by its attributes. All values are such as JSON has.
    """
    if isinstance(model, type) or not hasattr(model, "fit"):
        made_by = getattr(model, "func", model)  # of a functools.partial
        return {"factory": _name_of(made_by), "version": _version_of(made_by), "code": code_fingerprint(model)[:12]}
    found = {"class": _name_of(type(model)), "parameters": _plain(_parameters(model), 0)}
    return {**found, "version": _version_of(type(model))}


def identity(model: Any) -> str:
    """Return a SHA-256 of a model's class, parameters and code."""
    return fingerprint(repr(_told(model, set(), 0)))


def code_fingerprint(function: Callable[..., Any]) -> str:
    """Return a SHA-256 of a function's code: its own, that of functions of the user's that it calls, their constants.

    Functions of libraries count by name and version. What a function reads from elsewhere (a file, an attribute that is
    looked up by a name that is made at run time) is not seen.
    """
    return fingerprint(repr(_told(function, set(), 0)))


def _parameters(model: Any) -> Mapping[str, Any]:
    if hasattr(model, "get_params"):
        shallow: Mapping[str, Any] = model.get_params(deep=False)
        return shallow
    return dict(vars(model))


def _plain(value: Any, depth: int) -> Any:
    """Return a value as JSON has it; what it cannot hold is told by type and fingerprint."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float) and not hasattr(value, "dtype"):
        return value if math.isfinite(value) else str(value)
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {str(key): _plain(one, depth + 1) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [_plain(one, depth + 1) for one in value]
        if hasattr(value, "get_params") and not isinstance(value, type):
            return {"class": _name_of(type(value)), **_plain(value.get_params(deep=False), depth + 1)}
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a number of NumPy's
        return _plain(value.item(), depth)
    kind = value if isinstance(value, type | FunctionType) else type(value)
    return f"{_name_of(kind)} {fingerprint(repr(_told(value, set(), 0)))[:12]}"


def _told(value: Any, seen: set[int], depth: int) -> Any:
    """Return nested tuples of text and numbers that are equal for equal values, in this process and in others."""
    import numpy as np

    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Path) or value is Ellipsis:
        return (type(value).__name__, repr(value))
    if isinstance(value, np.ndarray | np.generic):
        content = repr([_told(one, seen, depth + 1) for one in value.ravel().tolist()]) if value.dtype.hasobject else ""
        return ("array", str(value.dtype), value.shape, content or fingerprint(np.ascontiguousarray(value).tobytes()))
    if id(value) in seen or depth > _DEEPEST:
        return ("again", _name_of(value if isinstance(value, type | FunctionType) else type(value)))
    seen = {*seen, id(value)}  # on the way to here: the same list may stand in two places
    if isinstance(value, Mapping):
        return ("mapping", [(_told(k, seen, depth + 1), _told(v, seen, depth + 1)) for k, v in value.items()])
    if isinstance(value, list | tuple):
        return (type(value).__name__, [_told(one, seen, depth + 1) for one in value])
    if isinstance(value, set | frozenset):
        return ("set", sorted(repr(_told(one, seen, depth + 1)) for one in value))
    if isinstance(value, CodeType):
        return _code(value, seen, depth)
    if isinstance(value, ModuleType):
        return ("module", value.__name__, _version_of(value))
    if isinstance(value, type):
        return _class(value, seen, depth)
    if isinstance(value, FunctionType):
        return _function(value, seen, depth)
    if isinstance(inner := getattr(value, "__wrapped__", None), FunctionType):  # of functools.cache
        return ("wrapped", _told(inner, seen, depth + 1))
    if (inner := getattr(value, "__func__", None)) is not None:  # a bound method
        return ("method", _told(inner, seen, depth + 1), _told(value.__self__, seen, depth + 1))
    parameters = _state(value)
    return ("object", _told(type(value), seen, depth + 1), _told(parameters, seen, depth + 1))


def _state(value: Any) -> Any:
    """Return what an object holds: its parameters, or what it would be pickled as, or its attributes."""
    if hasattr(value, "get_params"):
        return value.get_params(deep=False)
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # generators, locks, handles: anything may refuse, in its own way
        return dict(getattr(value, "__dict__", {}))
    if isinstance(reduced, str):  # the name of a global
        return reduced
    items = [list(one) for one in reduced[3:5] if one is not None]  # of a kind of list or dict
    return (*reduced[1:3], items)


def _function(function: FunctionType, seen: set[int], depth: int) -> Any:
    if _of_a_library(function):
        return ("function", _name_of(function), _version_of(function))
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    names = _names_in(function.__code__)
    reached = {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for module in [one for one in (*reached.values(), *cells) if isinstance(one, ModuleType) and _is_own(one)]:
        reached |= {f"{module.__name__}.{name}": vars(module)[name] for name in names & vars(module).keys()}
    held = (function.__defaults__, function.__kwdefaults__, cells, dict(sorted(reached.items())))
    return ("function", _code(function.__code__, seen, depth), _told(held, seen, depth + 1))


def _is_own(module: ModuleType) -> bool:
    """Tell whether a module is a file outside installed packages and the standard library."""
    file = getattr(module, "__file__", None)
    return file is not None and not str(Path(file).resolve()).startswith(_library_folders())


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _names_in(code: CodeType) -> set[str]:
    """Return the names that a code object, and those inside it, may look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names_in(constant)
    return names


def _code(code: CodeType, seen: set[int], depth: int) -> Any:
    constants = [_told(one, seen, depth + 1) for one in code.co_consts]
    return ("code", code.co_code.hex(), code.co_names, code.co_varnames, constants)


def _class(kind: type, seen: set[int], depth: int) -> Any:
    if _of_a_library(kind):
        return ("class", _name_of(kind), _version_of(kind))
    members = [
        (name, _told(getattr(member, "__func__", getattr(member, "fget", member)), seen, depth + 1))
        for name, member in sorted(vars(kind).items())
        if name not in NOT_CODE
    ]
    bases = [_told(base, seen, depth + 1) for base in kind.__bases__]
    return ("class", kind.__qualname__, members, bases)


@cache
def _library_folders() -> tuple[str, ...]:
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{Path(place).resolve()}/" for place in places if place)


def _of_a_library(thing: Any) -> bool:
    """Tell whether a class or function stands in an installed package, the standard library, or Python itself."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return file is None or str(Path(str(file)).resolve()).startswith(_library_folders())


def _version_of(thing: Any) -> str:
    """Return the library that a thing is from with its version, "" where it has none."""
    named = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None) or ""
    top = sys.modules.get(named.partition(".")[0])
    version = getattr(top, "__version__", "")
    return f"{named.partition('.')[0]} {version}" if isinstance(version, str) and version else ""


def _name_of(thing: Any) -> str:
    return f"{getattr(thing, '__module__', None) or '?'}.{getattr(thing, '__qualname__', type(thing).__name__)}"
