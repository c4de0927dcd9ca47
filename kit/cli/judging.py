"""What `kit judge` does besides the stage: a finished run by its id, and predictions made elsewhere."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kit.board.terms import results_of
from kit.cli.show import compared_object, show_beside, show_scores
from kit.cli.terminal import print_json
from kit.progress import Say

if TYPE_CHECKING:
    from kit.board.records import RunRecord
    from kit.outside import OutsideJudgement, Stated
    from kit.store.store import Pack


def judge_finished(run: str, settings: Mapping[str, Any], *, as_json: bool = False, say: Say = print) -> None:
    """Print the scores of a finished run and what they may be compared with, and write its page.

    Args:
        run: its id, or the start of it.
        settings: options of a plan, of which none may be given: the run has its own.
        as_json: print one JSON object instead.
        say: takes lines of progress and warnings.

    Raises:
        DataError: there is neither a competition nor a run of that name.
        ConfigError: an option was given.
    """
    from kit.board.records import find_record
    from kit.competition import load_competition
    from kit.errors import CompetitionError, ConfigError, DataError

    try:
        load_competition(run)
    except CompetitionError as error:
        no_competition = str(error)
    try:
        record = find_record(run)
    except DataError as error:
        raise DataError(f"{no_competition} And of runs: {error}") from error
    if given := [name for name, value in settings.items() if value]:
        raise ConfigError(
            f"{record.run_id} is a finished run, and has its settings already: leave out "
            f"{', '.join('--' + name.strip('_').replace('_', '-') for name in given)}, or name a competition."
        )
    show_judged(record, with_comparison=True, as_json=as_json, say=say)


def show_judged(
    record: "RunRecord",
    *,
    pack: "Pack | None" = None,
    with_comparison: bool = False,
    as_json: bool = False,
    say: Say = print,
) -> None:
    """Print a run's scores, write its page with its pictures, print where it is, and show both to MLflow.

    Args:
        record: of a finished run.
        pack: its images; None: from the data folder.
        with_comparison: print the published results beside it, too.
        as_json: print one JSON object instead, which always has them.
        say: takes lines of progress and warnings.
    """
    from kit.board.compare import load_published
    from kit.cli.show import compared_rows, show_comparison, show_run

    if not as_json:
        show_run(record)
        if with_comparison:
            show_comparison(record, load_published(record.baselines))
        print(f"\nreport  {_report_of(record, pack=pack, say=say)}")
        return
    path = _report_of(record, pack=pack, say=say)
    published = load_published(record.baselines)
    content = record.as_dict()
    results = content.pop("results")
    compared = [row for result in results_of(record) for row in compared_rows(record, result, published)]
    print_json({"run": content, "file": None, "results": results, "compared": compared, "claim": None, "report": path})


def _report_of(record: "RunRecord", *, pack: "Pack | None", say: Say) -> Path:
    """Write a run's page with its pictures and show both to MLflow."""
    say("loading the network ...")  # libraries first, which takes seconds
    from kit.board.report import write_report
    from kit.interpret.report import report_sections
    from kit.run import track_run

    say("looking at the answers and the network ...")
    path = write_report(record, sections=report_sections(record, pack=pack, say=say))
    track_run(record, say=say)
    return path


def refuse_without_file(stated: "Stated", *, metric: str | None) -> None:
    """Refuse what is said of predictions made elsewhere where there are none."""
    from kit.errors import ConfigError

    said = [one.name for one in fields(stated) if getattr(stated, one.name) not in (None, False)]
    if said or metric:
        raise ConfigError(
            f"{' and '.join(['metric', *said] if metric else said)} can be stated of predictions made elsewhere only: "
            "give them with --predictions FILE.csv. A run of ours knows its own."
        )


def judge_file(
    path: Path,
    settings: Mapping[str, Any],
    *,
    metric: str | None,
    stated: "Stated",
    as_json: bool = False,
    say: Say = print,
) -> None:
    """Score a file of predictions, print scores, conditions and comparison.

    Args:
        path: the CSV file.
        settings: options of a plan; those about training are refused.
        metric: to score by; None: the protocol's.
        stated: what is said of how they were made.
        as_json: print one JSON object instead.
        say: takes lines of progress and warnings.

    Raises:
        ConfigError: an option that is about training.
        DataError: there is no such file, see also `kit.outside.judge_outside`.
    """
    from kit.competition import load_competition
    from kit.errors import ConfigError, DataError

    taken = ("slug", "protocol", "source", "mirror", "labels", "seed")
    if other := [name for name, value in settings.items() if value and name not in taken]:
        raise ConfigError(
            f"--{other[0].strip('_').replace('_', '-')} is about training, and --predictions trains nothing. "
            "Leave it out."
        )
    competition = load_competition(settings["slug"])
    if not path.exists():
        raise DataError(f"{path}: there is no such file. Give the CSV of predictions that is to be judged.")
    from kit.outside import judge_outside  # behind the checks that cost nothing

    given = {name: settings[name] for name in taken if name not in ("slug", "seed")}
    seed = {} if settings["seed"] is None else {"seed": settings["seed"]}
    found = judge_outside(competition, path, stated=stated, metric=metric, say=say, **given, **seed)
    if not as_json:
        _show(found, path)
        return
    print_json(
        {
            "run": None,
            "file": {"path": path, "sha256": found.answers.digest, "data": found.samples.fingerprint},
            "results": [found.result],
            "compared": [compared_object(row, found.result.kind) for row in found.compared],
            "claim": found.claim,
            "report": None,
        }
    )


def _show(found: "OutsideJudgement", path: Path) -> None:
    from kit.cli.comparison import show_claim, show_conditions

    result = found.result
    print(f"{found.competition.title}: {path}")
    print(f"SHA-256 {found.answers.digest}; data {found.samples.fingerprint[:16]}")
    print(f"\n  {result.protocol} ({'test images' if result.kind == 'test' else 'training images, out of fold'})")
    show_scores(result)
    show_conditions(result.conditions)
    if found.test_use:
        print(f"\n{found.test_use[:1].upper()}{found.test_use[1:]}.")
    if found.claim is None:
        print(f"\nNo published results are known for {found.competition.baselines_id}.")
        return
    beside = [row for row in found.compared if row.agreement.comparable]
    print(f"\nPublished results beside it: {len(beside)} of {len(found.compared)}")
    for row in beside:
        show_beside(row, whose="these")
    show_claim(found.claim)
