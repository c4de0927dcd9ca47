"""The command line: every command once, and every mistake as one paragraph with exit code 2."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packs import small_disk
from toys import tar_bytes, toy_images, write_files

from kit.cli.main import main


def repack(root: Path, change, *, slug: str = "toy") -> None:
    """Make the toy's archive anew after `change(files)`, and let its competition.toml accept it."""
    files = toy_images(("red", "green", "blue"), 8)
    change(files)
    write_files(root / "mirror", {f"{slug}/{slug}.tar": tar_bytes(files)})
    path = root / "competitions" / slug / "competition.toml"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(("num_bytes", "sha256"))), encoding="utf-8")


BY_CSV = """\
[labels]
rule = "csv"
file = "labels.csv"
label_column = "colour"
"""
BY_FOLDER = '[labels]\nrule = "folder"\nimages = "*/*/*.png"\n'
LISTS = [
    ('by = "folders"', 'by = "lists"'),
    ('train = "train"', 'train = "train.txt"'),
    ('test = "test"', 'test = "test.txt"'),
]


# Mistakes in the data.


def test_an_amount_of_memory_that_is_none_is_refused(refused, toy_competition):
    assert "'8 apples' is not an amount of memory" in refused("train", toy_competition(), "--memory", "8 apples")


def test_an_unreadable_image_is_named(toy_competition, tmp_path, refused):
    slug = toy_competition()
    repack(tmp_path, lambda files: files.update({"train/red/001.png": b"not a PNG"}))
    message = refused("run", slug, "--no-track")
    assert "1 image is unreadable: train/red/001" in message
    assert not list(Path(os.environ["KIT_HOME"]).rglob("*.part"))


def test_a_missing_label_is_named(toy_competition, tmp_path, refused):
    slug = toy_competition(replace=[(BY_FOLDER, BY_CSV)])
    rows = b"id,colour\ntrain/red/000.png,red\ntrain/red/001.png,\n"
    repack(tmp_path, lambda files: files.update({"labels.csv": rows}))
    message = refused("prepare", slug)
    assert "1 of 2 rows have no 'colour', first ['train/red/001.png']" in message


def test_a_class_of_the_test_images_that_is_not_declared_is_named(toy_competition, tmp_path, refused):
    slug = toy_competition()
    repack(tmp_path, lambda files: files.update({"test/violet/000.png": files["test/red/003.png"]}))
    message = refused("run", slug, "--no-track")
    assert "1 test images have a label that toy does not know: ['violet']" in message
    assert "labels.rename" in message


def test_one_class_only_is_nothing_to_learn(toy_competition, tmp_path, refused):
    slug = toy_competition()

    def keep_red(files):
        for name in [name for name in files if "red" not in name]:
            del files[name]

    repack(tmp_path, keep_red)
    assert "have the label 'red': with one class only there is nothing to learn" in refused("run", slug, "--no-track")


def test_fewer_images_than_folds_says_how_many_are_possible(toy_competition, refused):
    message = refused("run", toy_competition(), "--folds", "19", "--no-track")
    assert "18 training images" in message
    assert "Give at most 18 folds: --folds N." in message


@pytest.mark.parametrize(("content", "expected"), [(b"", "is empty"), (b"id,colour\n", "has a header but no rows")])
def test_an_empty_csv_is_named(toy_competition, tmp_path, refused, content, expected):
    slug = toy_competition(replace=[(BY_FOLDER, BY_CSV)])
    repack(tmp_path, lambda files: files.update({"labels.csv": content}))
    message = refused("prepare", slug)
    assert "labels.csv" in message
    assert expected in message


def test_an_image_in_both_lists_is_named(toy_competition, tmp_path, refused):
    slug = toy_competition(replace=LISTS)
    lists = {"train.txt": b"train/red/000\ntrain/red/001\n", "test.txt": b"train/red/001\n"}
    repack(tmp_path, lambda files: files.update(lists))
    message = refused("prepare", slug)
    assert "1 images are in the training list and in the test list, first ['train/red/001']" in message


def test_an_image_with_two_labels_is_named(toy_competition, tmp_path, refused):
    slug = toy_competition(replace=[(BY_FOLDER, BY_CSV)])
    rows = b"id,colour\ntrain/red/000.png,red\ntrain/red/000.png,blue\ntrain/red/001.png,red\n"
    repack(tmp_path, lambda files: files.update({"labels.csv": rows}))
    assert "first ['train/red/000" in refused("prepare", slug)


# Names that nothing has.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--recipe", "baselin"], "toy has no recipe 'baselin'. Did you mean 'baseline'?"),
        (["--recipe", "none.toml"], "none.toml cannot be read"),
        (["--protocol", "oficial"], "toy has no protocol 'oficial'. Did you mean 'official'?"),
        (["--source", "locale"], "toy has no source 'locale'. Did you mean 'local'?"),
        (["--labels", "csv"], "toy has no label rule 'csv'. It has: one only."),
        (["--set", "schedule.epoch=1"], "a recipe has no key 'schedule.epoch'. Did you mean 'schedule.epochs'?"),
        (["--set", "schedule.epochs"], "is not of the form key=value"),
        (["--set", "schedule.epochs=many"], "schedule.epochs"),
        (["--set", "schedule.lr=1e9"], "schedule.lr must be between 1e-09 and 100"),
        (["--folds", "1"], "num_folds must be 0"),
        (["--seed", "-1"], "seed must be between 0"),
        (["--mirror", "nowhere"], "The mirror nowhere is not a folder"),
        (["--set", "model.name=resnet10"], "timm knows no network 'resnet10'"),
        (["--set", "model.weights=nowhere.pth"], "'nowhere.pth' is not a weight file"),
        (["--set", "device=warp"], "'warp' is not a device"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_setting_is_named_with_the_way_out(toy_competition, refused, arguments, expected):
    assert expected in refused("run", toy_competition(), "--no-track", *arguments)


@pytest.mark.parametrize("command", ["run", "fetch", "prepare", "train", "judge", "submission", "compare", "board"])
def test_every_command_names_the_nearest_competition(toy_competition, refused, command):
    toy_competition()
    assert "There is no competition 'toi'. Did you mean 'toy'? Known: toy, " in refused(command, "toi")


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "toy", "--fold", "3"], ["runn"], ["run", "toy", "--folds", "x"]]
)
def test_a_wrong_command_line_exits_with_two(kit, arguments):
    code, _, err = kit(*arguments)
    assert code == 2
    assert "Traceback" not in err


# The machine's limits.


def test_weights_that_cannot_be_had_offline_are_an_error_with_the_way_out(toy_competition, refused):
    slug = toy_competition()
    message = refused("run", slug, "--no-track", "--set", "model.weights=auto")
    assert "No pretrained weights for resnet10t: KIT_WEIGHTS is not set; and the model hub" in message
    assert "--set model.weights=none" in message


def test_a_file_in_the_place_of_the_home_folder_is_named(toy_competition, tmp_path, refused, monkeypatch):
    slug = toy_competition()
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "taken"))
    message = refused("run", slug, "--no-track")
    assert str(tmp_path / "taken") in message
    assert "Set KIT_HOME to a folder of yours." in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_folder_without_permission_is_named(toy_competition, tmp_path, refused, monkeypatch):
    slug = toy_competition()
    (tmp_path / "locked").mkdir(mode=0o500)
    monkeypatch.setenv("KIT_HOME", str(tmp_path / "locked" / "home"))
    assert "No permission to write" in refused("run", slug, "--no-track")


def test_a_full_disk_leaves_nothing_half_written(toy_competition, own_home, refused, monkeypatch):
    slug = toy_competition()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = refused("run", slug, "--no-track")
    assert message.startswith("The disk is full: ")
    assert "KIT_HOME moves it to another disk" in message
    assert [path for path in own_home.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_while_a_checkpoint_is_written_is_explained(toy_competition, tmp_path, refused, monkeypatch):
    slug, disk = toy_competition(), tmp_path / "disk"
    monkeypatch.setenv("KIT_HOME", str(disk))
    with small_disk(disk, num_bytes=8 * 2**20):  # the toy's data fits, its checkpoints do not
        message = refused("run", slug, "--no-track", "--folds", "0")
        assert message.startswith("The disk is full: ")
        assert "last.safetensors" in message
        assert not list(disk.rglob("*.part"))
        assert not list(disk.rglob("*.safetensors"))


@pytest.fixture
def fetch_raises(toy_competition, monkeypatch):
    """Let `kit fetch` fail with an exception, and give its arguments."""

    def make(error):
        def fail(*args, **options):
            raise error

        monkeypatch.setattr("kit.files.fetch.fetch", fail)
        monkeypatch.setattr(sys, "argv", ["kit", "fetch", toy_competition()])
        return ["fetch", "toy"]

    return make


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(errno.EIO, "the disk is broken")], ids=repr)
def test_a_bug_of_ours_keeps_its_traceback(fetch_raises, error):
    fetch_raises(error)
    with pytest.raises(type(error)):
        main()


def test_a_storage_error_that_nobody_foresaw_is_explained_all_the_same(fetch_raises, refused):
    arguments = fetch_raises(PermissionError(errno.EACCES, "Permission denied", "some/file"))
    assert refused(*arguments).startswith("No permission to write some/file.")


def test_an_interruption_exits_with_130(fetch_raises, kit):
    code, _, err = kit(*fetch_raises(KeyboardInterrupt()))
    assert (code, err) == (
        130,
        "\nkit: interrupted. Finished stages are kept; the same command goes on from there.\n",
    )


# Every command once.


def test_the_version_and_the_help_are_printed(kit):
    code, out, _ = kit("--version")
    assert (code, out) == (0, "competition-kit 0.1.0\n")
    code, out, _ = kit("--help")
    assert code == 0
    for command in ("run", "fetch", "prepare", "train", "judge", "submission", "list", "compare", "board", "publish"):
        assert f"  {command} " in out


def test_list_shows_what_is_here(kit, finished_toy):
    code, out, _ = kit("list")
    assert code == 0
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert lines["toy"] == ["toy", "accuracy", "3", "here:", "local", "official*,", "folds,", "random"]


@pytest.mark.parametrize(
    ("slug", "way"),
    [
        ("digits", "nothing needed"),
        ("elpv", "pip package"),
        ("pets", "download"),
        ("dog_breed", "Kaggle account"),
        ("aerial_cactus", "Kaggle account"),
        ("google_images", "kit scrape"),
    ],
)
def test_list_says_how_data_that_are_not_here_are_had(kit, slug, way):
    _, out, _ = kit("list")
    (line,) = [line for line in out.splitlines() if line.startswith(f"{slug} ")]
    assert f"  {way} " in line


def test_list_of_one_competition_shows_all_that_one_needs_to_run_it(kit):
    code, out, _ = kit("list", "pets")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "Oxford-IIIT Pet: 37 breeds of cats and dogs"
    assert "homepage https://www.robots.ox.ac.uk/~vgg/data/pets/" in lines
    assert any(line.startswith("licence CC BY-SA 4.0") for line in lines)
    assert "task single-label" in lines and "metric accuracy" in lines
    assert any(line.startswith("classes 37: Abyssinian, ") and line.endswith(", and 27 more") for line in lines)
    assert "recipes baseline*, scratch" in lines
    assert "submission image_id, breed (the class)" in lines
    assert "official* download" in lines
    assert any(line.startswith("subset --mirror only; not all images; 2,930 of the 7,349") for line in lines)
    assert any(line.startswith("official-37-transfer* 37 breeds, trained on all of trainval") for line in lines)
    assert "labels folder*; --labels takes csv, regex, function" in " ".join(kit("list", "mnist_sample")[1].split())


def test_list_of_one_competition_says_which_source_is_here(kit, finished_toy):
    assert "  local*                 here\n" in kit("list", finished_toy)[1]


def test_list_shows_the_others_and_then_the_fault_of_a_broken_competition(kit, toy_competition, tmp_path):
    slug = toy_competition()
    write_files(tmp_path / "competitions", {"broken/competition.toml": b"title = \n"})
    code, out, err = kit("list")
    assert code == 2
    assert slug in out
    assert "broken/competition.toml is not valid TOML" in err


def test_the_stages_one_by_one_make_what_run_makes(kit, toy_competition):
    slug = toy_competition()
    code, out, _ = kit("fetch", slug)
    assert code == 0
    assert (Path(out.strip()) / "train" / "red" / "000.png").is_file()
    code, out, err = kit("prepare", slug, "--folds", "3")
    assert code == 0
    assert "images    24: 18 train, 6 test\n" in out
    assert "folds     3: 6, 6, 6 images\n" in out
    assert "decoding 24 images" in err
    code, out, _ = kit("train", slug, "--folds", "0")
    assert code == 0
    assert out.startswith("full  0.0 min  ")
    assert out.strip().endswith("last.safetensors")
    code, out, _ = kit("submission", slug, "--folds", "0")
    assert code == 0
    assert Path(out.strip()).read_text().startswith("image_id,colour\n")
    code, out, _ = kit("judge", slug, "--folds", "0")
    assert code == 0
    assert "official (one model, test images)" in out
    assert "n = 6" in out


def test_run_prints_scores_comparison_and_where_everything_is(kit, finished_toy):
    code, out, err = kit("run", finished_toy, "--no-track")
    assert code == 0
    assert "is done already" in err
    assert "No published results are known for toy." in out
    places = dict(
        line.split(maxsplit=1) for line in out.splitlines() if line.startswith(("record ", "submission ", "board "))
    )
    assert places.keys() == {"record", "submission", "board"}
    assert all(Path(place).is_file() for place in places.values())
    run_id = Path(places["record"].strip()).parent.name
    assert out.splitlines()[-2:] == [f"next        kit judge {run_id}", f"then        kit export {run_id} FOLDER"]


def test_nothing_can_be_submitted_where_nothing_is_tested(toy_competition, refused):
    message = refused("submission", toy_competition(), "--protocol", "folds")
    assert "The protocol folds of toy has no test images" in message


def test_track_says_where_to_look_and_a_store_that_refuses_in_a_line(kit, finished_toy, monkeypatch):
    seen = []
    monkeypatch.setattr("kit.tracking.track", lambda record, histories, published: seen.append(record.run_id) or "id")
    code, out, _ = kit("track", "toy-official")
    assert (code, len(seen)) == (0, 1)
    assert out.startswith("look on  mlflow ui")
    monkeypatch.setenv("KIT_TRACKING_URI", "sqlite:///elsewhere.db")
    monkeypatch.setattr("kit.tracking.track", lambda *_: 1 / 0)
    code, out, err = kit("track", "toy-official")
    assert (code, out) == (0, "")
    assert "MLflow did not take the run (ZeroDivisionError" in err


def test_board_writes_the_pages(kit, finished_toy):
    code, out, _ = kit("board")
    assert code == 0
    assert [Path(line).name for line in out.splitlines()][-1] == "index.html"
    code, out, _ = kit("board", "toy")
    assert [Path(line).name for line in out.splitlines()] == ["toy.html"]


def test_publish_copies_the_record_and_never_changes_one(kit, refused, finished_toy, tmp_path):
    code, out, _ = kit("publish", "toy-official", "--to", str(tmp_path / "leaderboard"))
    assert code == 0
    published = Path(out.strip())
    assert json.loads(published.read_text())["run_id"] == published.stem
    assert kit("publish", published.stem, "--to", str(tmp_path / "leaderboard"))[0] == 0  # the same once more
    published.write_text(published.read_text() + "\n")
    assert "A published record is never changed." in refused(
        "publish", published.stem, "--to", str(tmp_path / "leaderboard")
    )


def test_publish_without_a_run_says_how_to_make_one(refused):
    assert "There is no run 'toy'. No run has finished here yet: `kit run SLUG` makes one." in refused("publish", "toy")


def test_cache_shows_sizes_and_clears_all_but_the_runs(kit, refused, finished_toy, own_home):
    code, out, _ = kit("cache")
    assert code == 0
    assert out.splitlines()[0] == str(own_home)
    assert "packs" in out
    code, out, _ = kit("cache", "--clear", "packs")
    assert code == 0
    assert out.endswith(" MiB freed\n")
    assert not (own_home / "packs").exists()
    assert kit("cache", "--clear", "all")[0] == 0
    assert sorted(path.name for path in own_home.iterdir()) == ["ledger", "runs"]
    assert "Known are downloads, data," in refused("cache", "--clear", "everything")


def test_a_broken_tracking_store_never_stops_a_run(kit, finished_toy, monkeypatch):
    monkeypatch.setenv("KIT_TRACKING_URI", "nonsense://nowhere")
    code, out, err = kit("run", finished_toy)
    assert code == 0
    assert "MLflow did not take the run (" in err
    assert "The run's own files are whole: " in err
    assert "Traceback" not in err
    assert "record      " in out


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_a_look_costs_no_heavy_import(arguments, tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = {['kit', *arguments]!r}\n"
        "from kit.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'pandas', 'mlflow', 'timm', 'sklearn', 'scipy', 'cv2', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
