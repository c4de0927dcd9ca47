"""Progress: silent when quick, lines in a pipe, one live line on a terminal, and no cost for a loop."""

import io
import os
import threading
from types import SimpleNamespace

import pytest

from kit.progress import Counter, Lines, counted, duration, silent, within


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose one number is the time, in seconds."""
    now = [100.0]
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 2.0)
    monkeypatch.setattr("kit.progress.monotonic", lambda: now[0])
    return now


@pytest.fixture
def terminal(monkeypatch):
    """Let standard error be a terminal of 80 columns, and return what is written there."""
    written = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("kit.progress.sys", SimpleNamespace(stderr=written))  # pytest puts its own into `sys`
    return written


def test_what_is_quick_says_nothing(clock):
    said = []
    for _ in counted(range(1000), "decoding", say=said.append, unit="images"):
        clock[0] += 0.0019
    assert said == []


def test_in_a_pipe_a_line_comes_at_most_every_ten_seconds_with_rate_and_time_left(clock):
    said = []
    for _ in counted(range(100), "decoding", say=said.append, unit="images"):
        clock[0] += 0.5  # two a second
    assert said[0] == "decoding: 4 of 100 images, 2.0 a second, 48 s left"
    assert said[1] == "decoding: 24 of 100 images, 2.0 a second, 38 s left"
    assert said[-1] == "decoding: 100 images in 50 s"
    assert len(said) == 6  # after 2, 12, 22, 32, 42 and 50 seconds


def test_what_was_there_before_does_not_count_for_the_rate(clock):
    said = []
    with Counter("pets.tar.gz", total=800_000_000, done=400_000_000, unit="MB", scale=1e6, say=said.append) as counter:
        clock[0] += 4
        counter.reach(440_000_000)
    assert said[0] == "pets.tar.gz: 440 of 800 MB, 10 a second, 36 s left"


def test_a_slow_thing_is_told_in_seconds_each_and_its_rate_follows_a_change_of_pace(clock):
    said = []
    with Counter("fold-0", total=200, say=said.append, unit="steps") as counter:
        for seconds in (0.1,) * 100 + (4.0,) * 50:
            clock[0] += seconds
            counter.add()
    assert said[-2].startswith("fold-0: 149 of 200 steps, 4.0 s each, 3 min 24 s left")


def test_a_count_that_begins_again_has_a_rate_of_its_own(clock):
    said = []
    with Counter("learning rates", say=said.append, unit="steps") as counter:
        for step, total in [*((n, 12) for n in range(1, 13)), *((n, 100) for n in range(1, 31))]:
            clock[0] += 1
            counter.reach(step, total)
    assert said[:3] == [
        "learning rates: 2 of 12 steps, 1.0 a second, 10 s left",
        "learning rates: 12 of 12 steps, 1.0 a second, 0 s left",
        "learning rates: 10 of 100 steps",  # fewer than 12: the count began again since
    ]
    assert said[3] == "learning rates: 20 of 100 steps, 1.0 a second, 1 min 20 s left"


def test_without_a_total_no_end_is_promised(clock):
    said = []
    for _ in counted(iter(range(9)), "fetching", say=said.append):
        clock[0] += 1
    assert said[0] == "fetching: 2, 1.0 a second"


def test_on_a_terminal_one_line_is_drawn_anew_and_gone_before_the_next(clock, terminal):
    say = Lines()
    with Counter("decoding", total=10, say=say, unit="images") as counter:
        clock[0] += 5
        counter.add(5)
        say("a line between")
    assert terminal.getvalue() == (
        "\rdecoding: 5 of 10 images, 1.0 a second, 5 s left\x1b[K\r\x1b[Ka line between\ndecoding: 5 images in 5 s\n"
    )


def test_an_error_takes_the_live_line_away(clock, terminal):
    def broken():
        with Counter("decoding", total=10, say=Lines()) as counter:
            clock[0] += 5
            counter.add()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("columns", [40, 80])
def test_a_live_line_never_wraps(clock, terminal, monkeypatch, columns):
    monkeypatch.setattr(terminal, "fileno", lambda: 2)
    monkeypatch.setattr("kit.progress.os.get_terminal_size", lambda number: os.terminal_size((columns, 24)))
    Lines().draw("x" * 200)
    assert terminal.getvalue() == "\r" + "x" * (columns - 1) + "\x1b[K"


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    assert Lines().is_live
    monkeypatch.setenv("TERM", "dumb")
    assert not Lines().is_live


def test_within_a_model_lines_and_counts_carry_its_name_live_where_it_can_be(clock, terminal):
    say = within(Lines(), "fold-1")
    say("begins")
    with Counter("predicting", total=4, say=say) as counter:
        clock[0] += 3
        counter.add(3)
    assert "fold-1: begins\n\rfold-1: predicting: 3 of 4, 1.0 a second, 1 s left\x1b[K" in terminal.getvalue()
    said = []
    within(said.append, "fold-1")("begins")
    assert said == ["fold-1: begins"]


def test_several_threads_count_together():
    counter = Counter("fetching", say=silent)
    threads = [threading.Thread(target=lambda: [counter.add() for _ in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.done == 16_000


def test_a_step_that_is_not_due_says_and_draws_nothing(clock):
    counter = Counter("decoding", say=lambda line: pytest.fail("nothing is due"), total=10**6)
    for _ in range(10_000):
        counter.add()
    assert counter.done == 10_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (1234, "21 min"),
        (7500, "2 h 5 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_a_duration_is_said_as_people_say_it(seconds, words):
    assert duration(seconds) == words
