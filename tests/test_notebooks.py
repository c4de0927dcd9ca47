"""Notebooks are told with the kit's own functions; each is executed here, as a script."""

import runpy
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_from_top_to_bottom(path, capsys):
    names = runpy.run_path(str(path))
    assert names["record"].results
    assert "not comparable" in capsys.readouterr().out
