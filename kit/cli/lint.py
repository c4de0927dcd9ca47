"""The command that looks at a submission file before it is sent: lint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli import complete
from kit.cli.stages import ProtocolId, Slug, SourceName
from kit.cli.terminal import print_json, say

if TYPE_CHECKING:
    from kit.kaggle.lint_codes import Finding


def lint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The CSV that is to be handed in.")],
    slug: Slug,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Its predictions are compared with the file, by id.",
            autocompletion=complete.runs,
        ),
    ] = None,
    protocol: ProtocolId = None,
    source: SourceName = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: file, num_errors, findings.")] = False,
) -> None:
    """Look for faults in a submission file; exit code 2 if it has errors."""
    from kit.board.records import find_record
    from kit.competition import load_competition
    from kit.errors import SubmissionError
    from kit.files.fetch import fetch, is_here
    from kit.kaggle.lint import lint as findings_of
    from kit.kaggle.submit import stored_predictions

    competition = load_competition(slug)
    record = find_record(run) if run else None
    if record is not None and record.competition != competition.slug:
        raise SubmissionError(f"{record.run_id} is a run of {record.competition}, not of {slug}. Give a run of {slug}.")
    chosen = competition.protocol(protocol or (record.protocol.partition("@")[0] if record else None))
    name = competition.source_name(source or (record.source if record else None))
    found = findings_of(
        file,
        competition,
        data=fetch(competition, source=name, say=say) if is_here(competition, name) else None,  # asks no network
        sample=chosen.sample,
        predictions=stored_predictions(competition, record, "test"),
        out_of_fold=stored_predictions(competition, record, "out-of-fold"),
    )
    num_errors = sum(one.severity == "error" for one in found)
    if as_json:
        print_json({"file": file, "num_errors": num_errors, "findings": [one.as_dict() for one in found]})
    else:
        _show(found)
        words = f"{num_errors} error{'' if num_errors == 1 else 's'}"
        print(f"{file}: {words if num_errors else 'no errors'}")
    if num_errors:
        raise typer.Exit(2)


def _show(found: "list[Finding]") -> None:
    for one in found:
        where = f" ({one.where})" if one.where else ""
        print(f"{one.code} {one.severity}: {one.name}{where}\n    {one.message}\n    {one.remedy}")


COMMANDS = (lint,)
