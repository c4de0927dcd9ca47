"""The documents say what is so: help texts, links, and nothing of anybody's machine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SKIPPED = {".venv", ".git", "node_modules"}
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if not SKIPPED & set(path.relative_to(ROOT).parts))


def help_blocks() -> dict[str, str]:
    """Command line -> the text that README.md shows for it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n\$ (kit (?:[\w-]+ )?--help)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    return dict(blocks)


def trimmed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def test_the_readme_shows_a_help_text():
    assert help_blocks()


@pytest.mark.parametrize("command", help_blocks())
def test_a_help_text_in_the_readme_is_the_real_one(command, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", "from kit.cli.main import app; app(prog_name='kit')", *command.split()[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert trimmed(done.stdout) == trimmed(help_blocks()[command])


def links(path: Path) -> list[str]:
    """The relative targets of a Markdown file's links and pictures, without their anchors."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", re.sub(r"`[^`\n]*`", "", text))
    return [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path):
    assert [target for target in links(path) if not (path.parent / target).exists()] == []


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
