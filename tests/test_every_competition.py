"""The contract that every folder in competitions/ keeps. A new folder is found and checked by itself."""

import inspect
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from miniatures import MINIATURES, make_miniature

from kit.board.baselines import load_baselines
from kit.competition import ADAPTER_FUNCTIONS, Competition, package_folder, read_competition
from kit.config import read_recipe
from kit.data.folds import assign_folds
from kit.data.labels import read_table
from kit.data.prepare import prepare
from kit.data.samples import Samples
from kit.data.schema import truth_of
from kit.errors import SubmissionError
from kit.home import family
from kit.judge.predict import Predictions
from kit.kaggle.submission import submission_table
from kit.metrics import METRICS, score, targets_of

FOLDER = package_folder("competitions")
SLUGS = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


@pytest.fixture(params=SLUGS)
def competition(request):
    return read_competition(FOLDER / request.param)


def test_there_are_competitions():
    assert SLUGS


def test_it_says_what_it_is_and_under_which_licence(competition):
    for text in (competition.title, competition.homepage, competition.licence, competition.citation):
        assert text.strip()
    assert competition.homepage.startswith(("https://", "http://"))


def test_its_folder_holds_nothing_but_the_known_files(competition):
    names = {path.name for path in competition.folder.iterdir()} - {"__pycache__"}
    assert names <= {"competition.toml", "README.md", "adapter.py", "recipes"}
    assert {path.suffix for path in (competition.folder / "recipes").iterdir()} == {".toml"}


def test_its_recipes_load_and_one_is_the_default(competition):
    for path in (competition.folder / "recipes").glob("*.toml"):
        assert read_recipe(path).name
    assert competition.recipe().name == competition.default_recipe


def test_every_file_can_be_had_and_a_mirrors_file_can_be_checked(competition):
    for source in competition.sources.values():
        for file in source.files:
            assert file.url or file.path
            assert file.url.startswith(("https://", "http://")) or not file.url
            if not file.url and not source.kaggle:  # what Kaggle packs, and when it packs again, is Kaggle's own
                assert len(file.sha256) == 64 and file.num_bytes > 0


def test_what_is_handed_in_to_kaggle_is_held_against_its_sample(competition):
    if any(source.kaggle for source in competition.sources.values()):
        for protocol in competition.protocols.values():
            assert protocol.sample or competition.submission.sample


def test_no_two_files_of_a_source_share_a_name(competition):
    for source in competition.sources.values():
        names = [file.name for file in source.files]
        assert len(set(names)) == len(names)


def test_labels_are_renamed_to_classes_only(competition):
    for rule in (competition.labels, *competition.more_labels.values()):
        assert set(rule.rename.values()) <= set(competition.classes)


def test_its_adapter_defines_known_functions_only(competition):
    module = competition.adapter()
    if module is None:
        return
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and inspect.isfunction(value) and value.__module__ == module.__name__
    }
    assert public
    assert public <= set(ADAPTER_FUNCTIONS)


def test_a_protocol_with_published_results_has_their_conditions(competition):
    path = package_folder("leaderboard") / "baselines" / f"{competition.baselines_id}.yaml"
    published = load_baselines(path).protocols if path.is_file() else {}
    for name in competition.protocols.keys() & published.keys():
        ours, theirs = competition.protocols[name], published[name]
        for key in ("training_pool", "test_images", "num_test", "extra_inputs"):
            assert getattr(ours, key) == getattr(theirs, key), f"protocols.{name}.{key}"
        assert ours.metric in theirs.metrics


# What follows runs on the competition's miniature: the real names and archives, with a few images per class.

SOURCES = [(slug, source) for slug in SLUGS for source in read_competition(FOLDER / slug).sources]
NEEDS = {"kaggle-stage2": "both-stages"}  # protocol -> the one source that has its images


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A miniature, fetched and prepared under each protocol that its source can serve."""

    competition: Competition
    samples: dict[str, Samples]  # by protocol
    said: list[str]


@pytest.fixture(scope="module", params=SOURCES, ids="-".join)
def prepared(request, tmp_path_factory):
    slug, source = request.param
    root = tmp_path_factory.mktemp(f"{slug}-{source}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(root / "home"))
        used_in_place = read_competition(FOLDER / slug).sources[source].folder
        mirror = make_miniature(slug, family("collected") / slug if used_in_place else root / "mirror")
        if slug == "elpv":
            patch.syspath_prepend(str(mirror))
            for name in ("elpv_dataset", "elpv_dataset.utils"):
                patch.delitem(sys.modules, name, raising=False)
        competition, said = unchecked(read_competition(FOLDER / slug)), []
        samples = {
            name: prepare(competition, protocol=name, source=source, mirror=str(mirror), say=said.append)
            for name in competition.protocols
            if NEEDS.get(name, source) == source
        }
        for name in ("elpv_dataset", "elpv_dataset.utils"):
            patch.delitem(sys.modules, name, raising=False)
    return Prepared(competition=competition, samples=samples, said=said)


def unchecked(competition):
    """Return the competition without sizes and checksums: a miniature's files are others."""
    sources = {
        name: replace(source, files=tuple(replace(file, sha256="", md5="", num_bytes=0) for file in source.files))
        for name, source in competition.sources.items()
    }
    return replace(competition, sources=sources)


def predictions_of(rows, classes, probabilities, *, order=None):
    """Return predictions of the rows, in another order where one is given."""
    order = np.arange(len(rows)) if order is None else order
    return Predictions(
        kind="test",
        image_ids=tuple(rows["image_id"].iloc[order]),
        classes=classes,
        probabilities=np.asarray(probabilities, dtype=np.float32)[order],
        labels=tuple(rows["label"].iloc[order]),
        folds=np.full(len(rows), -1),
    )


def guesses(num_rows, num_classes):
    """Return (N, C) random probabilities whose rows sum to 1."""
    return np.random.default_rng(11).dirichlet(np.ones(num_classes), size=num_rows)


def with_a_submission(prepared):
    """Return (competition, protocol, samples, rows to hand in) of each protocol whose test images are handed in."""
    competition = prepared.competition
    return [
        (competition, competition.protocol(name), samples, samples.test)
        for name, samples in prepared.samples.items()
        # Where there is a sample, only its images are handed in, not a part of the labelled ones.
        if len(samples.test) and (competition.protocol(name).split == "official" or not competition.submission.sample)
    ]


def handed_in(competition, protocol, samples, predictions):
    paths = dict(zip(samples.table["image_id"], samples.table["path"], strict=True))
    return submission_table(competition, predictions, data=samples.folder, paths=paths, sample=protocol.sample)


def test_every_competition_has_a_miniature():
    assert set(MINIATURES) == set(SLUGS)


def test_its_images_are_found_and_every_class_occurs(prepared):
    assert prepared.samples
    for samples in prepared.samples.values():
        used = samples.table[samples.table["split"] != "unused"]
        assert set(used.loc[used["label"] != "", "label"]) == set(prepared.competition.classes)
        assert set(samples.train["label"]) <= set(prepared.competition.classes)
        has_images = (samples.table["path"] != "").any()  # else its rows are those of a table
        assert all((samples.folder / path).is_file() for path in samples.table["path"] if has_images)


def test_no_id_stands_twice_and_no_image_is_on_both_sides(prepared):
    for samples in prepared.samples.values():
        has_images = (samples.table["path"] != "").any()
        for column in ("image_id", "path") if has_images else ("image_id",):
            assert samples.table[column].is_unique
            assert not set(samples.train[column]) & set(samples.test[column])
        assert not has_images or not set(samples.train["sha256"]) & set(samples.test["sha256"])


def test_a_protocol_with_a_test_has_test_images(prepared):
    for name, samples in prepared.samples.items():
        assert len(samples.train)
        assert len(samples.test) or prepared.competition.protocol(name).split == "none"


def test_folds_part_no_group_and_hold_out_every_image_once(prepared):
    for samples in prepared.samples.values():
        folds = assign_folds(samples.train, num_folds=2, seed=1, rule=prepared.competition.folds)
        assert sorted(folds["fold"].unique()) == [0, 1]
        assert sorted(folds["image_id"]) == sorted(samples.train["image_id"])
        assert (folds.groupby("group")["fold"].nunique() == 1).all()


def test_the_true_answers_get_the_best_score(prepared):
    for name, samples in prepared.samples.items():
        metric, rows = prepared.competition.protocol(name).metric, samples.train
        truth = truth_of(rows, samples.classes)
        answers = targets_of(truth, len(samples.classes))
        best, sign = score(metric, labels=truth, probabilities=answers), 1 if METRICS[metric].greater_is_better else -1
        if truth.ndim == 1:
            assert best == pytest.approx({"log_loss": 0.0, "error_rate": 0.0}.get(metric, 1.0), abs=1e-9)
        for other in (guesses(*answers.shape), np.roll(answers, 1, axis=0)):
            assert sign * score(metric, labels=truth, probabilities=other) < sign * best


def test_the_order_of_the_images_changes_no_score(prepared):
    for name, samples in prepared.samples.items():
        metric, rows = prepared.competition.protocol(name).metric, samples.train
        truth, found = truth_of(rows, samples.classes), guesses(len(rows), len(samples.classes))
        order = np.random.default_rng(2).permutation(len(rows))
        shuffled = score(metric, labels=truth[order], probabilities=found[order])
        assert shuffled == pytest.approx(score(metric, labels=truth, probabilities=found), rel=1e-12)


def test_shuffled_predictions_make_the_same_submission(prepared):
    for competition, protocol, samples, rows in with_a_submission(prepared):
        found = guesses(len(rows), len(samples.classes))
        order = np.random.default_rng(3).permutation(len(rows))
        straight = handed_in(competition, protocol, samples, predictions_of(rows, samples.classes, found))
        shuffled = predictions_of(rows, samples.classes, found, order=order)
        assert straight.equals(handed_in(competition, protocol, samples, shuffled))


def test_a_submission_has_each_test_image_once_and_the_samples_columns_and_ids(prepared):
    for competition, protocol, samples, rows in with_a_submission(prepared):
        found = guesses(len(rows), len(samples.classes))
        made = handed_in(competition, protocol, samples, predictions_of(rows, samples.classes, found))
        rule = competition.submission
        assert len(made) == len(rows)
        assert made[rule.id_column].is_unique
        if sample := protocol.sample or rule.sample:
            wanted = read_table(samples.folder / sample, columns=[rule.id_column])
            assert list(made.columns) == list(wanted.columns)
            if rule.values == "probabilities":
                assert list(made.columns[1:]) == list(samples.classes)
            assert made[rule.id_column].tolist() == wanted[rule.id_column].tolist()


def test_the_column_of_a_class_holds_its_probability(prepared):
    for competition, protocol, samples, rows in with_a_submission(prepared):
        rule, classes = competition.submission, samples.classes
        found = guesses(len(rows), len(classes)).astype(np.float32)
        made = handed_in(competition, protocol, samples, predictions_of(rows, classes, found))
        columns = {
            "probabilities": dict(zip(classes, classes, strict=True)),
            "probability_of": {rule.of_class: rule.label_column},
            "label": {},
        }[rule.values]
        by_name = {row[rule.id_column].removesuffix(".jpg").rsplit("/", 1)[-1]: row for _, row in made.iterrows()}
        for image_id, row in zip(rows["image_id"], found, strict=True):
            written = by_name[image_id.rsplit("/", 1)[-1]]
            for name, column in columns.items():
                assert written[column] == row[classes.index(name)]
            if rule.values == "label":
                assert written[rule.label_column] == classes[int(row.argmax())]


def test_a_missing_or_a_doubled_id_is_refused(prepared):
    for competition, protocol, samples, rows in with_a_submission(prepared):
        if not (protocol.sample or competition.submission.sample):
            continue
        found = guesses(len(rows), len(samples.classes))
        with pytest.raises(SubmissionError, match=r"1 of \d+ ids have none"):
            handed_in(competition, protocol, samples, predictions_of(rows.iloc[1:], samples.classes, found[1:]))
        last = rows["image_id"].iloc[-1].rsplit("/", 1)[-1]
        doubled = rows.assign(image_id=[f"elsewhere/{last}", *rows["image_id"].iloc[1:]])
        paths = doubled.assign(path=[f"elsewhere/{last}.jpg", *rows["path"].iloc[1:]])
        made = predictions_of(paths, samples.classes, found)
        with pytest.raises(SubmissionError, match="1 ids more than once"):
            submission_table(
                competition,
                made,
                data=samples.folder,
                paths=dict(zip(paths["image_id"], paths["path"], strict=True)),
                sample=protocol.sample,
            )


def test_a_partial_source_is_announced(prepared):
    folders = {samples.folder.name for samples in prepared.samples.values()}
    (source,) = folders
    sources = prepared.competition.sources
    complete = source not in sources or sources[source].complete  # a folder of the user's own has another name
    announced = any(line.startswith("PARTIAL DATA: ") for line in prepared.said)
    assert announced == (not complete)


def test_frames_of_one_run_stay_in_one_fold(tmp_path):
    """No list names the boats of the fisheries: frames that look the same are one group, and others are not."""
    competition = unchecked(read_competition(FOLDER / "fisheries"))
    mirror = make_miniature("fisheries", tmp_path / "mirror")
    train = prepare(competition, mirror=str(mirror), say=lambda line: None).train
    copies = train[train["image_id"].str.endswith(("90", "91"))]
    assert copies.groupby("label")["group"].nunique().to_dict() == dict.fromkeys(competition.classes, 1)
    assert train["group"].nunique() == len(train) - len(competition.classes)
