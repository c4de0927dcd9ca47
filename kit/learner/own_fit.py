"""One model of one's own, made anew, fitted and asked: what it answers is checked and put into the classes' order."""

import copy
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kit.errors import ConfigError, TrainingError

Truth = NDArray[np.int64] | NDArray[np.float64]
MOST_OFF = 1e-3  # by which a row of probabilities may miss 1: float32 over a thousand classes misses by less


def maker_of(model: Any) -> Callable[[], Any]:
    """Return what gives an unfitted model each time it is called.

    Args:
        model: a scikit-learn estimator, which is cloned; another object with fit and predict_proba, which is copied as
            it is before the first fit; or a class or function that is called without arguments.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(model, type) or (callable(model) and not hasattr(model, "fit")):
        return _from_factory(model)
    refuse_unfit(model)
    if hasattr(model, "get_params"):
        from sklearn.base import clone

        return lambda: clone(model, safe=False)
    return lambda: copy.deepcopy(model)


def _from_factory(factory: Callable[[], Any]) -> Callable[[], Any]:
    made: list[Any] = []  # kept alive, so that no later model can have the address of one of these

    def make() -> Any:
        try:
            one = factory()
        except Exception as error:
            raise ConfigError(
                f"{factory!r} should make a model, and failed: {type(error).__name__}: {error}. Give run_own an "
                "object with fit and predict_proba, or a function without arguments that returns a new one."
            ) from error
        refuse_unfit(one)
        if any(one is before for before in made):
            raise ConfigError(
                f"{factory!r} returned the same {type(one).__name__} twice. Each fold needs a model of its own, or the "
                "second would have seen what it is asked: make the model inside the function."
            )
        made.append(one)
        return one

    return make


def refuse_unfit(model: Any) -> None:
    """Refuse what cannot be fitted, or gives no probabilities.

    Raises:
        ConfigError: says which of the two it lacks, and what to do.
    """
    name = type(model).__name__
    if not callable(getattr(model, "fit", None)):
        raise ConfigError(
            f"A {name} has no fit(X, y), so it cannot take a network's place. run_own takes a scikit-learn estimator, "
            "any object with fit(X, y) and predict_proba(X), or a function that returns one."
        )
    if not callable(getattr(model, "predict_proba", None)):
        hard = "It answers with classes alone. " if callable(getattr(model, "predict", None)) else ""
        raise ConfigError(
            f"{name} has no predict_proba(X). {hard}Scores, ensembles and submissions need a probability for each "
            f"class: wrap it, as in sklearn.calibration.CalibratedClassifierCV({name}(...)), or give it a "
            "predict_proba of your own."
        )


def fitted(
    make: Callable[[], Any],
    rows: Any,
    truth: Truth,
    *,
    weights: NDArray[np.float64] | None,
    seed: int,
    whose: str,
) -> Any:
    """Return a new model that has learned from some rows.

    Args:
        make: gives it, see `maker_of`.
        rows: (N, F) features.
        truth: (N,) int64, index of the class; or (N, C) float64 of 0 and 1, where a row may have several labels.
        weights: (N,) how much each row counts; None: all alike.
        seed: of all that draws: `random_state` wherever it is a parameter and None, and the global generators.
        whose: stands in errors, e.g. "fold-0".

    Raises:
        ConfigError: it is no model, or takes no weights.
        TrainingError: its fit failed.
    """
    with global_generators(seed):
        model = _seeded(make(), seed)
        extra = {} if weights is None else {_weight_name(model): weights}
        try:
            returned = model.fit(rows, truth, **extra)
        except Exception as error:
            raise TrainingError(
                f"{whose}: {type(model).__name__}.fit failed on {len(truth):,} rows: {_said(error)} The lines above "
                "show where. What was done before is kept: run the same call again when it is mended."
            ) from error
    return returned if callable(getattr(returned, "predict_proba", None)) else model


def answered(
    model: Any, rows: Any, *, classes: Sequence[str], several: bool, seed: int, whose: str
) -> NDArray[np.float32]:
    """Return (N, C) float32: a fitted model's probabilities of some rows, column k for class k.

    Columns are put in order by the model's `classes_`, which holds class numbers or names; a class that it never saw
    gets 0. Where a row may have several labels, scikit-learn's list of C arrays (N, 2) is taken too.

    Args:
        model: fitted.
        rows: (N, F).
        classes: C names in order.
        several: an image may have any number of labels.
        seed: of the global generators.
        whose: stands in errors.

    Raises:
        TrainingError: predict_proba failed or gave something else than probabilities.
    """
    name = f"{whose}: {type(model).__name__}"
    num_rows = len(rows)
    with global_generators(seed):
        try:
            found = model.predict_proba(rows)
        except Exception as error:
            raise TrainingError(f"{name}.predict_proba failed on {num_rows:,} rows: {_said(error)}") from error
    known = getattr(model, "classes_", None)
    try:
        answers = _of_several(found, known) if several and isinstance(found, list) else np.asarray(found, np.float64)
    except (TypeError, ValueError) as error:
        raise TrainingError(
            f"{name}.predict_proba gave a {type(found).__name__} that is no table of numbers ({error}), expected "
            f"({num_rows}, {len(classes)}): a probability for each class."
        ) from error
    if answers.ndim != 2 or len(answers) != num_rows:
        hard = " A class for each row is no probability: return a column for each class." if answers.ndim == 1 else ""
        raise TrainingError(
            f"{name}.predict_proba gave an array {answers.shape} for {num_rows:,} rows, expected "
            f"({num_rows}, {len(classes)}): a probability for each class.{hard}"
        )
    answers = _in_order(answers, None if several else known, classes=classes, name=name)
    if bad := int((~np.isfinite(answers)).any(axis=1).sum()):
        raise TrainingError(
            f"{name}.predict_proba gave NaN or infinite values for {bad:,} of {num_rows:,} rows. Look for features "
            "that are constant or missing, and for a scale that runs away."
        )
    off = ((answers < -MOST_OFF) | (answers > 1 + MOST_OFF)).any(axis=1)
    if not several:
        off |= np.abs(answers.sum(axis=1) - 1) > MOST_OFF
    if off.any():
        first = np.array2string(answers[int(off.argmax())][:5], precision=3, separator=", ")
        raise TrainingError(
            f"{name}.predict_proba gave {int(off.sum()):,} of {num_rows:,} rows that are no probabilities: values in "
            f"[0, 1]{'' if several else ' that sum to 1'} are expected, and the first of them begins {first}. Scores "
            "of a decision function become probabilities by a softmax or by sklearn.calibration."
        )
    answers = answers.clip(0, 1)
    if not several:
        answers /= answers.sum(axis=1, keepdims=True)
    return answers.astype(np.float32)


def _of_several(found: list[Any], known: Any) -> NDArray[np.float64]:
    """Return (N, C) of a list with (N, 2), or (N, 1) where a label was always there or never, for each class."""
    columns = []
    for k, one in enumerate(found):
        table = np.asarray(one, np.float64)
        values = list(known[k]) if isinstance(known, list) and k < len(known) else [0, 1][: table.shape[1]]
        columns.append(table[:, values.index(1)] if 1 in values else np.zeros(len(table)))
    return np.stack(columns, axis=1)


def _in_order(answers: NDArray[np.float64], known: Any, *, classes: Sequence[str], name: str) -> NDArray[np.float64]:
    if known is None:
        if answers.shape[1] != len(classes):
            raise TrainingError(
                f"{name}.predict_proba gave {answers.shape[1]} columns for {len(classes)} classes. Give a column for "
                "each class, also for one that no row was of, or say in an attribute classes_ which columns these are."
            )
        return answers
    number_of = {text: k for k, text in enumerate(classes)}
    columns = [int(one) if isinstance(one, int | np.integer) else number_of.get(str(one), -1) for one in known]
    fits = len(columns) == answers.shape[1] and len(set(columns)) == len(columns)
    if not fits or not all(0 <= column < len(classes) for column in columns):
        raise TrainingError(
            f"{name}: classes_ is {[str(one) for one in known][:5]} beside {answers.shape[1]} columns of "
            f"probabilities. It must name each column once, by the number of a class (0 to {len(classes) - 1}) or by "
            "its name."
        )
    ordered = np.zeros((len(answers), len(classes)))
    ordered[:, columns] = answers
    return ordered


def _seeded(model: Any, seed: int) -> Any:
    """Give the seed to each `random_state` of a scikit-learn estimator, and of those inside it, that is None."""
    if hasattr(model, "get_params") and hasattr(model, "set_params"):
        found = model.get_params(deep=True)
        unset = [key for key, value in found.items() if value is None and key.rpartition("__")[2] == "random_state"]
        model.set_params(**dict.fromkeys(unset, seed))
    return model


def _weight_name(model: Any) -> str:
    """Return the keyword of `fit` that takes the rows' weights: of a Pipeline, its last step's."""
    steps, prefix = getattr(model, "steps", None), ""
    if steps:
        model, prefix = steps[-1][1], f"{steps[-1][0]}__"
    if "sample_weight" not in inspect.signature(model.fit).parameters:
        raise ConfigError(
            f"The rows have weights, and {type(model).__name__}.fit takes no sample_weight. Take a model that does, or "
            "leave the weights out of the competition (labels.weight_column, or `weight` in adapter.py)."
        )
    return f"{prefix}sample_weight"


@contextmanager
def global_generators(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and, where it is loaded, PyTorch; afterwards all are as they were."""
    torch = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()
    pytorch = torch.random.get_rng_state() if torch is not None else None
    random.seed(seed)
    np.random.seed(seed)
    if torch is not None:
        torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch is not None:
            torch.random.set_rng_state(pytorch)


def _said(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}{': ' if first else ''}{first}{'' if first.endswith('.') else '.'}"


def num_fitted(model: Any) -> int:
    """Return how many numbers a fitted model holds in arrays, as far as it can be pickled; nothing is written.

    Of a nearest-neighbour classifier these are the training rows, of a forest the numbers in its nodes.
    """
    import io
    import pickle

    total, seen = 0, set[int]()

    class Counting(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            nonlocal total
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiubcV" and id(value) not in seen:
                seen.add(id(value))
                total += value.size * max(1, len(value.dtype.names or ()))
            return NotImplemented

    class Nowhere(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            return len(memoryview(content).cast("B")) if not isinstance(content, bytes) else len(content)

    try:
        Counting(io.BufferedWriter(Nowhere()), protocol=5).dump(model)
    except Exception:  # a lambda, a lock, a handle: what was counted so far is a part, and is not told
        return 0
    return total
