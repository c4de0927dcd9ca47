"""The plan of a run: whatever decides its numbers makes another run, and what would fail later is refused now."""

from pathlib import Path

import pytest
from toys import coloured_png, write_files

from kit.competition import load_competition
from kit.data.folds import write_folds
from kit.data.prepare import prepare
from kit.errors import DataError, SubmissionError
from kit.fit.limits import resident_bytes
from kit.plan import pack_for, plan_run
from kit.quality.fixes import Fix, add_fixes, fixes_path
from kit.record import conditions_of
from kit.run import finish, train_models


def silent(line: str) -> None:
    """Take a line of progress."""


def planned(slug: str, **settings):
    return plan_run(slug, say=silent, **settings)


def changed(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "competitions" / "toy" / "competition.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('classes = ["red", "green", "blue"]', 'classes = ["blue", "green", "red"]'),
        ("[sources.local]\n", "[sources.local]\ncomplete = false\n"),
        ("[submission]\n", '[folds]\nnear_duplicates = "ignore"\n\n[submission]\n'),
        ("[submission]\n", '[submission]\nids = "stem"\n'),
    ],
    ids=["class order", "complete", "folds", "submission"],
)
def test_what_decides_numbers_makes_another_run(toy_competition, tmp_path, old, new):
    slug = toy_competition()
    before = planned(slug)
    changed(tmp_path, old, new)
    assert planned(slug).run_id != before.run_id


def test_a_fixed_image_makes_other_conditions_wherever_it_counts(toy_competition):
    slug = toy_competition()

    def conditions():
        plan = planned(slug, protocol="folds", overrides=["num_folds=5"])
        return conditions_of(plan, "out-of-fold", num_images=24, pretraining_group="none")

    before = conditions()
    add_fixes(
        fixes_path(load_competition(slug)),
        [Fix(image_id="train/red/000", action="relabel", label="blue", who="me", when="2026-01-02", why="is blue")],
        classes=("red", "green", "blue"),
    )
    after = conditions()
    assert before.test_images == "out-of-fold"
    assert (after.test_images, after.training_pool) == (
        f"{before.test_images} (1 images fixed)",
        f"{before.training_pool} (1 images fixed)",
    )


def test_a_fix_may_not_touch_the_publishers_test_list(toy_competition):
    slug = toy_competition()
    path = fixes_path(load_competition(slug))
    drop = Fix(image_id="test/red/003", action="drop", who="me", when="2026-01-02", why="blurred")
    add_fixes(path, [drop], classes=("red", "green", "blue"))
    with pytest.raises(DataError, match=r"changes 1 images of the publisher's test list, first \['test/red/003'\]"):
        planned(slug)
    assert len(planned(slug, protocol="folds", overrides=["num_folds=5"]).train) == 23


def test_batches_that_are_left_to_the_memory_are_numbers_in_the_plan_and_stay_so(toy_competition, own_home):
    slug = toy_competition()
    said: list[str] = []
    automatic = {"overrides": ["schedule.batch_size=auto", "device=cpu"]}
    plan = plan_run(slug, say=said.append, **automatic)
    assert plan.memory is None  # nobody asked for a limit: what is free decides, and is not enforced
    assert not plan.recipe.schedule.is_automatic
    assert plan.recipe.schedule.batch_size in (8, 16, 32, 64)
    explicit = planned(slug, overrides=[f"schedule.batch_size={plan.recipe.schedule.batch_size}", "device=cpu"])
    assert plan.run_id == explicit.run_id
    # Free memory is another tomorrow; the run is not.
    (kept,) = (own_home / "fit" / "chosen").iterdir()
    kept.write_text('{"batch_size": 24, "micro_batch": 12}')
    again = plan_run(slug, say=said.append, **automatic)
    assert (again.recipe.schedule.batch_size, again.recipe.schedule.micro_batch) == (24, 12)
    assert said[-1] == f"batches of 24 images, 12 images at once, as they were chosen before ({kept})"
    kept.write_text("damaged")
    assert planned(slug, **automatic).run_id == plan.run_id


def test_a_limit_that_is_asked_for_is_in_the_plan_and_decides_no_number_of_a_recipe_that_has_them(
    toy_competition, monkeypatch
):
    slug = toy_competition()
    plain, asked = planned(slug), planned(slug, memory=3 * 2**30)
    assert plain.memory is None
    assert (asked.memory.num_bytes, asked.memory.asked) == (3 * 2**30, True)
    assert asked.run_id == plain.run_id
    monkeypatch.setenv("KIT_MEMORY", "2GiB")
    assert planned(slug).memory.num_bytes == 2 * 2**30


def test_portions_that_are_left_to_the_memory_are_as_many_as_it_needs(toy_competition):
    slug = toy_competition()
    recipe = ["schedule.batch_size=64", "schedule.micro_batch=auto", "input.image_size=256", "device=cpu"]
    roomy = planned(slug, overrides=recipe, memory=64 * 2**30).recipe.schedule
    assert (roomy.batch_size, roomy.micro_batch) == (64, 0)
    narrow = planned(slug, overrides=recipe, memory=resident_bytes() + 1536 * 2**20).recipe.schedule
    assert narrow.batch_size == 64
    assert 0 < narrow.micro_batch < 64
    assert 64 % narrow.micro_batch == 0


def copied_across_folds(tmp_path: Path, toy_competition) -> str:
    """A competition whose own folds part exact copies, because somebody gave the folds."""
    slug = toy_competition()
    rows = ["id,colour,part"]
    files = {}
    for k in range(8):
        colour = ("red", "green", "blue")[k % 3]
        files[f"{k}.png"] = coloured_png(colour, 7 if k in (0, 3) else k)
        rows.append(f"{k},{colour},{'x' if k < 3 else 'y'}")
    write_files(tmp_path / "own", {**files, "labels.csv": "\n".join(rows).encode()})
    changed(tmp_path, "[sources.local]\n", f'[sources.own]\nfolder = "{tmp_path / "own"}"\n\n[sources.local]\n')
    changed(
        tmp_path,
        'rule = "folder"\nimages = "*/*/*.png"\n',
        'rule = "csv"\nfile = "labels.csv"\nlabel_column = "colour"\nsuffix = ".png"\nfold_column = "part"\n'
        '\n[folds]\nby = "column"\n',
    )
    return slug


def test_copies_across_folds_that_somebody_gave_are_a_warning(toy_competition, tmp_path):
    slug = copied_across_folds(tmp_path, toy_competition)
    plan = planned(slug, source="own", protocol="folds", overrides=["num_folds=2"])
    assert {(finding.kind, finding.severity) for finding in plan.findings} >= {("duplicates-folds", "warn")}
    assert "stop" not in {finding.severity for finding in plan.findings}


def test_what_was_overridden_stays_in_the_record(toy_competition, tmp_path):
    slug = toy_competition()
    noise = coloured_png("grey", 5)[:-20]  # cut: the pack cannot read it, and a test image is no training image
    archive = tmp_path / "own"
    names = [f"{colour}/{k}.png" for colour in ("red", "green", "blue") for k in range(4)]
    write_files(archive, {name: coloured_png(name.split("/")[0], k) for k, name in enumerate(names)})
    write_files(archive, {"red/9.png": coloured_png("red", 0), "blue/9.png": noise})
    changed(tmp_path, "[sources.local]\n", f'[sources.own]\nfolder = "{archive}"\n\n[sources.local]\n')
    changed(tmp_path, 'images = "*/*/*.png"', 'images = "*/*.png"')
    settings = {"source": "own", "protocol": "folds", "overrides": ["num_folds=2"]}
    with pytest.raises(DataError, match="blue/9"):
        train_models(planned(slug, **settings), say=silent)
    (archive / "blue/9.png").write_bytes(coloured_png("blue", 77))
    plan = planned(slug, **settings, despite_findings=True)
    train_models(plan, say=silent)
    record = finish(planned(slug, **settings), say=silent)
    assert record.quality["overridden"] == bool(record.quality["stop"])


def test_a_changed_adapter_is_seen(toy_competition, tmp_path):
    slug = toy_competition()
    write_files(tmp_path / "own", {f"{k}.png": coloured_png("red", k) for k in range(4)})
    changed(tmp_path, "[sources.local]\n", f'[sources.own]\nfolder = "{tmp_path / "own"}"\n\n[sources.local]\n')
    changed(tmp_path, 'rule = "folder"\nimages = "*/*/*.png"', 'rule = "function"')
    adapter = tmp_path / "competitions" / "toy" / "adapter.py"

    def labels() -> list[str]:
        samples = prepare(load_competition(slug), source="own", protocol="folds", say=silent)
        return samples.table["label"].tolist()

    adapter.write_text("def label_of(path):\n    return 'red' if int(path.stem) < 2 else 'blue'\n")
    assert labels() == ["red", "red", "blue", "blue"]
    adapter.write_text("def label_of(path):\n    return 'blue' if int(path.stem) < 2 else 'red'\n")
    assert labels() == ["blue", "blue", "red", "red"]


def test_an_empty_test_side_is_refused(toy_competition, tmp_path):
    slug = toy_competition()
    changed(tmp_path, 'test = "test"\n\n[protocols', 'test = "tset"\n\n[protocols')
    with pytest.raises(DataError, match="toy: no image is left to test on"):
        planned(slug)


def test_a_metric_that_the_scored_images_leave_undefined_is_refused_before_training(toy_competition, tmp_path):
    slug = toy_competition()
    changed(tmp_path, 'num_test = 6\nmetric = "accuracy"', 'num_test = 6\nmetric = "roc_auc"')
    assert planned(slug)
    changed(tmp_path, '"blue"]', '"blue", "violet"]')
    with pytest.raises(DataError, match=r"roc_auc is not defined on these 18 images: 1 classes .* first \['violet'\]"):
        planned(slug)


def test_folds_of_another_kind_are_refused(toy_competition, tmp_path):
    slug = toy_competition()
    plan = planned(slug)
    write_folds(tmp_path / "folds.csv", plan.train)
    again = planned(slug, folds_from=tmp_path / "folds.csv")
    assert again.train["fold"].tolist() == plan.train["fold"].tolist()
    by_time = plan.train.assign(fold=plan.train["fold"] - 1)
    write_folds(tmp_path / "time.csv", by_time)
    with pytest.raises(DataError, match=r"time\.csv and toy do not fit: folds by time begin with"):
        planned(slug, folds_from=tmp_path / "time.csv")


def test_a_changed_table_is_noticed_with_what_came_and_went(toy_competition, tmp_path):
    slug = toy_competition()
    write_files(tmp_path / "own", {f"{c}/{k}.png": coloured_png(c, k) for c in ("red", "blue") for k in range(4)})
    changed(tmp_path, "[sources.local]\n", f'[sources.own]\nfolder = "{tmp_path / "own"}"\n\n[sources.local]\n')
    changed(tmp_path, 'images = "*/*/*.png"', 'images = "*/*.png"')
    said: list[str] = []
    settings = {"source": "own", "protocol": "folds", "overrides": ["num_folds=2"]}
    plan_run(slug, say=said.append, **settings)
    (tmp_path / "own/red/0.png").unlink()
    write_files(tmp_path / "own", {"blue/9.png": coloured_png("blue", 9)})
    assert not any("dealt anew" in line for line in said)
    plan_run(slug, say=said.append, **settings)
    (line,) = [line for line in said if "dealt anew" in line]
    assert "1 images came, e.g. blue/9" in line
    assert "1 images went, e.g. red/0" in line


def test_a_sample_that_is_not_there_is_refused_before_training(toy_competition, tmp_path):
    slug = toy_competition()
    changed(tmp_path, "[submission]\n", '[submission]\nsample = "samp.csv"\n')
    with pytest.raises(SubmissionError, match=r"The sample submission samp\.csv is not in "):
        planned(slug)


def test_an_image_that_comes_into_a_linked_folder_is_seen(toy_competition, tmp_path):
    slug = toy_competition()
    write_files(tmp_path / "elsewhere", {f"{k}.png": coloured_png("red", k) for k in range(3)})
    write_files(tmp_path / "own", {f"blue/{k}.png": coloured_png("blue", k) for k in range(3)})
    (tmp_path / "own" / "red").symlink_to(tmp_path / "elsewhere")
    changed(tmp_path, "[sources.local]\n", f'[sources.own]\nfolder = "{tmp_path / "own"}"\n\n[sources.local]\n')
    changed(tmp_path, 'images = "*/*/*.png"', 'images = "**/*.png"')
    settings = {"source": "own", "protocol": "folds", "overrides": ["num_folds=2"]}
    assert len(planned(slug, **settings).train) == 6
    write_files(tmp_path / "elsewhere", {"9.png": coloured_png("red", 9)})
    assert len(planned(slug, **settings).train) == 7


def test_a_row_without_an_image_is_refused_before_training(toy_competition, tmp_path):
    slug = toy_competition()
    changed(tmp_path, 'rule = "folder"\nimages = "*/*/*.png"', 'rule = "adapter"')
    (tmp_path / "competitions" / "toy" / "adapter.py").write_text(
        "def train_samples(data_dir):\n"
        "    rows = [(p.relative_to(data_dir).as_posix(), p.parent.name) for p in data_dir.glob('*/*/*.png')]\n"
        "    return {'image_id': [*(p for p, _ in rows), 'train/none'], 'path': [*(p for p, _ in rows), ''],\n"
        "            'label': [*(label for _, label in rows), 'red']}\n"
    )
    plan = planned(slug, protocol="folds", overrides=["num_folds=2"])
    with pytest.raises(DataError, match=r"Rows of toy without an image: 1, first \['train/none'\]"):
        pack_for(plan)


def test_two_rows_of_one_file_are_refused(toy_competition, tmp_path):
    slug = toy_competition()
    changed(tmp_path, 'rule = "folder"\nimages = "*/*/*.png"', 'rule = "adapter"')
    (tmp_path / "competitions" / "toy" / "adapter.py").write_text(
        "def train_samples(data_dir):\n"
        "    rows = [(p.relative_to(data_dir).as_posix(), p.parent.name) for p in data_dir.glob('*/*/*.png')]\n"
        "    ids, paths = [f'{i}-{p}' for p, _ in rows for i in 'ab'], [p for p, _ in rows for i in 'ab']\n"
        "    return {'image_id': ids, 'path': paths, 'label': [label for _, label in rows for i in 'ab']}\n"
    )
    with pytest.raises(DataError, match="24 files have more than one row"):
        planned(slug, protocol="folds")
