"""`kit fit`: a table, and the answer in one sentence."""

import json

import pytest
import typer
from typer.testing import CliRunner

from kit.cli.fit import fit
from kit.errors import ConfigError
from kit.fit.report import report_of


def run(*arguments: str) -> str:
    """Return what the command prints."""
    app = typer.Typer()
    app.command()(fit)
    found = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_answer_names_the_portions_and_the_settings_that_make_them() -> None:
    printed = run("resnet50", "--size", "320", "--memory", "11GiB", "--device", "cuda", "--amp", "none")
    sentence = printed.strip().splitlines()[-1]
    assert "a batch of 64 at once would take" in sentence and "does not fit into 11.0 GiB" in sentence
    assert "--set schedule.batch_size=64 --set schedule.micro_batch=32" in sentence
    (activations,) = [line for line in printed.splitlines() if line.startswith("activations")]
    assert "167 MiB" in activations and "kept for the backward pass" in activations


def test_a_batch_that_fits_is_said_with_the_most_that_do_and_the_seconds_of_an_epoch() -> None:
    printed = run("resnet10t", "--memory", "8GiB", "--batch-size", "16", "--images", "600", "--rate", "50", "--frozen")
    assert "frozen body" in printed and "fits into 8.00 GiB" in printed and "the most at once are" in printed
    assert "An epoch takes about 12 s" in printed


def test_all_of_it_comes_as_json_too() -> None:
    found = json.loads(run("resnet10t", "--memory", "8GiB", "--json", "--amp", "bf16", "--ema"))
    assert found["precision"] == "bf16" and found["limit"]["num_bytes"] == 8 * 2**30
    assert found["parts"]["average"][0] == found["parts"]["weights"][0] > 0
    assert found["micro_batch"] * found["num_portions"] == found["batch_size"] == 64


def test_a_gpu_that_is_not_here_has_no_memory_to_ask_for_and_takes_no_steps() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ConfigError, match="--memory 11GiB"):
        report_of("resnet10t", device="cuda")
    with pytest.raises(ConfigError, match="leave --measure out"):
        report_of("resnet10t", device="cuda", memory=2**33, measured=True)


def test_mistakes_are_one_paragraph() -> None:
    for arguments, words in (
        (["resnet10x"], "timm knows no network"),
        (["resnet10t", "--memory", "much"], "not an amount of memory"),
        (["resnet10t", "--device", "gpu"], "not a device"),
        (["resnet10t", "--memory", "200MiB"], "bare weights"),
        (["vit_tiny_patch16_224", "--size", "225", "--memory", "8GiB"], "takes no images of this size"),
        (["resnet10t", "--measure", "--optimizer", "sgd", "--memory", "8GiB"], "Leave --amp"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            run(*arguments)
        assert "\n" not in str(caught.value)
