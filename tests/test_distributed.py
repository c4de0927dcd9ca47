"""Several processes as one: torchrun's world on the CPU, in forked processes and once as a user starts it."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from kit.cli.main import main
from kit.config import recipe_from_dict
from kit.errors import ConfigError, TrainingError
from kit.train.distributed import check_alike, device_among, has_idle_parameters, joined
from kit.train.inference import predict_probabilities
from kit.train.loop import fit
from kit.train.model import make_network
from kit.train.state import read_state
from kit.train.stopping import StoppedError
from kit.train.world import SOLO, World

CPU = torch.device("cpu")
CLASSES = ("red", "green", "blue")
LONGEST = 120  # seconds that a group of processes may take before the test is said to hang

OWN_NETWORK = """
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self, num_classes, drop_rate):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Conv2d(8, 16, 3, stride=2), nn.GELU())
        self.idle = nn.Linear(4, 4)  # has no part in the output
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(16, num_classes)

    def forward(self, images):
        return self.fc(self.drop(self.body(images).mean((2, 3))))


def plain(num_classes):
    return Plain(num_classes, 0.0)


def dropping(num_classes):
    return Plain(num_classes, 0.3)
"""


def together(work, *, size=2):
    """Return what `work()` gives, or the error that it ends with, in `size` processes as torchrun starts them."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun has it
    fork = multiprocessing.get_context("fork")
    pipes = [fork.Pipe(duplex=False) for _ in range(size)]
    processes = [
        fork.Process(target=_take_part, args=(rank, size, store.port, pipes[rank][1], work)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()
    deadline = time.monotonic() + LONGEST
    try:
        found = []
        for ours, _ in pipes:
            assert ours.poll(max(0.0, deadline - time.monotonic())), "the processes wait for each other"
            try:
                found.append(pickle.loads(ours.recv_bytes()))
            except EOFError:  # it was killed
                found.append(None)
        return found
    finally:
        for process in processes:
            process.kill()
            process.join()


def _take_part(rank, size, port, pipe, work):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    try:
        answer = work()
    except BaseException as error:
        answer = error
    pipe.send_bytes(pickle.dumps(answer))
    os._exit(0)  # nothing of pytest's is to be ended here


@pytest.fixture
def train(toy, tmp_path):
    """Return a function that trains in this process, or with a world, and gives (Trained, weights, lines said)."""
    (tmp_path / "own.py").write_text(OWN_NETWORK)
    rows, test, pack = toy

    def call(name, *, num_images, folder, world=SOLO, pretrained=False, tick=lambda *_: None, **schedule):
        own = {"plain", "dropping"} & {name}
        recipe = recipe_from_dict(
            {
                "num_folds": 0,
                "device": "cpu",
                "model": {"name": f"{tmp_path}/own.py:{name}" if own else name, "weights": "none"},
                "input": {"image_size": 32, "store_size": 32, "test_crop": 1.0},
                "schedule": {"frozen_epochs": 0, "epochs": 1, "lr": 1e-3, "lr_spread": 1.0, "batch_size": 4} | schedule,
            }
        )
        network = make_network(recipe.model, num_classes=3, seed=1)
        network = replace(network, weights_origin="mine.pth") if pretrained else network
        lines = []
        trained = fit(
            network,
            pack,
            rows.head(num_images),
            test.head(5),
            recipe=recipe,
            classes=CLASSES,
            several=False,
            folder=tmp_path / folder,
            device=CPU,
            seed=1,
            world=world,
            say=lines.append,
            tick=tick,
        )
        return trained, load_file(tmp_path / folder / "last.safetensors"), lines

    return call


def jointly(train, name, **options):
    """Train in the world that this process is in."""
    with joined() as world:
        return train(name, world=world, **options)


def assert_near(trained, expected, weights, expected_weights):
    assert trained.losses == pytest.approx(expected.losses, rel=2e-4)
    for log, other in zip(trained.history, expected.history, strict=True):
        assert log.train_loss == pytest.approx(other.train_loss, rel=2e-4)
        assert log.valid_loss == pytest.approx(other.valid_loss, rel=2e-4)
        assert log.valid_accuracy == other.valid_accuracy
    for key, value in expected_weights.items():
        assert torch.allclose(weights[key], value, atol=2e-4), key


@pytest.mark.parametrize(
    ("name", "options"),
    [
        # 15 images in fours leave three: two for one process, for the other a single one.
        ("plain", {"num_images": 15, "frozen_epochs": 1, "epochs": 2, "micro_batch": 1, "clip_norm": 0.5}),
        ("plain", {"num_images": 14, "average_decay": 0.9}),
        ("plain", {"num_images": 2, "batch_size": 6}),
        ("resnet10t", {"num_images": 15, "pretrained": True, "norm_statistics": "kept"}),
    ],
)
def test_two_processes_train_as_one_does_where_norms_do_not_look_at_the_batch(train, name, options):
    expected, weights, _ = train(name, folder="alone", **options)
    found = together(lambda: jointly(train, name, folder="together", **options))
    for trained, own_weights, _ in found:
        assert_near(trained, expected, own_weights, weights)


def test_the_batch_and_the_rates_are_said_and_so_is_what_batchnorm_does_otherwise(train):
    expected, _, _ = train("resnet10t", num_images=15, folder="alone", epochs=2)
    first, second = together(lambda: jointly(train, "resnet10t", num_images=15, folder="together", epochs=2))
    for trained, _, lines in (first, second):
        assert trained.notes == tuple(lines)
        rule, difference = lines[-2:]
        assert "4 images (schedule.batch_size) are dealt out to them, 2 each; learning rates are those of the" in rule
        assert "BatchNorm normalises by the statistics of each process's own 2 images" in difference
        assert trained.losses != pytest.approx(expected.losses, rel=1e-3)
    assert first[0].losses.tolist() == second[0].losses.tolist()


def test_running_statistics_become_the_mean_of_what_the_processes_have_seen():
    def see():
        with joined() as world:
            norm = nn.BatchNorm1d(1, momentum=0.5)
            norm(torch.tensor([[2.0], [6.0]]) + 4 * world.rank)  # means 4 and 8, variances 8
            world.blend_buffers(norm)
            return float(norm.running_mean), float(norm.running_var), int(norm.num_batches_tracked)

    # Half of what they began with, 0 and 1, and half of the mean of the batches'.
    assert together(see) == [(3.0, 4.5, 1)] * 2


def stop_at(step):
    """Return a `tick` that asks for the end as torchrun does: every process gets the signal, here the last one only."""

    def tick(done, total, loss):
        if done == step and os.environ.get("RANK", "1") == "1":
            os.kill(os.getpid(), signal.SIGTERM)

    return tick


def test_a_stopped_training_goes_on_with_the_bits_it_would_have_had(train, tmp_path):
    options = {"num_images": 14, "frozen_epochs": 1, "epochs": 2, "average_decay": 0.9}

    def stopped_and_gone_on():
        with joined() as world:
            whole = train("dropping", folder="whole", world=world, **options)
            with pytest.raises(StoppedError, match="stopped after step 6 of 12, whose state is kept"):
                train("dropping", folder="parted", world=world, tick=stop_at(6), **options)
            state = read_state(tmp_path / "parted", say=print)
            assert state["done"] == 6
            assert len(state["engine"]["generators"]) == 2
            assert not torch.equal(*(one["torch"] for one in state["engine"]["generators"]))
            return whole, train("dropping", folder="parted", world=world, **options)

    for (whole, weights, _), (parted, own_weights, lines) in together(stopped_and_gone_on):
        assert parted.resumed_at == 6
        assert "goes on after step 6 of 12" in lines
        assert parted.losses.tolist() == whole.losses.tolist()
        assert all(torch.equal(own_weights[key], value) for key, value in weights.items())


def test_it_goes_on_with_another_number_of_processes_within_rounding(train):
    options = {"num_images": 14, "frozen_epochs": 1, "epochs": 2}
    expected, weights, _ = train("plain", folder="alone", **options)

    def begin():
        with joined() as world, pytest.raises(StoppedError):
            train("plain", folder="grown", world=world, tick=stop_at(6), **options)

    assert together(begin) == [None, None]
    trained, own_weights, _ = train("plain", folder="grown", **options)
    assert trained.resumed_at == 6
    assert_near(trained, expected, own_weights, weights)

    with pytest.raises(StoppedError):
        train("plain", folder="shrunk", tick=stop_at(6), **options)
    for trained, own_weights, _ in together(lambda: jointly(train, "plain", folder="shrunk", **options)):
        assert trained.resumed_at == 6
        assert_near(trained, expected, own_weights, weights)


@pytest.mark.parametrize("size", [2, 3])
def test_every_image_is_predicted_once_and_the_order_is_kept_whatever_their_number(toy, size):
    rows, _, pack = toy
    network = make_network(
        recipe_from_dict({"model": {"name": "resnet10t", "weights": "none"}}).model, num_classes=3, seed=1
    )
    asked = {"image_size": 32, "test_crop": 1.0, "activation": "softmax", "device": CPU}
    expected = predict_probabilities(network, pack, rows, **asked)
    numbers = [1, 2, 5, 7, 18]

    def predict():
        found = []
        with joined() as world:
            for number in numbers:
                table = rows.head(number)
                part = predict_probabilities(network, pack, table, shard=(world.rank, world.size), **asked)
                found.append((len(part), world.whole(part, num=number)))
        return found

    by_rank = together(predict, size=size)
    for k, number in enumerate(numbers):
        assert sum(found[k][0] for found in by_rank) == number
        for found in by_rank:
            assert found[k][1] == pytest.approx(expected[:number], abs=1e-6)


def test_the_first_that_fails_says_why_and_the_others_end_without_a_word(capfd):
    def fail_in_the_second():
        with joined() as world:
            print("seen of both")
            print("seen of both", file=sys.stderr)
            if world.rank == 1:
                raise ConfigError("the second one's reason")
            world.wait()

    first, second = together(fail_in_the_second)
    assert isinstance(first, SystemExit)
    assert isinstance(second, ConfigError) and str(second) == "the second one's reason"

    def fail_in_both():
        with joined():
            raise ConfigError("the same reason")

    assert sorted(type(error).__name__ for error in together(fail_in_both)) == ["ConfigError", "SystemExit"]

    def be_killed():
        with joined() as world:
            if world.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            world.wait()

    first, second = together(be_killed)
    assert isinstance(first, TrainingError) and "ended without a word" in str(first)
    assert second is None
    told = capfd.readouterr()
    assert told.out == "seen of both\n"
    assert told.err == "seen of both\n"


def test_processes_must_agree_on_the_run_and_see_one_folder(tmp_path):
    def check(name, folder):
        with joined() as world:
            check_alike(world, name(world.rank), folder=folder(world.rank))

    def refusal(**how):
        found = together(lambda: check(**how))
        return next((str(error) for error in found if isinstance(error, ConfigError)), None)

    assert refusal(name=lambda rank: "a", folder=lambda rank: tmp_path) is None
    assert "a in the first, b in another" in refusal(name=lambda rank: "ab"[rank], folder=lambda rank: tmp_path)
    apart = refusal(name=lambda rank: "a", folder=lambda rank: tmp_path / str(rank))
    assert "KIT_HOME must be one folder that all of them see" in apart
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_place_among_others_that_makes_no_sense_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "two")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="torchrun --nproc_per_node=N"), joined():
        pass
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined() as world:
        assert world == SOLO


def test_each_process_takes_a_device_of_its_own():
    world = World(rank=1, size=2, local_rank=1)
    assert device_among(SOLO, "cpu") == CPU
    assert device_among(world, "cpu") == CPU
    if not torch.cuda.is_available():
        assert device_among(world, "auto") == CPU
        return
    with pytest.raises(ConfigError, match="is one device"):
        device_among(world, "cuda:0")
    with pytest.raises(ConfigError, match="no more processes than GPUs"):
        device_among(World(rank=9, size=99, local_rank=torch.cuda.device_count()), "cuda")


def test_parameters_without_a_part_in_the_output_are_found_and_nothing_moves():
    body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
    images, drawn = torch.rand(2, 3, 8, 8), torch.get_rng_state()
    assert not has_idle_parameters(body, images)
    body.register_parameter("idle", nn.Parameter(torch.zeros(3)))
    assert has_idle_parameters(body, images)
    body.idle.requires_grad_(False)
    assert not has_idle_parameters(body, images)
    assert body.training and body[1].training
    assert torch.equal(body[1].running_mean, torch.zeros(4))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(parameter.grad is None for parameter in body.parameters())


@pytest.mark.usefixtures("trained_root")  # it imports what the forked processes would each import anew
def test_torchrun_does_the_whole_line_and_goes_on(toy_competition, own_home, tmp_path, monkeypatch, capfd):
    toy_competition(images_per_class=6)
    (tmp_path / "own.py").write_text(OWN_NETWORK)
    options = ["toy", "--no-track", "--set", f"model.name={tmp_path}/own.py:plain", "--set", "schedule.epochs=8"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "-m", "kit", "run", *options]
    lines = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        for line in process.stderr:
            lines.append(line)
            if "epoch 2/8" in line:
                process.send_signal(signal.SIGTERM)
    assert sum("goes on from there" in line for line in lines) == 1, "".join(lines)
    assert sum("epoch 1/8" in line for line in lines) == 1
    (state,) = own_home.rglob("state.pt")
    assert state.parent.name == "fold-0"

    def kit(*more):
        monkeypatch.setattr(sys, "argv", ["kit", "run", *options, *more])
        codes = [end.code for end in together(main)]  # a command always ends so
        return codes, capfd.readouterr()

    codes, told = kit()
    assert codes == [0, 0], told.err
    assert told.err.count("goes on after step") == 1
    assert told.out.count("official (one model, test images)") == 1
    (record,) = own_home.rglob("record.json")
    assert '"num_processes": 2' in record.read_text()

    codes, told = kit()
    assert codes == [0, 0]
    assert told.err.count("is done already") == 1

    codes, told = kit("--set", "schedule.batch_size=5")
    assert sorted(codes) == [1, 2]
    assert told.err.count("must be a multiple of 2") == told.err.count("kit: ") == 1

    codes, told = kit("--seed", "2", "--parallel", "2")
    assert sorted(codes) == [1, 2]
    assert told.err.count("one of the two") == 1
