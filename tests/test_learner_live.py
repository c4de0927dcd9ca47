"""Training as it is watched, and stopped: plain lines, a table in a real kernel, Ctrl-C and the same call again."""

import base64
import os
import re
import signal
from pathlib import Path

import pytest
from test_learner import NETWORK, data, same, state_of, weights  # noqa: F401 (fixtures)

from kit.learner.learner import Learner
from kit.learner.live import InTerminal
from kit.train.history import EpochLog
from kit.train.stopping import StoppedError


def interrupting(learn, *, cycle_step, monkeypatch):
    """Send this process a Ctrl-C after a step of the next cycle, once."""
    from kit.learner import learner

    made = learner.live_for

    def live_for(*args, **options):
        live = made(*args, **options)
        tick = live.tick

        def stop(step, total, loss):
            tick(step, total, loss)
            if step == cycle_step:
                monkeypatch.setattr(learner, "live_for", made)
                signal.raise_signal(signal.SIGINT)

        live.tick = stop
        return live

    monkeypatch.setattr(learner, "live_for", live_for)


# Stopping.


def test_after_ctrl_c_the_same_call_goes_on_to_the_same_weights(data, monkeypatch, capsys):  # noqa: F811
    undisturbed, stopped = (Learner(data, NETWORK, weights=None) for _ in range(2))
    undisturbed.fit_one_cycle(3, max_lr=slice(1e-4, 1e-3))
    before = state_of(stopped)
    interrupting(stopped, cycle_step=4, monkeypatch=monkeypatch)
    with pytest.raises(StoppedError) as caught:
        stopped.fit_one_cycle(3, max_lr=slice(1e-4, 1e-3))
    assert "Stopped after step 4 of 6, whose state is kept." in str(caught.value)
    assert "learn.fit_one_cycle(3, max_lr=slice(0.0001, 0.001)), goes on" in str(caught.value)
    assert same(before, state_of(stopped))
    assert stopped.cycles == []
    cycle = stopped.fit_one_cycle(3, max_lr=slice(1e-4, 1e-3))
    assert cycle.trained.resumed_at == 4
    assert len(cycle.history) == 3
    assert same(state_of(undisturbed), state_of(stopped))


def test_after_ctrl_c_another_call_begins_anew_from_the_weights_before(data, monkeypatch, own_home):  # noqa: F811
    undisturbed, stopped = (Learner(data, NETWORK, weights=None) for _ in range(2))
    undisturbed.fit_one_cycle(2)
    interrupting(stopped, cycle_step=3, monkeypatch=monkeypatch)
    with pytest.raises(StoppedError):
        stopped.fit_one_cycle(3)
    assert stopped.fit_one_cycle(2).trained.resumed_at == 0
    assert same(state_of(undisturbed), state_of(stopped))
    # The stopped one may still be gone on with: by a learner in another notebook, which has the same weights.
    assert len(list((own_home / "learners").rglob("state.pt"))) == 1


def test_a_stopped_fine_tune_goes_on_in_the_cycle_it_was_stopped_in(data, weights, monkeypatch):  # noqa: F811
    undisturbed, stopped = (Learner(data, NETWORK, weights=weights) for _ in range(2))
    undisturbed.fine_tune(2)
    for times in (1, 2):  # in the head's cycle, then in the other
        interrupting(stopped, cycle_step=1, monkeypatch=monkeypatch)
        with pytest.raises(StoppedError, match=r"learn\.fine_tune\(2, 0\.002, freeze_epochs=1\), goes on"):
            stopped.fine_tune(2)
        assert len(stopped.cycles) == times - 1
    stopped.fine_tune(2)
    assert [cycle.stage for cycle in stopped.cycles] == ["head", "all"]
    assert same(state_of(undisturbed), state_of(stopped))


# Plain lines.


def test_outside_a_notebook_each_epoch_is_a_line_on_stderr_under_its_heads(data, capsys):  # noqa: F811
    cycle = Learner(data, NETWORK, weights=None, metrics=["accuracy", "error_rate"]).fit_one_cycle(2)
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if re.match(r"\s*(epoch|\d+)\s", line)]
    assert not out
    assert lines[0].split() == ["epoch", "train", "loss", "valid", "loss", "accuracy", "error_rate", "time"]
    last = cycle.history[-1]
    shown = [f"{value:.4f}" for value in (last.train_loss, last.valid_loss, *last.measures.values())]
    assert lines[2].split()[:5] == ["2", *shown]
    assert len({len(line) for line in lines}) == 1


def test_a_long_epoch_tells_its_rate_and_the_remaining_time_even_where_it_was_gone_on_with(capsys, monkeypatch):
    from kit import progress

    now = [100.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "QUIET_SECONDS", 2.0)
    live = InTerminal([], num_epochs=2, images_per_epoch=80)
    for step in range(11, 16):  # ten steps of ten were done before
        now[0] += 11
        live.tick(step, 20, 1.0)
    err = capsys.readouterr().err
    # 40 images since it went on, in the 44 seconds from the first of its five steps on.
    assert err.splitlines()[-1] == "epoch 2 of 2: 120 of 160 images in all, 1.1 s each, 44 s left"


def test_what_is_not_a_number_is_a_dash(capsys):
    live = InTerminal(["roc_auc"], num_epochs=1, images_per_epoch=1)
    log = EpochLog(
        epoch=1,
        stage="all",
        lr=1.0,
        image_size=32,
        train_loss=0.5,
        valid_loss=None,
        valid_accuracy=None,
        seconds=61,
        images_per_second=1.0,
        measures={"roc_auc": float("nan")},
    )
    live.report(log)
    assert capsys.readouterr().err.splitlines()[-1].split() == ["1", "0.5000", "–", "–", "1", "min", "1", "s"]


# A notebook.

CELLS = (
    f"""
import kit
data = kit.load("toy", folds=2, say=lambda line: None)
learn = kit.Learner(data, {NETWORK!r}, weights=None, metrics=["accuracy"])
""",
    "cycle = learn.fit_one_cycle(2)",
    "learn.plot_losses()",
    "learn",
    "learn.fit_one_cycle(0)",
)


def test_in_a_kernel_a_table_and_a_plot_are_drawn_and_redrawn_in_their_place(toy_competition):
    import nbformat
    from nbclient import NotebookClient

    toy_competition()
    Path(os.environ["HOME"]).mkdir(exist_ok=True)  # IPython wants one that can be written
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    NotebookClient(notebook, timeout=300, allow_errors=True, kernel_name="python3").execute(env=dict(os.environ))
    made, trained, plotted, shown, refused = (cell.outputs for cell in notebook.cells)
    assert [output for output in made if output.output_type != "stream"] == []
    assert "IProgress" not in str(made)
    table, plot = [output.data for output in trained if output.output_type == "display_data"]
    rows = re.findall(r"<tr>(.*?)</tr>", table["text/html"])
    assert [re.findall(r">([^<]*)</t[hd]>", row)[0] for row in rows] == ["epoch", "1", "2"]
    assert base64.b64decode(plot["image/png"]).startswith(b"\x89PNG")
    assert "image/png" in plotted[-1].data
    assert "every layer" in shown[-1].data["text/html"]
    assert refused[-1].ename == "ConfigError"


def test_hostile_names_do_not_become_markup_in_the_table(monkeypatch):
    from kit.learner import live

    drawn = []

    class Display:
        HTML = staticmethod(lambda text: text)

        @staticmethod
        def display(content, display_id):
            drawn.append(content)
            return type("Handle", (), {"update": staticmethod(drawn.append)})

    monkeypatch.setattr(live, "kernel_display", lambda: Display)
    table = live.InNotebook(["<script>x</script>"], num_epochs=1, images_per_epoch=1)
    table.say("a <b> $x$")
    table.close()
    assert "<script>" not in "".join(drawn)
    assert "a &lt;b&gt; &#36;x&#36;" in drawn[-1]
