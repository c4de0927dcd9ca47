"""The documents say what is so: help texts, links, and nothing of anybody's machine."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kit.board.compare import load_published
from kit.errors import EXIT_CODES
from kit.home import FAMILIES

ROOT = Path(__file__).parent.parent
SKIPPED = {".venv", ".venv-peers", ".git", "node_modules", "_build"}
COMMAND_PAGES = ROOT / "docs" / "commands"  # written when the site is built: see docs/pages.py
DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not SKIPPED & set(path.relative_to(ROOT).parts) and COMMAND_PAGES not in path.parents
)


@pytest.fixture(scope="session")
def pages() -> ModuleType:
    """Return docs/pages.py, which writes the commands' pages."""
    spec = importlib.util.spec_from_file_location("pages", ROOT / "docs" / "pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_a_page_with_its_help(pages, tmp_path):
    written = {path.name: path.read_text(encoding="utf-8") for path in pages.write(tmp_path)}
    for name, words in pages.commands().items():
        assert written[f"{name}.md"].startswith(f"# kit {' '.join(words)}\n")
        assert f"Usage: kit {' '.join(words)}" in written[f"{name}.md"]
        assert f"\n{name}\n" in written["index.md"]
    assert {path.name for path in tmp_path.iterdir()} == set(written)


def test_a_page_of_a_command_that_is_gone_is_removed(pages, tmp_path):
    (tmp_path / "fly.md").write_text("# kit fly\n")
    pages.write(tmp_path)
    assert not (tmp_path / "fly.md").exists()


def test_each_command_is_told_of_in_one_page_of_a_use(pages):
    told = [name for names in pages.TOLD_IN.values() for name in names]
    assert sorted(told) == sorted({words[0] for words in pages.commands().values()})


def test_the_page_of_a_command_shows_what_the_shell_prints(pages, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from kit.cli.main import app; app(prog_name='kit')", "run", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert done.stdout.split() == pages.help_of(("run",)).split()  # lines may break elsewhere


def test_the_readme_is_a_screen_and_a_half():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_the_block_at_the_top_of_the_readme_names_targets_of_make():
    first = (ROOT / "README.md").read_text(encoding="utf-8").split("```")[1]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^make (\S+)", first, flags=re.MULTILINE)
    assert targets == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


def test_every_environment_variable_of_the_kit_is_in_the_reference_and_no_other():
    used = set()
    for path in (ROOT / "kit").rglob("*.py"):
        used.update(re.findall(r"\bKIT_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(KIT_[A-Z_]+)`", page)) == used | {"KIT_TEST_DATA"}


def test_every_family_of_files_is_in_the_reference():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = {
        name
        for row in re.findall(r"^\| (`\w+/`[^|]*)", page, flags=re.MULTILINE)
        for name in re.findall(r"(\w+)/", row)
    }
    assert listed >= set(FAMILIES)


def test_every_exit_code_of_the_command_line_is_in_the_reference():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d+) \|", page, flags=re.MULTILINE) == [str(code) for code in EXIT_CODES]


def test_the_picture_of_the_readme_is_small_and_has_its_own_background():
    picture = ROOT / "docs" / "pets.svg"
    assert picture.stat().st_size < 150_000
    assert "fill: #ffffff" in picture.read_text(encoding="utf-8")


def test_the_picture_of_the_readme_is_of_the_results_as_they_are():
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "picture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    published = load_published("oxford-iiit-pet")
    assert published is not None
    shown = sum(row.protocol in module.SHOWN for row in published.results)
    drawn = (ROOT / "docs" / "pets.svg").read_text(encoding="utf-8")
    assert drawn.count("<!-- the kit: 85.5 % of 1,341 -->") == 1
    assert sum(len(points.get_offsets()) for points in module.draw().axes[0].collections) >= shown


def links(path: Path) -> list[str]:
    """The relative targets of a Markdown file's links and pictures, without their anchors."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", re.sub(r"`[^`\n]*`", "", text))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path, pages):
    commands = {COMMAND_PAGES / f"{name}.md" for name in (*pages.commands(), "index")}
    lost = [target for target in links(path) if not (path.parent / target).exists()]
    assert [target for target in lost if (path.parent / target).resolve() not in commands] == []


def tracked_files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


# In pieces, so that this file does not hold what it looks for.
NEEDLES = ["/wo" + "rk/", "/ho" + "me/", "/ro" + "ot/", "file" + ":///t" + "mp"]
HOSTS = ["index" + "-url", "extra-" + "index", "pypi" + ".org/simple", "trusted" + "-host", "artifact" + "ory"]


def test_no_tracked_file_names_a_place_on_somebodys_machine():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {needle}" for needle in (*NEEDLES, *HOSTS) if needle in text]
    assert found == []


def test_no_lock_file_is_tracked():
    locks = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", "conda-lock.yml"}
    assert [path.name for path in tracked_files() if path.name in locks] == []
