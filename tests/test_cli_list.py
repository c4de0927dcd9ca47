"""`kit list` on a terminal: as wide as that is, aligned, no name broken, with colours if they are wanted."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(*words: str, columns: int, **settings: str) -> str:
    """Return what a command prints to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "kit", *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**env, "TERM": "xterm-256color", **settings},
    ) as running:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 65536):
                parts.append(part)
        except OSError:  # the other side has closed it
            pass
        os.close(ours)
        assert running.wait() == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


def slugs() -> list[str]:
    """Return all competitions."""
    from kit.competition import competition_folders

    return list(competition_folders())


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_line_fits_the_terminal_and_every_name_is_whole(toy_competition, columns):
    toy_competition()
    lines = COLOUR.sub("", on_a_terminal("list", columns=columns)).splitlines()
    assert max(map(len, lines)) <= columns
    named = [line.split()[0] for line in lines[1:] if line[:1].strip()]
    assert sorted(named) == sorted(slugs())
    titles = lines[0]
    assert ("data" in titles, "protocols" in titles) == (True, columns >= 80), titles
    start = titles.index("data")
    assert {line[start - 2 : start] for line in lines[1:] if line[:1].strip()} == {"  "}  # aligned


def test_colours_are_for_terminals_that_want_them(toy_competition):
    toy_competition()
    coloured = on_a_terminal("list", columns=80)
    assert COLOUR.search(coloured)
    assert not re.search(r"\x1b", on_a_terminal("list", columns=80, NO_COLOR="1"))
    assert not re.search(r"\x1b", on_a_terminal("list", columns=80, TERM="dumb"))
    assert COLOUR.search(on_a_terminal("list", "toy", columns=80))
    assert "\x1b" not in on_a_terminal("list", "toy", columns=80, NO_COLOR="1")


def test_in_a_pipe_each_competition_is_one_line_without_colours(kit, toy_competition):
    toy_competition()
    code, out, _ = kit("list")
    lines = out.splitlines()
    assert code == 0
    assert "\x1b" not in out
    assert [line.split()[0] for line in lines] == ["competition", *slugs()]
