"""Write a page for each command, from what `kit COMMAND --help` prints: conf.py calls it; git does not keep them."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from kit.cli.main import app

# What a page leads to, by command: pages of docs/ that tell its use.
TOLD_IN = {
    "add-a-competition": ("new", "scrape", "check", "look", "prepare", "fetch", "list"),
    "compare": ("compare", "judge", "board", "publish", "ledger", "reproduce", "track"),
    "submit": (
        "submission",
        "lint",
        "submit",
        "submissions",
        "standing",
        "place",
        "blend",
        "pseudo",
        "host",
        "kaggle",
        "export-kernel",
    ),
    "sweep": ("tune", "fit", "ui"),
    "train": ("run", "train", "lr-find", "bench", "export", "predict"),
    "reference": ("cache", "doctor"),
}


def commands() -> dict[str, tuple[str, ...]]:
    """Return the page's name -> the words after `kit`, for each command and, behind its group, each of a group's."""
    found: dict[str, tuple[str, ...]] = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        found[name] = (name,)
        for inner in getattr(command, "commands", {}):
            found[f"{name}-{inner}"] = (name, inner)
    return found


def help_of(words: tuple[str, ...]) -> str:
    """Return what `kit WORDS --help` prints on a terminal of 80 columns."""
    done = CliRunner().invoke(
        app, [*words, "--help"], prog_name="kit", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80", "NO_COLOR": "1"}
    )
    if done.exit_code:
        raise RuntimeError(f"kit {' '.join(words)} --help ended with {done.exit_code}: {done.output}")
    return done.output.rstrip()


def page(words: tuple[str, ...]) -> str:
    """Return the Markdown of a command's page."""
    text = help_of(words)
    lines = [f"# kit {' '.join(words)}", "", "```text", text, "```", ""]
    for use, told in TOLD_IN.items():
        if words[0] in told:
            lines += [f"Told in [](../{use}.md).", ""]
    return "\n".join(lines)


def write(folder: Path) -> list[Path]:
    """Write all pages and their index into `folder`; a page that is as it was is left alone."""
    folder.mkdir(exist_ok=True)
    texts = {name: page(words) for name, words in commands().items()}
    head = [
        "# Commands",
        "",
        "Each page shows what `kit COMMAND --help` prints.",
        "",
        "```text",
        help_of(()),
        "```",
        "",
    ]
    texts["index"] = "\n".join([*head, "```{toctree}", ":maxdepth: 1", "", *texts, "```", ""])
    for stale in {path.stem for path in folder.glob("*.md")} - set(texts):
        (folder / f"{stale}.md").unlink()
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return [folder / f"{name}.md" for name in texts]
