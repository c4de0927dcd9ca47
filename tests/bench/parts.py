"""A long measurement in parts: each is done once and kept as JSON, so that an interrupted bench goes on."""

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kit.home import write_json
from kit.train.models import device_name

BEGUN = time.perf_counter()


def say(line: str) -> None:
    """Print progress, with the minutes since the start, to stderr."""
    print(f"[{(time.perf_counter() - BEGUN) / 60:5.1f} min] {line}", file=sys.stderr, flush=True)


class Parts:
    """The parts of one measurement, in a folder."""

    def __init__(self, folder: Path, *, settings: Mapping[str, Any]) -> None:
        """Take what the numbers depend on: a part that was made with other settings is made again."""
        self.folder, self.settings = folder, json.loads(json.dumps(settings))

    def get(self, name: str, work: Callable[[], Any]) -> Any:
        """Return part `name`, as plain values: from the folder, or done now."""
        path = self.folder / f"{name}.json"
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["settings"] == self.settings:
                say(f"{name}: was done before")
                return kept["found"]
        say(f"{name} ...")
        begun = time.perf_counter()
        write_json(path, {"settings": self.settings, "found": work()})
        say(f"{name}: {(time.perf_counter() - begun) / 60:.1f} min")
        return json.loads(path.read_text(encoding="utf-8"))["found"]


def hardware(device: str = "cpu") -> str:
    """Return one line on what was measured on."""
    name = device_name(device) + (f", {device_name('cpu')}" if device.startswith("cuda") else "")
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, torch {version('torch')}, "
        f"timm {version('timm')}"
    )


def data_folder() -> Path:
    """Return the folder with real images (data/) and weights (weights/)."""
    if not (chosen := os.environ.get("KIT_TEST_DATA")):
        sys.exit("KIT_TEST_DATA names no folder with data/ and weights/")
    return Path(chosen)
