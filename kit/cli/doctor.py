"""The command that looks at the machine: doctor."""

import textwrap
from typing import Annotated

import typer

from kit.cli.terminal import print_json, say, styled, width


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object: well, findings, problems.")] = False,
) -> None:
    """Look at device, memory, disk, weights, credentials, versions; time a step; say what is wrong and what to do.

    Exit code 2 if a run would fail. Credentials are neither shown nor sent.
    """
    from kit.doctor.examine import examine

    if not as_json:
        say("looking at this machine ...")
    found = []
    for one in examine():
        found.append(one)
        if not as_json:
            _print(f"{one.topic:13}", one.words)
    problems = [(one.topic, problem) for one in found for problem in one.problems]
    stops = any(problem.stops for _, problem in problems)
    if as_json:
        print_json(
            {
                "well": not stops,
                "findings": {one.topic: one.facts for one in found},
                "problems": [
                    {"topic": topic, "what": one.what, "remedy": one.remedy, "stops": one.stops}
                    for topic, one in problems
                ],
            }
        )
    else:
        print()
        for topic, problem in problems:
            mark = styled("STOPS RUNS  ", fg="red", bold=True) if problem.stops else styled("note        ", fg="yellow")
            _print(mark + " ", f"{topic}: {problem.what} {problem.remedy}", used=13)
        print("No problem was found." if not problems else "Runs will fail." if stops else "Runs can be made.")
    if stops:
        raise typer.Exit(2)


def _print(label: str, text: str, *, used: int = 13) -> None:
    """Print a label, and a text beside it."""
    lines = textwrap.wrap(text, width() - used, break_on_hyphens=False) or [""]
    print(label + f"\n{'':{used}}".join(lines), flush=True)


COMMANDS = (doctor,)
