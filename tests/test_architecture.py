"""The import order of ARCHITECTURE.md holds: a module imports only from modules that stand above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def import_order() -> list[str]:
    """The module paths of the fenced block behind `<!-- import order -->` in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = text.partition("<!-- import order -->\n```")[2].partition("\n```")[0]
    return [line.strip() for line in block.splitlines()[1:] if line.strip()]


def module_of(path: Path) -> str:
    """`kit/files/fetch.py` -> "kit.files.fetch"; `kit/data/__init__.py` -> "kit.data"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


ORDER = import_order()
MODULES = {module_of(path): path for path in sorted((ROOT / "kit").rglob("*.py")) if "_competitions" not in path.parts}


def imports_of(path: Path) -> set[str]:
    """The modules of the kit that a file imports anywhere, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports name their module in full"
            # `from kit.cli import lookup` is an import of kit.cli.lookup, `from kit.home import family` of kit.home
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else str(node.module) for name in whole}
    return {name for name in found if name == "kit" or name.startswith("kit.")}


def test_every_module_is_in_the_list_once():
    assert sorted(ORDER) == sorted(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_modules_above_it(module):
    assert module in ORDER, f"{module} is missing from the list in ARCHITECTURE.md"
    above = set(ORDER[: ORDER.index(module)])
    assert imports_of(MODULES[module]) - above == set()


@pytest.mark.parametrize("module", [name for name in MODULES if not MODULES[name].stem.startswith("__")])
def test_a_module_says_in_its_first_line_what_it_is_for(module):
    assert ast.get_docstring(ast.parse(MODULES[module].read_text(encoding="utf-8")))
