"""Commands that take models out of the kit and ask them: export, predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kit.cli import complete
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.export.answer import Answer
    from kit.export.folder import Export

DESCRIPTION = "kit.json"  # as in `kit.export.folder`, which needs PyTorch
VIEWS = ("single", "mirror", "lesson", "dihedral")


def export(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Finished runs, or the start of their ids.", autocompletion=complete.runs
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Empty, or not there yet.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Of each run; default: full, or else all fold models."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write each model as ONNX too (competition-kit[onnx]).")] = False,
) -> None:
    """Write the models of runs to a folder that needs neither images nor runs; their mean is what it answers."""
    from kit.board.records import find_record
    from kit.errors import ConfigError

    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already. Give a folder that is empty, or not there yet.")
    records = [find_record(run) for run in runs]
    say("loading the network ...")  # PyTorch first, which takes seconds
    from kit.export.write import export_runs

    written = export_runs(records, folder, model=model, onnx=onnx, say=say)
    print(f"exported  {folder}")
    print(f"models    {len(written.models)}, {len(written.classes)} classes, {written.image_size} px")


def predict(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Written by `kit export`.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATHS...", help="Images, or folders of them.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all probabilities to this CSV file.")
    ] = None,
    top: Annotated[int, typer.Option("--top", metavar="K", min=1, help="Show the K most probable classes.")] = 1,
    test_views: Annotated[
        str | None,
        typer.Option("--test-views", metavar="V", help=f"Of each image: {', '.join(VIEWS)}; default: the run's."),
    ] = None,
    device: Annotated[
        str,
        typer.Option("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps.", autocompletion=complete.devices),
    ] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: classes, answers.")] = False,
) -> None:
    """Say which classes images have, by an exported folder."""
    from kit.errors import ConfigError, DataError, did_you_mean

    if test_views is not None and test_views not in VIEWS:
        raise ConfigError(
            f"--test-views {test_views!r} is unknown.{did_you_mean(test_views, VIEWS)} Known are {', '.join(VIEWS)}."
        )
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no folder of this name. Give one that `kit export RUN FOLDER` has written."
        )
    if not (folder / DESCRIPTION).is_file():
        raise DataError(
            f"{folder} is not an exported folder: it has no {DESCRIPTION}. `kit export RUN FOLDER` makes one."
        )
    lost = [path for path in paths if not path.exists()]
    if len(lost) == len(paths):
        shown = " and ".join(repr(str(path)) for path in lost[:3])
        raise DataError(f"{shown}: there is no such file or folder. Give images, or folders of them.")
    say("loading the network ...")  # PyTorch first, which takes seconds
    from kit.export.answer import answer, image_files, open_export
    from kit.train.model import choose_device

    answering = open_export(folder, device=choose_device(device))
    files = image_files(paths)
    views: Any = test_views
    answers = []
    for one in answer(answering, files, test_views=views):
        answers.append(one)
        if not as_json:
            print(_line(one, answering.export, top=top), flush=True)
    if as_json:
        print_json({"classes": answering.export.classes, "answers": answers})
    if out is not None:
        _write_csv(out, answers, answering.export)
        say(f"{len(answers):,} row{'' if len(answers) == 1 else 's'} in {out}")
    problems = [one.problem for one in answers if one.problem]
    if 0 < len(problems) < len(answers):
        say(f"{len(problems):,} of {len(answers):,} not read")
    if len(problems) == len(answers):
        first = f"The first: {problems[0]}" if problems else "There are none."
        raise DataError(
            f"None of {len(files):,} file{'' if len(files) == 1 else 's'} could be read as an image. {first}"
        )


def _line(one: "Answer", export: "Export", *, top: int) -> str:
    if one.probabilities is None:
        return f"{one.path}  not read: {one.problem}"
    best = one.probabilities.argsort(kind="stable")[::-1][:top]
    return "  ".join([one.path, *(f"{export.classes[k]} {one.probabilities[k]:.4f}" for k in best)])


def _write_csv(path: Path, answers: "list[Answer]", export: "Export") -> None:
    """Write path, label, problem, probability_<class>...; nine digits restore a float32."""
    import csv

    from kit.export.answer import label_of
    from kit.home import writing
    from kit.judge.predict import PREFIX

    with writing(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["path", "label", "problem", *(PREFIX + name for name in export.classes)])
        for one in answers:
            if one.probabilities is None:
                rows.writerow([one.path, "", one.problem, *("" for _ in export.classes)])
            else:
                numbers = [f"{value:.9g}" for value in one.probabilities]
                rows.writerow([one.path, label_of(one.probabilities, export), "", *numbers])


COMMANDS = (export, predict)
