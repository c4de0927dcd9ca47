"""The command that trains with a run's own answers to the test images: pseudo."""

from typing import Annotated

import typer

from kit.cli import complete
from kit.cli.stages import Despite, Labels, Memory, Mirror, Parallel, RecipeName, Set, Slug
from kit.cli.terminal import say


def pseudo(
    slug: Slug,
    run: Annotated[
        str,
        typer.Option(
            "--run", metavar="RUN", help="The teacher: id of a finished run with folds.", autocompletion=complete.runs
        ),
    ],
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="P", help="Probability from which an answer becomes a label.")
    ] = 0.95,
    weight: Annotated[
        float, typer.Option("--weight", metavar="W", help="How much such an image counts; a training image counts 1.")
    ] = 1.0,
    recipe: RecipeName = None,
    set_: Set = None,
    mirror: Mirror = None,
    labels: Labels = None,
    parallel: Parallel = 1,
    memory: Memory = None,
    despite_findings: Despite = False,
) -> None:
    """Train a student on test images that a run is sure of, fold by fold; keep it only if it gains out of fold."""
    from kit.board.records import run_folder
    from kit.cli.show import show_run
    from kit.fit.limits import parse_memory
    from kit.judge.paired import interval_text, measured
    from kit.pseudo.student import teach

    lesson = teach(
        slug,
        run,
        threshold=threshold,
        weight=weight,
        recipe=recipe,
        overrides=tuple(set_ or ()),
        mirror=mirror,
        labels=labels,
        memory=None if memory is None else parse_memory(memory),
        despite_findings=despite_findings,
        parallel=parallel,
        say=say,
    )
    show_run(lesson.student)
    about, gain = lesson.labels.about, lesson.gain
    print(f"\npseudo-labels  version {about['version']}, of {about['num_test']:,} test images at {threshold:g}")
    for name, number in about["num_labelled"].items():
        print(f"  {name:8} learns from {number:,} of them, labelled by {name} of the teacher")
    print(f"teacher        {gain.metric} {gain.first[0]:.5f} out of fold, {lesson.teacher.run_id}")
    print(f"student        {gain.metric} {gain.second[0]:.5f} out of fold, {lesson.student.run_id}")
    print(
        f"gain           {measured(gain.mean, gain.metric)} "
        f"{interval_text(gain.low, gain.high, metric=gain.metric)}, {gain.interval}"
    )
    print(lesson.verdict)
    submission = run_folder(lesson.chosen.run_id) / "submission.csv"
    if submission.is_file():
        print(f"submission     {submission}")


COMMANDS = (pseudo,)
