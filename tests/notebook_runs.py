"""Executes a notebook as a reader would: its percent file becomes cells, which a fresh kernel runs in order."""

import base64
import os
import pwd
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

REPOSITORY = Path(__file__).parent.parent
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.py"))
# Where a notebook takes real images from, if there are any: so it is told whether it does.
MIRROR = "KIT_MIRROR"
# Of the tests or of this machine, and no part of a reader's session. Without MPLBACKEND a kernel shows figures inline.
_NOT_A_READERS = re.compile("KIT_.*|KAGGLE_.*|PYTEST_.*|PYTHONWARNINGS|MPLBACKEND|JUPYTER_.*|IPYTHON.*")
_LONGEST_CELL = 900  # seconds; a kernel that hangs is no test result
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WARNING = re.compile(r"^.*\b[A-Z]\w*Warning: .*", re.MULTILINE)


class NotebookError(AssertionError):
    """A cell failed; the message shows it with its traceback."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """A notebook after its execution."""

    name: str
    notebook: Any  # nbformat's node, with outputs
    home: Path  # its KIT_HOME
    seconds: float

    def outputs(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield (number of the cell, output)."""
        for number, cell in enumerate(self.notebook.cells):
            for output in cell.get("outputs", ()):
                yield number, output

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield (number of the cell, text) for everything that can be read: streams, plain text, HTML, tracebacks."""
        for number, output in self.outputs():
            if "text" in output:
                yield number, _COLOURS.sub("", output["text"])
            for kind, data in output.get("data", {}).items():
                if isinstance(data, str) and not kind.startswith("image/"):
                    yield number, data
            if output["output_type"] == "error":
                yield number, _COLOURS.sub("", "\n".join(output["traceback"]))

    def figures(self) -> Iterator[tuple[int, bytes]]:
        """Yield (number of the cell, PNG)."""
        for number, output in self.outputs():
            if data := output.get("data", {}).get("image/png"):
                yield number, base64.b64decode(data)

    def faults(self) -> list[str]:
        """Return what a reader should not see, a line each: tracebacks, warnings, and places of this machine."""
        found = []
        for number, text in self.texts():
            if "Traceback (most recent call last)" in text:
                found.append(f"cell {number} shows a traceback: {_around(text, 'Traceback')}")
            found += [f"cell {number} warns: {match[0]}" for match in _WARNING.finditer(text)]
            own = text.replace(str(self.home), "")
            for place in places_of_this_machine():
                if place in own:
                    found.append(f"cell {number} shows a place of this machine: {_around(own, place)}")
        return found


def places_of_this_machine() -> list[str]:
    """Return the folders that no output may name: the user's, and that of the checkout."""
    return sorted({pwd.getpwuid(os.getuid()).pw_dir.rstrip("/") + "/", f"{REPOSITORY}/"} - {"/"})


def uses_real_images(path: Path) -> bool:
    """Say whether a notebook takes real images where it is given a mirror."""
    return MIRROR in path.read_text(encoding="utf-8")


def execute(path: Path, *, folder: Path, test_data: Path | None = None, figures: Path | None = None) -> Executed:
    """Convert a percent file, run all of it in a fresh kernel, and return it with its outputs.

    Args:
        path: the notebook, `NN_name.py`.
        folder: empty; gets KIT_HOME, the user's folder, and the folder that the kernel runs in.
        test_data: folder with `data/` and `weights/`; None: embedded data.
        figures: gets the figures, as `NAME-CELL-K.png`, and the HTML outputs beside them, if given.

    Raises:
        NotebookError: a cell failed.
    """
    notebook = jupytext.read(path)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name in ("kit-home", "user", "work"):
        (folder / name).mkdir(parents=True)
    client = NotebookClient(
        notebook,
        timeout=_LONGEST_CELL,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder / "work")}},
    )
    began = time.monotonic()
    failure = None
    try:
        client.execute(env=_environment(folder, test_data))
    except CellExecutionError as error:
        failure = NotebookError(f"{path.name} stops at this cell:\n{_COLOURS.sub('', str(error))}")
    seconds = time.monotonic() - began
    executed = Executed(name=path.stem, notebook=notebook, home=folder / "kit-home", seconds=seconds)
    if figures is not None:
        keep_figures(executed, figures)
    if failure is not None:
        raise failure
    return executed


def keep_figures(executed: Executed, folder: Path) -> None:
    """Write the figures and HTML outputs of a notebook into a folder, for a person to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{executed.name}-*"):
        old.unlink()
    for k, (number, png) in enumerate(executed.figures()):
        (folder / f"{executed.name}-{number:02d}-{k}.png").write_bytes(png)
    for k, (number, output) in enumerate(executed.outputs()):
        if html := output.get("data", {}).get("text/html"):
            (folder / f"{executed.name}-{number:02d}-{k}.html").write_text(html, encoding="utf-8")


def _environment(folder: Path, test_data: Path | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _NOT_A_READERS.fullmatch(name)}
    user = folder / "user"
    given = {
        "KIT_HOME": str(folder / "kit-home"),
        "HOME": str(user),
        "KAGGLE_CONFIG_DIR": str(user / "kaggle"),
        "IPYTHONDIR": str(user / "ipython"),
        "HF_HUB_OFFLINE": "1",
        # A reader's Jupyter brings ipywidgets; where it is not, tqdm says so.
        "PYTHONWARNINGS": "ignore:IProgress not found",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        # The kernel runs elsewhere; it is this checkout's kit that is tested.
        "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")])),
    }
    if test_data is not None:
        given |= {MIRROR: str(test_data / "data"), "KIT_WEIGHTS": str(test_data / "weights")}
    return kept | given


def _around(text: str, word: str) -> str:
    at = text.index(word)
    return repr(text[max(0, at - 60) : at + 120])
