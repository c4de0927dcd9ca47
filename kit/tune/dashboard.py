"""optuna-dashboard on one study, in a process of its own.

The study comes by the standard input: a database's address may hold a password, and command lines are public.
"""

import json
import sys

from kit.tune.study import StudyPlace


def serve(place: StudyPlace, *, port: int) -> None:
    """Serve the study's page on loopback until the process is ended."""
    from optuna_dashboard import run_server

    run_server(place.storage(), host="127.0.0.1", port=port)


if __name__ == "__main__":
    task = json.loads(sys.stdin.readline())
    serve(StudyPlace(name=task["name"], url=task["url"]), port=task["port"])
