"""The end of a sweep: the winner is compared with the untuned recipe, and recipe, result and page are written.

| file in the study's folder | is |
| --- | --- |
| `winner.toml` | the winner's recipe, for `kit run --recipe` |
| `study-result.json` | the result: all that the page shows |
| `page.html` | the page |
| `finals/` | both recipes of the final comparison, whose runs stand in KIT_HOME's runs |
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kit.home import write_json, write_text
from kit.progress import Say
from kit.tune.finals import final_comparison
from kit.tune.page import study_page
from kit.tune.recipe_file import recipe_toml
from kit.tune.result import StudyResult, study_result, winner_recipe
from kit.tune.study import StudyPlace, settings_of

if TYPE_CHECKING:
    from optuna import Study


def conclude(
    place: StudyPlace,
    study: "Study",
    *,
    metric: str,
    compare: bool = True,
    num_folds_used: int | None = None,
    mirror: str | None = None,
    despite_findings: bool = False,
    say: Say = print,
) -> StudyResult:
    """Compare the winner with the untuned recipe, write recipe, result and page, and return the result.

    Recipe and page are there before the comparison, and again after it; the same call goes on where it was ended.

    Args:
        place: of the study, whose folder gets the files.
        study: with its trials.
        metric: the protocol's.
        compare: train the two again; else the page says that it is not known whether tuning helped.
        num_folds_used: of the comparison; default: as many as in a trial.
        mirror: folder or URL that serves the files.
        despite_findings: train in spite of what the quality check found.
        say: takes lines of progress.

    Raises:
        TrainingError: no trial came to its end within the limits.
        StoppedError: a signal asked for the end; what is done is kept.
    """
    settings = settings_of(study)
    trials = study.get_trials(deepcopy=False)
    tuned = winner_recipe(settings, trials)
    result = study_result(place, settings, study, metric=metric, comparison=None)
    write_result(place, result)
    if compare:
        comparison = final_comparison(
            place,
            settings,
            tuned,
            metric=metric,
            num_folds_used=num_folds_used,
            mirror=mirror,
            despite_findings=despite_findings,
            say=say,
        )
        say(comparison.verdict)
        result = study_result(place, settings, study, metric=metric, comparison=comparison)
        write_result(place, result)
    return result


def write_result(place: StudyPlace, result: StudyResult) -> tuple[Path, Path, Path]:
    """Write the winner's recipe, the result and its page into the study's folder, and return the three paths."""
    winner, about, page = (place.folder / name for name in ("winner.toml", "study-result.json", "page.html"))
    command = run_command(result, winner)
    told = result.comparison.verdict if result.comparison else "It was not compared with the untuned recipe."
    comments = (
        f"The best of {len(result.trials)} trials of the study {result.name}: trial {result.winner}.",
        told,
        command,
    )
    lines = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    write_text(winner, f"{lines}\n{recipe_toml(result.recipe)}")
    write_json(about, result.as_dict())
    write_text(page, study_page(result, command=command))
    return winner, about, page


def run_command(result: StudyResult, winner: Path) -> str:
    """Return the shell command that trains the winner as any run, and scores it on the test images if there are any."""
    labels = ["--labels", result.labels] if result.labels else []
    data = ["--protocol", result.protocol, "--source", result.source, *labels]
    return shlex.join(["kit", "run", result.slug, *data, "--recipe", str(winner)])
