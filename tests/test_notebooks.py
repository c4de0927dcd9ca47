"""Each notebook is valid, tells itself without outputs, and runs from top to bottom in a fresh kernel.

One that takes real images is run on them where KIT_TEST_DATA names them, and on the embedded ones otherwise: once, not
twice. KIT_NOTEBOOK_FIGURES names a folder that gets the figures.
"""

import os
import re
from pathlib import Path

import jupytext
import pytest
from notebook_runs import NOTEBOOKS, NotebookError, execute, uses_real_images

TEST_DATA = os.environ.get("KIT_TEST_DATA")
LONGEST = 350  # lines
# Places of a machine; and a setting that tests have and readers have not.
MACHINE_PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|work|tmp|usr|opt|mnt|var|Users|data)/|\b[A-Z]:\\|KIT_TEST_DATA")


class Seconds:
    """Lines for the end of the test report: how long each notebook took."""

    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print them."""
        terminalreporter.section("notebooks")
        for name, seconds in self.of.items():
            terminalreporter.line(f"{seconds:6.1f} s  {name}")
        terminalreporter.line(f"{sum(self.of.values()):6.1f} s  all of them")


@pytest.fixture(scope="module")
def seconds(request: pytest.FixtureRequest) -> Seconds:
    kept = Seconds()
    request.config.pluginmanager.register(kept)
    return kept


@pytest.fixture(autouse=True)
def user_folder(own_home, tmp_path):
    """Make the user's folder of the test, which Jupyter looks into."""
    (tmp_path / "user").mkdir()


def real_or_embedded(path: Path) -> Path | None:
    return Path(TEST_DATA) if TEST_DATA and uses_real_images(path) else None


CHOSEN = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.real] if real_or_embedded(path) else []) for path in NOTEBOOKS
]


def run(path: Path, tmp_path: Path, **options: Path | None):
    figures = os.environ.get("KIT_NOTEBOOK_FIGURES")
    return execute(path, folder=tmp_path / path.stem, figures=Path(figures) if figures else None, **options)


@pytest.mark.parametrize("path", CHOSEN)
def test_the_notebook_runs_from_top_to_bottom_and_shows_nothing_of_this_machine(path, tmp_path, seconds):
    done = run(path, tmp_path, test_data=real_or_embedded(path))
    seconds.of[path.stem] = done.seconds
    assert done.faults() == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_file_is_a_percent_notebook_with_a_title_and_without_outputs(path):
    text = path.read_text(encoding="utf-8")
    notebook = jupytext.read(path)
    first = notebook.cells[0]
    assert first.cell_type == "markdown" and re.match(r"# \w", first.source), "it begins with a title"
    assert sum(cell.cell_type == "code" for cell in notebook.cells) >= 3
    assert all(cell.source.strip() for cell in notebook.cells), "a cell is empty"
    assert len(text.splitlines()) <= LONGEST
    assert not MACHINE_PATHS.findall(text)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    # What a notebook program would write is the same story: nothing is lost on the way there and back.
    again = jupytext.reads(jupytext.writes(notebook, fmt="ipynb"), fmt="ipynb")
    assert [(cell.cell_type, cell.source) for cell in again.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(re.sub(r"(?m)^([%!]).*$", "pass", cell.source), path.name, "exec")


def test_only_percent_files_are_kept():
    assert NOTEBOOKS
    assert {path.suffix for path in NOTEBOOKS[0].parent.iterdir() if path.is_file()} == {".py"}


def write(folder: Path, *cells: str) -> Path:
    path = folder / "99_made_up.py"
    path.write_text("# %% [markdown]\n# # Made up\n" + "".join(f"\n# %%\n{cell}\n" for cell in cells))
    return path


def test_a_cell_that_fails_is_shown_with_its_traceback(tmp_path):
    path = write(tmp_path, "whole = 6", "part = whole / 0", "part = 'never'")
    with pytest.raises(NotebookError, match=r"(?s)99_made_up.*part = whole / 0.*Traceback.*ZeroDivisionError"):
        run(path, tmp_path)


def test_figures_warnings_tracebacks_and_places_are_seen_but_those_under_kit_home_are_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_NOTEBOOK_FIGURES", str(tmp_path / "figures"))
    path = write(
        tmp_path,
        "import os, traceback, warnings\nfrom matplotlib import pyplot\npyplot.plot([1, 2]);",
        "warnings.warn('odd', stacklevel=1)",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()",
        "os.environ['KIT_HOME'] + '/board', os.environ.get('KIT_TEST_DATA'), os.environ['HOME']",
        f"print({str(Path(__file__).parent)!r})",
    )
    done = run(path, tmp_path)
    assert [line[:25] for line in done.faults()] == [
        "cell 2 warns: /" + done.faults()[0][15:25],
        "cell 3 shows a traceback:",
        "cell 5 shows a place of t",
    ]
    assert "UserWarning: odd" in done.faults()[0]
    assert [image.read_bytes()[1:4] for image in (tmp_path / "figures").glob("99_made_up-01-*.png")] == [b"PNG"]
