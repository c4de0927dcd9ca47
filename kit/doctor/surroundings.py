"""What the machine can reach: weights, competitions, a mirror, Kaggle's credentials, MLflow's store. All stays here."""

import contextlib
import os
import socket
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kit.competition import competition_folders, read_competition
from kit.doctor.findings import Finding, Problem
from kit.errors import KitError
from kit.files.fetch import is_here
from kit.kaggle.credentials import credentials_place, readable_by_others, server_name
from kit.tracking import store_uri
from kit.train.weights import PACKAGED, SUFFIXES
from kit.tune.study import without_password

SHOWN = 8  # names in a line
ANSWER_SECONDS = 3.0
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306}


def look_at_weights() -> Finding:
    """Return the names of the pretrained weights that are on this machine, by where they lie."""
    problems = []
    found = {"KIT_WEIGHTS": [], "package": _packaged(), "hub cache": _in_hub_cache()}
    if chosen := os.environ.get("KIT_WEIGHTS"):
        folder = Path(chosen).expanduser()
        found["KIT_WEIGHTS"] = _in_folder(folder)
        if not found["KIT_WEIGHTS"]:
            what = "is not a folder" if not folder.is_dir() else "holds no weights"
            problems.append(
                Problem(
                    what=f"KIT_WEIGHTS={chosen} {what}.",
                    remedy="Put NAME.safetensors or NAME/model.safetensors there, NAME as timm has it, or unset it.",
                )
            )
    if not any(found.values()):
        problems.append(
            Problem(
                what="No pretrained weights are on this machine.",
                remedy="With internet they are fetched from huggingface.co. Without: set KIT_WEIGHTS to a folder with "
                "NAME.safetensors, or pip install 'competition-kit[weights]', or train with --set model.weights=none.",
            )
        )
    words = "; ".join(f"{place}: {_some(names)}" for place, names in found.items() if names)
    return Finding(topic="weights", words=words or "none here", facts=found, problems=tuple(problems))


def look_at_competitions() -> Finding:
    """Return how many competitions are known, and of which the files are here."""
    here, faults = [], []
    folders = competition_folders()
    for name, folder in folders.items():
        try:
            found = read_competition(folder)
            here += [name] if any(is_here(found, source) for source in found.sources) else []
        except KitError as error:
            faults.append(str(error))
    problems = tuple(
        Problem(what=fault, remedy="Mend that file; the other competitions work meanwhile.") for fault in faults
    )
    words = f"{len(folders)} known; files here: {_some(here) or 'of none'}"
    return Finding(topic="competitions", words=words, facts={"known": list(folders), "here": here}, problems=problems)


def look_at_mirror(mirror: str | None = None) -> Finding:
    """Return whether the folder or server that KIT_MIRROR names can be reached."""
    mirror = mirror or os.environ.get("KIT_MIRROR")
    if not mirror:
        return Finding(topic="mirror", words="none (KIT_MIRROR is not set)", facts={"mirror": None, "reachable": None})
    shown = without_password(mirror) if "@" in mirror else mirror
    reachable = _answers(mirror) if "://" in mirror else Path(mirror).expanduser().is_dir()
    problem = Problem(
        what=f"The mirror {shown} {'does not answer' if '://' in mirror else 'is not a folder'}.",
        remedy="Correct KIT_MIRROR, or unset it: then files come from their publishers.",
        stops=True,
    )
    return Finding(
        topic="mirror",
        words=f"{shown}, {'reachable' if reachable else 'NOT reachable'}",
        facts={"mirror": shown, "reachable": reachable},
        problems=() if reachable else (problem,),
    )


def look_at_credentials() -> Finding:
    """Return whether there are credentials for Kaggle, and where; they are neither shown nor sent."""
    try:
        place, server = credentials_place(), server_name()
    except KitError as error:
        problem = Problem(what=str(error), remedy="Kaggle's commands fail until then; all others work.")
        return Finding(topic="kaggle", words="not known", facts={"place": None, "server": None}, problems=(problem,))
    if place is None:
        words = f"no credentials for {server}: competitions with open data work without"
        return Finding(topic="kaggle", words=words, facts={"place": None, "server": server})
    open_to_all = readable_by_others(place)
    problem = Problem(what=f"Other users of this machine can read {place}.", remedy=f"`chmod 600 {place}`.")
    return Finding(
        topic="kaggle",
        words=f"credentials for {server} in {place}; `kit kaggle login-check` tries them",
        facts={"place": place, "server": server, "readable_by_others": open_to_all},
        problems=(problem,) if open_to_all else (),
    )


def look_at_tracking() -> Finding:
    """Return whether MLflow's store can be reached, and the revision of its tables."""
    uri = store_uri()
    shown = without_password(uri) if "@" in uri else uri
    try:
        package = version("mlflow")
    except PackageNotFoundError:
        package = "not installed"
    facts: dict[str, Any] = {"uri": shown, "mlflow": package, "reachable": None, "tables": None}
    if not uri.startswith("sqlite:///"):
        reachable = Path(uri.removeprefix("file://")).is_dir() if uri.startswith(("file:", "/")) else _answers(uri)
        problem = _no_store(f"The MLflow store {shown} does not answer.")
        words = f"{shown}, {'reachable' if reachable else 'NOT reachable'}, MLflow {package}"
        problems = () if reachable else (problem,)
        return Finding(topic="tracking", words=words, facts={**facts, "reachable": reachable}, problems=problems)
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.exists():
        return Finding(topic="tracking", words=f"{path} (not there yet), MLflow {package}", facts=facts)
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as store:
            (tables,) = store.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.Error, TypeError, ValueError) as error:
        problem = _no_store(f"The MLflow store {path} cannot be read ({error or 'it has no version'}).")
        facts["reachable"] = False
        return Finding(topic="tracking", words=f"{path}, NOT readable", facts=facts, problems=(problem,))
    facts.update(reachable=True, tables=tables)
    return Finding(topic="tracking", words=f"{path}, tables {tables}, MLflow {package}", facts=facts)


def _no_store(what: str) -> Problem:
    return Problem(
        what=what,
        remedy="Runs go on without it, as their own files come first. Correct KIT_TRACKING_URI, or move the file away: "
        "`kit track RUN` shows runs to a new one.",
    )


def _in_folder(folder: Path) -> list[str]:
    if folder.is_file():
        return [folder.name]
    files = {path.name.partition(".")[0] for path in folder.glob("*") if path.suffix in SUFFIXES and path.is_file()}
    return sorted({*files, *(path.parent.name for path in folder.glob("*/model.safetensors"))})


def _packaged() -> list[str]:
    return [name for name, package in PACKAGED.items() if find_spec(package) is not None]


def _in_hub_cache() -> list[str]:
    from huggingface_hub.constants import HF_HUB_CACHE

    files = Path(HF_HUB_CACHE).glob("models--timm--*/snapshots/*/model.safetensors")
    return sorted({path.parents[2].name.removeprefix("models--timm--") for path in files})


def _some(names: list[str]) -> str:
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _answers(address: str) -> bool:
    """Tell whether somebody listens there; a connection is opened and closed, nothing is said."""
    with contextlib.suppress(OSError, ValueError):
        parts = urlsplit(address)
        port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
        if parts.hostname and port:
            with socket.create_connection((parts.hostname, port), timeout=ANSWER_SECONDS):
                return True
    return False
