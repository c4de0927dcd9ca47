"""Read the code blocks of a Markdown page, and run them as a reader would.

What stands behind the three backticks says what becomes of a block:

- `console`: `$` lines are run, in one folder for a page, and what they print is compared with what the page shows.
  `…` stands for any text; numbers and the ends of run ids need only be there, but for pages whose text is to be exact.
- `python`: executed, all blocks of a page in one namespace.
- `sh`: needs what a test has not (an account, a GPU, a download, an hour); each `kit` command in it is parsed by the
  real command line.
- `toml`: must be valid TOML.
- `text`, directives in braces and blocks without a word: nothing to run; `kit` commands in them are parsed too.

`<!-- scene: NAME -->` in front of a block sets it in a scene of `doc_scenes.py`.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from kit.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "api").glob("*.md"))]
FENCE = re.compile(
    r"^(?:<!-- scene: (?P<scene>[^>]+?) -->\n+)?```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
KNOWN = ("console", "python", "sh", "toml", "text", "")
ASSIGNMENT = re.compile(r"[A-Z_]+=")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    info: str
    text: str
    line: int  # of the first backticks
    scene: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """A command of a console block, and what the page shows below it."""

    command: str
    shown: str


def blocks(path: Path) -> list[Block]:
    """Return a page's fenced blocks, in order."""
    text = path.read_text(encoding="utf-8")
    return [
        Block(
            info=found["info"].strip(),
            text=found["text"],
            line=text.count("\n", 0, found.start("info")) + 1,
            scene=found["scene"] or "",
        )
        for found in FENCE.finditer(text)
    ]


def steps(block: Block) -> list[Step]:
    """Return the commands of a console block."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"a console block begins with its command, not with {parts[0]!r}"
    found = []
    for part in parts[1:]:
        command, _, shown = part.partition("\n")
        found.append(Step(command=command.strip(), shown=shown.strip()))
    return found


def shape(text: str, *, exact: bool) -> str:
    """Return a text as it is compared: white space as one space each; unless `exact`, numbers as `#`."""
    if not exact:
        text = re.sub(r"-s\d+-[0-9a-f]{8}\b", "-s#-#", text)
        text = re.sub(r"\d[\d,.]*(?<![,.])", "#", text)
    return " ".join(text.split())


def fits(printed: str, shown: str, *, exact: bool) -> bool:
    """Return whether `printed` is what `shown` says, in which `…` stands for any text."""
    pattern = ".*?".join(re.escape(shape(part, exact=exact)) for part in shown.split("…"))
    return re.fullmatch(pattern, shape(printed, exact=exact)) is not None


def kit_commands(text: str) -> Iterator[list[str]]:
    """Yield the words behind `kit` of each command of a block, also where variables or `torchrun ... -m` go before."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        line = line.removeprefix("$ ")
        if not re.search(r"(^|\s)kit\s", line) or re.match(r"kit: ", line):
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # prose of an output, with an apostrophe
            continue
        while words and ASSIGNMENT.match(words[0]):
            words = words[1:]
        if words[:1] == ["kit"]:
            yield words[1:]
        elif words[:1] and words[0] in ("torchrun", "python") and "-m" in words:
            behind = words[words.index("-m") + 1 :]
            if behind[:1] == ["kit"]:
                yield behind[1:]


def parse(words: list[str]) -> None:
    """Let the real command line read `words`, and run nothing; what it does not know raises its own error."""
    command = typer.main.get_command(app)
    rest = list(words)
    while known := getattr(command, "commands", None):
        assert rest and rest[0] in known, f"kit {' '.join(words)}: there is no such command"
        command = known[rest[0]]
        rest = rest[1:]
    if "--help" not in rest:
        command.make_context(words[0], rest)


def options_of(words: list[str]) -> tuple[str, set[str]]:
    """Return the command that `words` name, without what is behind it, and the options that it has."""
    command, named = typer.main.get_command(app), []
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        named.append(word)
        command = command.commands[word]  # type: ignore[attr-defined]
    found = {"--help"}
    for parameter in command.params:
        found.update(parameter.opts, parameter.secondary_opts)
    return " ".join(named), found
