"""The result of a sweep: a recipe that runs, a record that can be read, a page that is whole, honest and safe."""

import json
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from test_tune_finals import answers
from toys import TOY_RECIPE

from kit.competition import load_competition
from kit.config import Recipe, read_recipe, recipe_from_dict
from kit.errors import TrainingError
from kit.judge.paired import compare_pairs
from kit.plan import plan_run
from kit.tune.conclude import conclude, write_result
from kit.tune.finals import Comparison, verdict_of
from kit.tune.page import study_page
from kit.tune.plots import Point, plot
from kit.tune.result import front_of, importance_of, study_result, winner_recipe
from kit.tune.space import suggest
from kit.tune.study import Settings, StudyPlace, settings_of

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"
PLACE = StudyPlace(name="one")
SPACE = {
    "schedule.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    "schedule.batch_size": {"choices": [8, 16, 32]},
    "augment.strength": {"low": 0.0, "high": 2.0},
}


def quiet(line):
    pass


def settings(recipe=None, **changes):
    given = {"slug": "toy", "protocol": "official", "source": "local", "memory": 2**30}
    return Settings(recipe=(recipe or Recipe()).as_dict(), space=SPACE, **{**given, **changes})


def begun(chosen=None):
    """A study as `open_study` makes it, in memory: the journal writes each number through to the disk."""
    chosen = chosen or settings()
    study = optuna.create_study(directions=["minimize"] * len(chosen.objectives))
    study.set_user_attr("settings", asdict(chosen))
    return study


def drawn(number):
    return {
        "schedule.lr": 1e-4 * 1.5**number,
        "schedule.batch_size": (8, 16, 32)[number % 3],
        "augment.strength": 0.1 * number,
    }


def finish(study, error, *, minutes=1.0, gib=0.5, excess=-0.5, **attributes):
    """A trial that came to its end, drawn as the space says."""
    number = len(study.get_trials(deepcopy=False))
    study.enqueue_trial(drawn(number % 11))
    trial = study.ask()
    suggest(trial, settings_of(study).drawn_from)
    score = {"metric": "accuracy", "value": 1 - error, "low": 0.95 - error, "high": 1.0, "num_images": 9}
    for key, value in {
        **{"error": error, "minutes": minutes, "peak_bytes": int(gib * 2**30), "score": score},
        **{"began": 0.0, "ended": 60.0 * minutes},
        **attributes,
    }.items():
        trial.set_user_attr(key, value)
    trial.set_constraint("memory", excess)
    values = {"error": error, "minutes": minutes, "memory": gib}
    study.tell(trial, [values[name] for name in settings_of(study).objectives])
    return trial


def pruned(study, **attributes):
    trial = study.ask()
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    study.tell(trial, state=TrialState.PRUNED)


def swept(chosen=None):
    """A study of a dozen trials: the fourth is the best within the limits."""
    study = begun(chosen)
    for number, error in enumerate([0.30, 0.22, 0.25, 0.10, 0.18, 0.40, 0.35, 0.21, 0.15]):
        finish(study, error, minutes=1 + 0.1 * number, gib=0.3 + 0.05 * number)
    finish(study, 0.01, excess=0.2)
    pruned(study)
    pruned(study, infeasible="would take 1.30 x the limit")
    return study


def compared(first=0.7, second=0.9):
    ways = [
        [answers(accuracy, seed=10 * seed + way) for seed in range(3)] for way, accuracy in enumerate((first, second))
    ]
    difference = compare_pairs(*ways, metric="accuracy")
    return Comparison(
        verdict=verdict_of(difference),
        difference=difference,
        seeds=(2, 3, 4),
        fold_seed=2,
        num_folds_used=1,
        num_folds=5,
        fresh_folds=True,
    )


def result_of(study, chosen=None, comparison=None):
    return study_result(PLACE, chosen or settings(), study, metric="accuracy", comparison=comparison)


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_winner_is_the_lowest_error_within_the_limits_whatever_else_was_lower():
    study = swept()
    assert result_of(study).winner == 3
    assert winner_recipe(settings(), study.trials).schedule.batch_size == drawn(3)["schedule.batch_size"]


def test_the_winners_file_is_a_recipe_that_a_run_takes(toy_competition):
    slug = toy_competition(recipe=TOY_RECIPE)
    chosen = settings(load_competition(slug).recipe())
    study = swept(chosen)
    result = result_of(study, chosen, compared())
    path, _, _ = write_result(PLACE, result)
    assert read_recipe(path) == winner_recipe(chosen, study.trials)
    assert plan_run(slug, recipe=str(path), say=quiet).recipe == result.recipe
    assert "# Tuning helped by" in path.read_text(encoding="utf-8")


def test_a_recipe_with_transforms_and_odd_names_survives_the_way_through_its_file(tmp_path):
    transforms = [{"name": "CoarseDropout", "num_holes_range": [1, 3], "p": 0.5, "fill": 'a "b" \\ \x7f ü'}]
    recipe = recipe_from_dict({"name": 'x "y"', "augment": {"transforms": transforms, "mirror": False}})
    from kit.tune.recipe_file import recipe_toml

    path = tmp_path / "one.toml"
    path.write_text(recipe_toml(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


def test_the_result_is_plain_json_and_says_that_no_test_image_was_opened():
    _, about, _ = write_result(PLACE, result_of(swept(), comparison=compared()))
    found = json.loads(about.read_text(encoding="utf-8"))
    assert (found["winner"], found["test_opened"]) == (3, 0)
    assert found["comparison"]["difference"]["num_images"] == 400
    assert [row["ended"] for row in found["trials"]].count("done") == 9
    assert [row["ended"] for row in found["trials"]][-3:] == ["too much memory", "ended early", "too much memory"]
    assert found["changed"]["schedule.batch_size"] == [32, 8]
    assert found["recipe"]["name"] == "tuned"


def test_a_lost_trial_is_shown_once_under_its_new_number():
    study = swept()
    lost = study.ask()
    study.tell(lost, state=TrialState.FAIL)
    assert lost.number not in [row.number for row in result_of(study).trials]


def test_the_front_has_the_trials_that_no_other_betters():
    chosen = settings(objectives=("error", "minutes"))
    study = begun(chosen)
    for error, minutes in ((0.1, 5.0), (0.2, 3.0), (0.2, 4.0), (0.3, 1.0), (0.1, 5.0)):
        finish(study, error, minutes=minutes)
    finish(study, 0.05, minutes=0.5, excess=0.3)  # not within the limits
    assert [trial.number for trial in front_of(study.trials)] == [0, 1, 3, 4]


def test_the_key_that_decides_is_the_most_important_one():
    study = begun()
    for number in range(30):
        finish(study, 0.1 + 0.05 * (number % 11))  # by the rate and the strength, which are drawn together
    found = importance_of(study)
    assert sum(found.values()) == pytest.approx(1)
    assert found["schedule.lr"] > found["schedule.batch_size"]
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_nothing_is_called_important_after_a_handful_of_trials():
    study = begun()
    for error in (0.1, 0.2, 0.3):
        finish(study, error)
    assert importance_of(study) == {}


def test_a_sweep_without_a_trial_within_the_limits_has_no_winner():
    study = begun()
    finish(study, 0.1, excess=0.1)
    with pytest.raises(TrainingError, match="None of 1 trials came to its end within the limits"):
        result_of(study)


def test_the_page_says_what_was_shown_how_the_winner_was_chosen_and_how_to_run_it():
    html = study_page(result_of(swept(), comparison=compared()), command="kit run toy --recipe winner.toml")
    text = " ".join("".join(Tags(html).text).split())
    assert "Tuning helped by" in text
    assert "error out of fold, on 1 of 5 folds; test images were opened 0 times" in text
    assert "kit run toy --recipe winner.toml" in text
    assert "The winner: trial 3" in text
    assert "too much memory; would take 1.30 x the limit" in text
    assert "Error against cost" not in text  # one objective has no front


def test_a_draw_for_which_there_was_no_time_is_no_trial_that_failed():
    study = swept()
    late = study.ask()
    late.set_user_attr("not_started", True)
    late.set_user_attr("reason", "it would take 90 s, and 30 s are left")
    study.tell(late, state=TrialState.FAIL)
    html = study_page(result_of(study), command="")
    assert "12 trials in" in html and "; 1 more draws would not have ended in time" in html
    assert "not started; it would take 90 s, and 30 s are left" in html


def test_a_page_without_a_comparison_claims_nothing():
    html = study_page(result_of(swept()), command="")
    assert "whether tuning helped is not known" in html
    assert "The final comparison" not in html


def test_with_several_objectives_the_page_has_the_front_as_table_and_plots():
    chosen = settings(objectives=("error", "minutes", "memory"))
    html = study_page(result_of(swept(chosen), chosen), command="")
    labels = [attributes.get("aria-label") for tag, attributes in Tags(html).found if tag == "svg"]
    assert "Error against minutes" in labels and "Error against GiB" in labels


def test_other_peoples_words_do_nothing_on_the_page():
    chosen = settings(slug=HOSTILE)
    comparison = replace(compared(), verdict=HOSTILE)
    study = swept(chosen)
    pruned(study, diverged=HOSTILE)
    html = study_page(replace(result_of(study, chosen, comparison), name=HOSTILE, metric=HOSTILE), command=HOSTILE)
    tags = Tags(html)
    assert not [tag for tag, _ in tags.found if tag in ("script", "img")]
    assert not [attributes for _, attributes in tags.found if any(name.startswith("on") for name in attributes)]


def test_the_page_needs_nothing_from_outside():
    html = study_page(result_of(swept(), comparison=compared()), command="")
    tags = Tags(html).found
    assert not [tag for tag, attributes in tags if "src" in attributes or tag == "link"]
    assert "url(" not in html


@pytest.mark.parametrize("values", [(0.5,), (0.0, 0.0), (1e-9, 2e-9), (0.1, 0.9), (3.0, 4000.0)])
def test_a_plot_draws_any_values_inside_its_frame(values):
    points = [Point(x=k, y=value, label="", kind="plain") for k, value in enumerate(values)]
    circles = [attributes for tag, attributes in Tags(plot(points, x="x", y="y", title="t")).found if tag == "circle"]
    assert len(circles) == len(values)
    assert all(0 <= float(one["cx"]) <= 720 and 0 <= float(one["cy"]) <= 300 for one in circles)


def test_a_sweep_is_concluded_with_recipe_result_and_page_even_where_nothing_is_compared():
    study = swept()
    lines = []
    result = conclude(PLACE, study, metric="accuracy", compare=False, say=lines.append)
    assert result.comparison is None
    assert sorted(path.name for path in PLACE.folder.iterdir() if path.suffix in (".html", ".toml")) == [
        "page.html",
        "winner.toml",
    ]


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_draws_the_page_without_a_complaint_and_nothing_sticks_out(tmp_path, width):
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    chosen = settings(objectives=("error", "minutes"))
    html = study_page(result_of(swept(chosen), chosen, compared()), command="kit run toy --recipe " + "long" * 60)
    page = tmp_path / "page.html"
    page.write_text(html, encoding="utf-8")
    messages = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        opened = chromium.new_page(viewport={"width": width, "height": 800})
        opened.on("console", lambda message: messages.append(message.text))
        opened.on("pageerror", lambda error: messages.append(str(error)))
        opened.goto(page.as_uri())
        sticking_out = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        circles = opened.locator("circle").count()
        chromium.close()
    assert messages == []
    assert sticking_out <= 0
    assert circles >= 18
