"""`kit host`: a competition of the kit becomes a hosted one, from the command line."""

import tomllib
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import typer
from hosting import Client
from toys import coloured_png, write_files
from typer.testing import CliRunner, Result

from kit.cli import host as command
from kit.competition import load_competition, read_competition
from kit.data.prepare import prepare
from kit.data.samples import build_samples
from kit.errors import CompetitionError, ConfigError
from kit.host.holdout import hold_out
from kit.host.hosted import HostedCompetition, hosting_folder
from kit.host.server import serve

app = typer.Typer()
app.command("host")(command.host)


@pytest.fixture(autouse=True)
def quickly_over(monkeypatch) -> None:
    """End serving as somebody does who presses Ctrl-C at once."""

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupt)


def kit_host(words: str, *more: str) -> Result:
    done = CliRunner().invoke(app, [*words.split(), *more])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_a_share_of_the_labelled_images_is_held_out_and_hosted(toy_competition, tmp_path):
    slug = toy_competition(images_per_class=12)
    first = kit_host(f"{slug} --holdout 0.25 --port 0 --public-share 0.5 --daily-limit 3")
    assert first.exit_code == 0 and f"{slug}: http://127.0.0.1:" in first.output
    added = kit_host(f"{slug} user add ann")
    key = added.stdout.split("KAGGLE_KEY=")[1].strip()
    competition = load_competition(slug)
    hosted = HostedCompetition.open(hosting_folder(slug), competition, say=lambda line: None)
    assert hosted.settings.daily_limit == 3
    with serve(hosted) as server:
        ann = Client(server.url, "ann", key)
        names = {one["name"] for one in ann.call("ListDataFiles", competitionName=slug, pageSize=100)["files"]}
        assert {"train.csv", "sample_submission.csv", "competition/competition.toml"} < names
        assert sum(name.startswith("train/") for name in names) == 27 - 7  # of the 27 that the toy trains on
        assert sum(name.startswith("test/") for name in names) == 7
    sample = pd.read_csv(Path(hosted.settings.data) / "sample_submission.csv", dtype=str)
    assert list(sample.columns) == ["image_id", "colour"] and tuple(sample["image_id"]) == hosted.solution.ids
    assert not (hosting_folder(slug) / "held_out.csv").exists()
    assert kit_host(f"{slug} user close ann").exit_code == 0
    with pytest.raises(ConfigError, match="There is no account 'ann'"):
        kit_host(f"{slug} finals ann 1")


def test_without_a_share_the_protocols_own_labelled_test_images_are_hidden(toy_competition):
    slug = toy_competition()
    assert kit_host(f"{slug} --port 0").exit_code == 0
    solution = pd.read_csv(hosting_folder(slug) / "solution.csv")
    assert sorted(solution["colour"]) == ["blue"] * 2 + ["green"] * 2 + ["red"] * 2


def test_the_files_of_a_plain_shape_are_a_competition_of_the_kit(toy_competition, tmp_path, monkeypatch):
    slug = toy_competition(images_per_class=12)
    kit_host(f"{slug} --holdout 0.25 --port 0")
    data = hosting_folder(slug) / "files"
    text = (data / "competition/competition.toml").read_text()
    assert tomllib.loads(text)["protocols"]["hosted"]["num_test"] == 7
    local = text.replace(f'kaggle = "{slug}"', f'folder = "{data}"').replace(f'folder = "{data}"\n', "", 1)
    theirs = tmp_path / "theirs" / "colours"
    write_files(theirs, {"competition.toml": local.encode()})
    samples = prepare(read_competition(theirs), say=lambda line: None)
    assert len(samples.train) == 20 and len(samples.test) == 7
    assert samples.train["label"].isin(["red", "green", "blue"]).all()


LABELS = 'rule = "csv"\nfile = "labels.csv"\nfolder = "train"\nsuffix = ".png"'
SOURCE = '[sources.kaggle]\nkaggle = "toy"\nfiles = [{ path = "train.zip", unpack = true }]\n'
CACTUS = """\
[submission]
id_column = "id"
values = "label"
label_column = "colour"
ids = "name"
sample = "sample_submission.csv"
"""


def test_where_kaggles_files_are_a_csv_and_folders_they_keep_their_shape(toy_competition, tmp_path):
    slug = toy_competition(
        images_per_class=8,
        replace=(
            ('rule = "folder"\nimages = "*/*/*.png"', LABELS),
            ('[official_split]\nby = "folders"\ntrain = "train"\ntest = "test"\n', ""),
            ('metric = "accuracy"\n', 'metric = "accuracy"\ntest_files = "test/*.png"\n'),
            ("[sources.local]", f"{SOURCE}\n[sources.local]"),
            ('[submission]\nid_column = "image_id"\nvalues = "label"\nlabel_column = "colour"\n', CACTUS),
        ),
    )  # fmt: skip
    competition = load_competition(slug)
    data, rows = tmp_path / "data", ["id,label,note"]
    for k, colour in enumerate(["red", "green", "blue"] * 6):
        write_files(
            data, {f"train/img_{k}.png": coloured_png(colour, k), f"test/new_{k}.png": coloured_png(colour, 99 + k)}
        )
        rows.append(f"img_{k},{colour},n{k}")
    write_files(data, {"labels.csv": "\n".join(rows).encode(), "sample_submission.csv": b"id,colour\n"})
    samples = build_samples(competition, data, protocol=competition.protocol(), source="kaggle", say=lambda line: None)
    made = hold_out(competition, samples, tmp_path / "out", share=1 / 3, secret="s", say=lambda line: None)
    kept = pd.read_csv(made.data / "labels.csv")
    assert len(kept) == made.num_train == 12 and list(kept.columns) == ["id", "label", "note"]
    with zipfile.ZipFile(made.data / "train.zip") as bundle:
        assert sorted(bundle.namelist()) == sorted(f"train/{name}.png" for name in kept["id"])
    hidden = pd.read_csv(made.solution)
    assert {path.name for path in (made.data / "test").iterdir()} == set(hidden["id"]) and len(hidden) == 6
    assert not any("img_" in name for name in hidden["id"])
    for name, colour in zip(hidden["id"], hidden["colour"], strict=True):  # each has the colour that the solution says
        originals = [
            f"img_{k}"
            for k in range(18)
            if (data / f"train/img_{k}.png").read_bytes() == (made.data / "test" / name).read_bytes()
        ]
        assert [["red", "green", "blue"][int(one[4:]) % 3] for one in originals] == [colour]
        assert originals[0] not in set(kept["id"])


def test_solution_and_files_of_ones_own_are_hosted_and_accounts_made_from_a_list(toy_competition, tmp_path):
    slug = toy_competition()
    write_files(
        tmp_path,
        {
            "s.csv": b"image_id,colour,Usage\na,red,Public\nb,blue,Private\n",
            "files/x.txt": b"x",
            "users.txt": b"ann\nbob\n",
        },
    )
    words = (
        f"{slug} --solution {tmp_path}/s.csv --data {tmp_path}/files --port 0 --no-ladder --users {tmp_path}/users.txt"
    )
    first = kit_host(words)
    assert first.output.count("KAGGLE_KEY=") == 2
    again = kit_host(f"{slug} --port 0 --deadline 2030-01-01 --users {tmp_path}/users.txt")
    assert "KAGGLE_KEY=" not in again.output and again.exit_code == 0
    hosted = HostedCompetition.open(hosting_folder(slug), load_competition(slug), say=lambda line: None)
    assert hosted.settings.deadline == "2030-01-01" and not hosted.settings.ladder
    with pytest.raises(CompetitionError, match="hosts a competition already"):
        kit_host(words)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("--solution s.csv", ConfigError, "go together"),
        ("--solution s.csv --data . --holdout 0.2", ConfigError, "goes alone"),
        ("--holdout 1.5", CompetitionError, "a number between 0 and 1"),
        ("--holdout 0.001", CompetitionError, "would be hidden"),
        ("user add ann", CompetitionError, "is not hosted yet"),
    ],
)
def test_what_cannot_be_hosted_is_said(toy_competition, words, error, message):
    with pytest.raises(error, match=message):
        kit_host(f"{toy_competition()} --port 0 {words}")


def test_an_unknown_action_names_the_known_ones(toy_competition):
    slug = toy_competition()
    kit_host(f"{slug} --port 0")
    with pytest.raises(ConfigError, match=r"'dance' is nothing that can be done here\. Known: user add NAME"):
        kit_host(f"{slug} dance")


def test_the_archive_is_made_once(toy_competition):
    slug = toy_competition()
    kit_host(f"{slug} --port 0")
    again = kit_host(f"{slug} --port 0")
    assert "packing" not in again.output
    assert len(list(hosting_folder(slug).glob("files-*.zip"))) == 1
    with zipfile.ZipFile(next(hosting_folder(slug).glob("files-*.zip"))) as bundle:
        assert bundle.testzip() is None
