"""Every code block of README and docs does what the page says: see `doc_blocks.py` for what a block may be.

`DOCS_WRITE=1 pytest tests/test_docs_blocks.py` writes what was printed into the pages, where it is not what they show.
"""

import os
import re
import shlex
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from doc_blocks import KNOWN, PAGES, ROOT, Block, blocks, fits, kit_commands, options_of, parse, steps
from doc_scenes import SCENES

from kit.cli.main import main

EXACT = ROOT / "docs" / "troubleshooting.md"
PAGE_IDS = [path.relative_to(ROOT).as_posix() for path in PAGES]
MESSAGES = [block for block in blocks(EXACT) if block.info == "console"]


@pytest.fixture
def reader(tmp_path, monkeypatch, capfd):
    """Give the folder of a reader's clone, with nothing set, and the function that types a command there."""
    home = tmp_path / "user"
    here = home / "competition-kit"
    here.mkdir(parents=True)
    for name in ("KIT_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(here)
    for name, value in {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)

    def typed(line: str) -> str:
        """Return what a command prints: its results, and behind them the paragraph of a mistake."""
        words = [word.replace("~", str(home), 1) if word.startswith("~/") else word for word in shlex.split(line)]
        assert words[0] == "kit", f"{line!r} is not a command of the kit: such lines belong into a block `sh`"
        monkeypatch.setattr(sys, "argv", words)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        if ended.value.code:
            out += err[err.index("kit: ") :] if "kit: " in err else err
        return (
            out.replace(str(here), "~/competition-kit").replace(str(home), "~").replace(str(ROOT), "~/competition-kit")
        )

    return here, typed


def set_scene(block: Block, here: Path, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the scene of a block, and return what is to be said otherwise in it."""
    if not block.scene:
        return {}
    assert block.scene in SCENES, f"line {block.line}: there is no scene {block.scene!r} in doc_scenes.py"
    return dict(SCENES[block.scene](here, patch) or {})


def check_console(path: Path, block: Block, typed, *, exact: bool) -> None:
    """Type each command of a block; compare what it prints, or write it into the page."""
    for step in steps(block):
        printed = typed(step.command)
        if fits(printed, step.shown, exact=exact):
            continue
        if os.environ.get("DOCS_WRITE"):
            write_into(path, block, step.command, printed)
        else:
            pytest.fail(
                f"{path.name}, line {block.line}: `{step.command}` printed\n{printed}\nThe page shows\n{step.shown}"
            )


def write_into(path: Path, block: Block, command: str, printed: str) -> None:
    lines = printed.strip().splitlines()
    if path == EXACT:
        lines = [
            part for line in lines for part in textwrap.wrap(line, 100, break_on_hyphens=False, break_long_words=False)
        ]
    new = re.sub(
        rf"(?m)^\$ {re.escape(command)}\n(?:(?!\$ ).*\n)*",
        lambda _: f"$ {command}\n" + "".join(f"{line.rstrip()}\n" for line in lines),
        block.text,
    )
    text = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # The block as it is now: the page may have been written into above it.
    joined = "".join(text)
    scene = f"<!-- scene: {block.scene} -->\n" if block.scene else ""
    old = f"{scene}```{block.info}\n{block.text}```"
    assert old in joined
    path.write_text(joined.replace(old, f"{scene}```{block.info}\n{new}```", 1), encoding="utf-8")


@pytest.mark.parametrize("path", PAGES, ids=PAGE_IDS)
def test_a_block_is_of_a_kind_that_is_run_or_parsed(path):
    assert [block for block in blocks(path) if block.info not in KNOWN and not block.info.startswith("{")] == []
    text = path.read_text(encoding="utf-8")
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks(path)), "a block is not closed, or indented"


@pytest.mark.parametrize("path", PAGES, ids=PAGE_IDS)
def test_every_kit_command_of_a_block_is_one_that_the_command_line_takes(path):
    for block in blocks(path):
        for words in kit_commands(block.text) if path != EXACT else ():
            parse(words)


@pytest.mark.parametrize(
    "words", [["runn", "digits"], ["run", "digits", "--fold", "2"], ["run"], ["fit", "x", "--size", "big"]]
)
def test_a_command_that_the_command_line_does_not_take_is_noticed(words):
    with pytest.raises(Exception):  # noqa: B017, PT011 the command line's own, of several kinds
        parse(words)


@pytest.mark.parametrize("path", PAGES, ids=PAGE_IDS)
def test_a_command_named_in_a_sentence_is_there_with_its_options(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`(kit [^`\n]+)`", text):
        words = code.split()[1:]
        if words[0].isupper() or words[0].startswith("-"):
            continue
        command, options = options_of(words)
        assert command, f"`{code}`: there is no such command"
        unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - options
        assert not unknown, f"`{code}`: kit {command} has no {unknown}"


@pytest.mark.parametrize("path", PAGES, ids=PAGE_IDS)
def test_a_block_of_toml_is_valid(path):
    for block in blocks(path):
        if block.info == "toml":
            tomllib.loads(block.text)


@pytest.mark.parametrize("block", MESSAGES, ids=lambda block: f"{block.scene}: {steps(block)[0].command}")
def test_a_mistake_is_answered_as_the_page_on_mistakes_says(block, reader, monkeypatch):
    here, typed = reader
    set_scene(block, here, monkeypatch)
    check_console(EXACT, block, typed, exact=True)


WITH_CODE = [
    path for path in PAGES if path != EXACT and any(block.info in ("console", "python") for block in blocks(path))
]


@pytest.mark.parametrize("path", WITH_CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_blocks_of_a_page_run_in_order(path, reader, monkeypatch, capfd):
    here, typed = reader
    names: dict[str, object] = {"__name__": "__main__"}
    otherwise: dict[str, str] = {}
    for block in blocks(path):
        otherwise |= set_scene(block, here, monkeypatch)
        if block.info == "console":
            check_console(path, block, typed, exact=False)
        if block.info == "python":
            text = block.text
            for said, small in otherwise.items():
                text = text.replace(said, small)
            exec(compile("\n" * block.line + text, str(path), "exec"), names)
