"""The site of the docs: `make docs` writes it to docs/_build/html; it needs nothing from the network."""

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for pages.py, the commands' pages

import pages
from sphinx.application import Sphinx

project = "competition-kit"
author = "the competition-kit authors"
release = installed_version("competition-kit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "html_image"]
myst_heading_anchors = 3
suppress_warnings = [
    "myst.xref_missing"
]  # links out of docs/, to files of the repository: tests/test_docs.py follows them
exclude_patterns = ["_build"]

autodoc_typehints = "signature"
autodoc_preserve_defaults = True  # as in the source: `print`, not the object
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
python_use_unqualified_type_names = True
# A long signature is told a parameter a line.
maximum_signature_line_length = 80
napoleon_google_docstring = True

html_theme = "furo"
html_title = "competition-kit"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sourcelink = False
html_show_copyright = False
html_copy_source = False
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def marked_up(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Read docstrings as they are written: a backtick means code, three of them a block of it, a bar is a bar."""
    read, in_block = [], False
    for line in lines:
        if line.lstrip().startswith("```"):
            in_block = not in_block
            read += ["", line.replace("```", ".. code-block:: "), ""] if in_block else [""]
        elif in_block:
            read.append(f"    {line}")
        else:
            read.append(re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).replace("|", r"\|"))
    lines[:] = read


def setup(app: Sphinx) -> None:
    """Tell Sphinx of it."""
    app.connect("autodoc-process-docstring", marked_up)


pages.write(Path(__file__).parent / "commands")
