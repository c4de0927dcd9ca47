"""What a learner's answers become: something to look at, a score beside published ones, a file that is handed in."""

import csv

import numpy as np
import pytest
from hosting import CONNECTIONS_LEFT_OPEN
from kaggle_account import set_clock
from toys import coloured_png, write_files

import kit
from kit.competition import load_competition
from kit.errors import ConfigError, DataError, SubmissionError
from kit.host.hosted import HostedCompetition
from kit.host.server import serve
from kit.interpret.notebook import html_table
from kit.judge.test_ledger import read_chain
from kit.kaggle.lint import lint
from kit.learner.comparison import compare_learner

pytestmark = CONNECTIONS_LEFT_OPEN


def quiet(line: str) -> None:
    """Say nothing."""


def trained(slug="toy", *, epochs=2, which="test_resnet", **settings):
    """Return a learner that was trained from random weights for a moment."""
    learn = kit.Learner(kit.load(slug, say=quiet, **{"size": 32, "bs": 4, **settings}), which, weights=None)
    learn.fit_one_cycle(epochs, 2e-2)
    return learn


@pytest.fixture
def toy(toy_competition):
    return toy_competition()


@pytest.fixture
def learn(toy):
    return trained(toy)


# Interpretation.


def test_the_interpretation_is_of_the_held_out_images_alone(learn):
    found = learn.interpret()
    assert set(found.predictions.image_ids) == set(learn.data.valid["image_id"])
    assert not set(found.predictions.image_ids) & set(learn.data.train["image_id"])
    assert [one.image_id for one in found.top_losses(2)] == [
        found.predictions.image_ids[row]
        for row in np.argsort(found.predictions.probabilities[range(len(learn.data.valid)), found.predictions.truth])
    ][:2]


def test_what_is_trained_afterwards_changes_no_interpretation(learn):
    found = learn.interpret()
    before, filters = found.predictions.probabilities.copy(), found.first_layer_filters().filters
    learn.fit_one_cycle(1, 2e-2)
    assert np.array_equal(found.predictions.probabilities, before)
    assert np.array_equal(found.first_layer_filters().filters, filters)
    assert not np.array_equal(learn.interpret().first_layer_filters().filters, filters)


def test_every_verb_draws(learn):
    found = learn.interpret()
    for figure in (
        found.plot_top_losses(4, figsize=(6, 6)),
        found.plot_most_correct(2, figsize=(6, 3)),
        found.plot_most_incorrect(2),
        found.plot_most_uncertain(2),
        found.plot_confusion_matrix(figsize=(5, 4), dpi=60),
        found.show_filters(),
        found.show_filters(1),
        found.plot_attention(found.top_losses(2)),
    ):
        figure.canvas.draw()
    assert found.plot_confusion_matrix(dpi=60).dpi == 60


def test_without_held_out_images_there_is_nothing_to_interpret(toy):
    with pytest.raises(DataError, match="Nothing is held out") as caught:
        trained(toy, folds=0, epochs=1).interpret()
    assert "folds=5" in str(caught.value) and "\n" not in str(caught.value)


def test_results_say_in_a_line_what_they_are_and_in_a_notebook_in_a_table(learn):
    found = learn.interpret()
    right = sum(one.right for one in found.top_losses(100))
    num = len(learn.data.valid)
    assert repr(found) == (f"<Interpretation of {num} held-out images, 3 classes: {right} right ({right / num:.2%})>")
    assert f"{right} right" in found._repr_html_()
    matrix = found.confusion_matrix()
    assert repr(matrix) == f"<confusion matrix of 3 classes: {right} of {num} right>"
    assert matrix._repr_html_().count("<tr>") == 4
    (worst,) = found.top_losses(1)
    assert repr(worst).startswith(f"<{worst.image_id}: {worst.predicted!r} ({worst.probability:.3f})")
    assert f"{worst.loss:.2f}" in worst._repr_html_()


def test_what_stands_in_a_table_is_text_whatever_it_says():
    page = html_table(
        ("<b>",), [("<script>alert(1)</script>",), ("a $x$",), ("\x1b[31m\u202e",)], caption="<i>", note="&"
    )
    assert "<script" not in page and "<b>&lt;b" not in page and "$" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page and "&lt;i&gt;" in page and "<p>&amp;</p>" in page and "\u202e" not in page


# Filters.


def test_a_layer_is_asked_for_by_number_or_by_name(learn):
    found = learn.interpret()
    first = found.first_layer_filters().name
    assert found.show_filters(first).get_suptitle() == found.show_filters(0).get_suptitle()
    (stage,), _, _ = found.strongest_patches(layer=1)
    (named,), _, _ = found.strongest_patches(layer=stage.name)
    assert (named.name, named.num_units) == (stage.name, stage.num_units)


@pytest.mark.parametrize(
    ("layer", "said"), [(99, "There is no layer 99"), ("nowhere", "'nowhere' is not there"), (-1, "no layer -1")]
)
def test_a_layer_that_is_not_there_is_refused_with_those_that_are(learn, layer, said):
    with pytest.raises(ConfigError, match=said) as caught:
        learn.interpret().show_filters(layer)
    assert "layer" in str(caught.value) and "\n" not in str(caught.value)


def test_a_layer_without_maps_is_refused(learn):
    names = [name for name, _ in learn.network.module.named_modules() if name]
    with pytest.raises(ConfigError, match="gives no maps"):
        learn.interpret().show_filters(names[-1])  # the classifier


# Comparison.

PUBLISHED = ('metric = "accuracy"', 'metric = "accuracy"\nbaselines = "oxford-iiit-pet"')


def test_what_was_held_out_is_no_part_of_what_was_learned_from(learn):
    found = learn.compare()
    assert found.result.kind == "test" and found.conditions.test_images == "official-test"
    num = learn.data.plan.recipe.num_folds
    assert found.conditions.training_pool == f"{num - 1} of {num} folds of official-train"
    assert found.conditions.adaptation == "trained" and found.conditions.inference == "single"
    assert found.conditions.pretraining_group == "none" and found.conditions.selection == "held-out"


def test_with_nothing_held_out_the_conditions_are_those_of_a_run(toy):
    found = trained(toy, folds=0, epochs=1).compare()
    assert found.conditions.training_pool == "official-train"


def test_a_score_on_held_out_images_is_one_of_other_images_and_its_choice_is_not_stated(learn):
    found = compare_learner(learn, "valid")
    num = learn.data.plan.recipe.num_folds
    assert found.conditions.test_images == f"fold 0 of {num} of official-train"
    assert found.conditions.num_test == found.score.num_images == len(learn.data.valid)
    assert found.conditions.selection is None and found.test_use == ""
    assert read_chain().looks == ()


def test_a_look_at_test_labels_is_in_the_ledger_once_for_the_same_weights(learn):
    first = learn.compare()
    again = learn.compare()
    (look,) = read_chain().looks
    assert look.value == first.score.value == again.score.value
    assert look.run.startswith("learner:") and look.opened == "test labels"
    assert "test opened once" in first.test_use
    learn.fit_one_cycle(1, 2e-2)
    assert "opened 2 times" in learn.compare().test_use


def test_a_body_that_never_learned_is_a_linear_probe(toy):
    learn = kit.Learner(kit.load(toy, size=32, bs=4, say=quiet), "test_resnet", weights=None)
    learn.freeze()
    learn.fit_one_cycle(1)
    assert learn.compare().conditions.adaptation == "linear-probe"
    learn.unfreeze()
    learn.fit_one_cycle(1)
    assert learn.compare().conditions.adaptation == "trained"


def test_the_conditions_are_of_the_weights_that_answer_whatever_was_trained_in_between(toy):
    learn = kit.Learner(kit.load(toy, size=32, bs=4, say=quiet), "test_resnet", weights=None)
    learn.freeze()
    learn.fit_one_cycle(1)
    learn.save("head")
    learn.unfreeze()
    learn.fit_one_cycle(1)
    learn.load("head")
    assert learn.compare().conditions.adaptation == "linear-probe"


def test_of_weights_from_elsewhere_nobody_knows_what_they_have_learned_from(toy):
    other = trained(toy, valid_fold=1)
    other.save("other")
    learn = trained(toy)
    learn.load("other")  # they know the images that this learner holds out
    for which in ("test", "valid"):
        conditions = compare_learner(learn, which).conditions
        assert conditions.training_pool is None and conditions.adaptation is None


def test_published_results_stand_beside_with_what_differs(toy_competition):
    learn = trained(toy_competition(replace=[PUBLISHED]), epochs=1)
    found = learn.compare()
    assert len(found.rows) > 80 and found.comparable == ()
    assert "trained on" in found.shared
    assert "meets no published result" in found.words
    table = found.table()
    assert len(table) == len(found.rows)
    assert {0.5668, 0.5921} <= set(table[table["year"] == 2012]["value"].round(4))
    text, page = str(found), found._repr_html_()
    for part in (
        f"{found.score}",
        "Every published result differs in: ",
        found.rows[0].published.method,
        "not comparable",
    ):
        assert part in text and part in page
    of_the_lesson = table[table["method"].str.contains("final notebook")]["differs"].iloc[0]  # in full
    assert "trained on: random-80-percent-of-all-images, not 1 of 2 folds of official-train (rule 3)" in of_the_lesson
    assert repr(found) == text and "<script" not in page


def test_where_nothing_was_published_that_is_said(learn):
    found = learn.compare()
    assert found.rows == () and found.claim is None
    assert "Nothing is known to have been published" in str(found)
    assert "Nothing is known to have been published" in found._repr_html_()


def test_images_of_ones_own_are_no_published_data_set_whatever_they_are_called(tmp_path):
    files = {f"{name}/{k}.png": coloured_png(name, k) for name in ("red", "blue") for k in range(8)}
    write_files(tmp_path / "own", files)
    data = kit.from_folder(tmp_path / "own", size=32, bs=4, name="flowers-102", say=quiet)
    learn = kit.Learner(data, "test_resnet", weights=None)
    learn.fit_one_cycle(1)
    assert learn.compare().rows == ()


def test_before_training_there_is_no_score_to_compare(toy):
    with pytest.raises(DataError, match="Nothing was trained yet") as caught:
        kit.Learner(kit.load(toy, size=32, say=quiet), "test_resnet", weights=None).compare()
    assert "\n" not in str(caught.value)


# Handing in.


def test_a_submission_has_the_answers_of_the_present_weights_and_no_fault(learn, tmp_path):
    path = learn.submission(tmp_path / "answers.csv")
    rows = {row["image_id"]: row for row in csv.DictReader(path.open())}
    predictions = learn.answers("test")
    assert set(rows) == set(predictions.image_ids)
    found = lint(path, learn.data.competition, data=learn.data.plan.samples.folder, predictions=predictions)
    assert [one for one in found if one.severity == "error"] == []


def test_images_without_a_test_list_cannot_be_handed_in(tmp_path):
    files = {f"{name}/{k}.png": coloured_png(name, k) for name in ("red", "blue") for k in range(8)}
    write_files(tmp_path / "own", files)
    learn = kit.Learner(kit.from_folder(tmp_path / "own", size=32, bs=4, say=quiet), "test_resnet", weights=None)
    with pytest.raises(SubmissionError, match="has no test images") as caught:
        learn.submission(tmp_path / "answers.csv")
    assert not (tmp_path / "answers.csv").exists() and "\n" not in str(caught.value)


@pytest.fixture
def hosted(toy_competition, tmp_path, monkeypatch):
    """The toy as a competition on a server of this machine, which the kit takes for Kaggle, and an account there."""
    slug = toy_competition(replace=[('metric = "accuracy"', 'metric = "accuracy"\nkaggle = "colours"')])
    set_clock(monkeypatch)
    competition = load_competition(slug)
    test = kit.load(slug, size=32, say=quiet).test
    rows = "".join(f"{row.image_id},{row.label}\n" for row in test.itertuples())
    write_files(tmp_path / "host", {"solution.csv": f"image_id,colour\n{rows}".encode(), "public/readme.txt": b"-"})
    hosted = HostedCompetition.create(
        tmp_path / "host" / "hosted",
        competition,
        solution=tmp_path / "host" / "solution.csv",
        data=tmp_path / "host" / "public",
        public_share=0.5,
        ladder=False,
        say=quiet,
    )
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("KAGGLE_USERNAME", "ann")
    monkeypatch.setenv("KAGGLE_KEY", hosted.add_user("ann"))
    with serve(hosted) as server:
        monkeypatch.setenv("KIT_KAGGLE_URL", server.url)
        yield hosted


def test_a_learner_is_checked_then_submitted_and_the_same_answers_not_twice(hosted):
    learn = trained("toy")
    checked = learn.submit("a try", check_only=True)
    assert not checked.sent and hosted.store.submissions(hosted.store.users()[0]) == []
    done = learn.submit("a try", wait=True)
    (there,) = hosted.store.submissions(hosted.store.users()[0])
    assert done.sent and done.submission.status == "complete"
    assert there.description.endswith("a try") and there.num_bytes == done.submission.num_bytes
    truth = dict(zip(learn.data.test["image_id"], learn.data.test["label"], strict=True))
    right = np.mean([truth[one] == learn.data.classes[row.argmax()] for one, row in answers_of(learn)])
    assert 0 <= float(done.submission.public) <= 1 and (right < 1 or float(done.submission.public) == 1)
    with pytest.raises(SubmissionError, match="very same file") as caught:
        learn.submit("again")
    assert "again=True" in str(caught.value) and "--again" not in str(caught.value)
    assert len(hosted.store.submissions(hosted.store.users()[0])) == 1


def answers_of(learn):
    found = learn.answers("test")
    return zip(found.image_ids, found.probabilities, strict=True)


def test_the_truth_of_test_images_is_looked_at_by_compare_alone(learn, own_home):
    answers = learn.answers("test")
    assert set(answers.labels) == {""} and len(answers.image_ids) == len(learn.data.test)
    assert (learn.get_preds("test")[1] == -1).all()
    assert (learn.tta("test", views="mirror")[1] == -1).all()
    assert read_chain().looks == ()
    assert (learn.get_preds("valid")[1] >= 0).all()


def test_only_the_two_lists_can_be_compared(learn):
    with pytest.raises(ConfigError, match=r"learn\.compare\('train'\): give 'test', 'valid', or nothing"):
        learn.compare("train")
