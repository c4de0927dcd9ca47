"""Every test: no network, no account, one thread, and a KIT_HOME of its own."""

import gc
import os
import shutil
import sys

# Before the first import of torch, timm or albumentations, which read them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from packs import await_reading_ahead
from scrape_site import Site, collector
from toys import make_toy_competition

if TYPE_CHECKING:
    import pandas as pd

    from kit.store.pack import Pack

# The same examples on every run: a failure is a fact about the commit. No deadline: machines differ.
settings.register_profile(
    "kit",
    deadline=None,
    derandomize=True,
    max_examples=25,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("kit")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test an empty KIT_HOME and user folder, and none of the user's settings."""
    for name in os.environ:
        if name.startswith("KAGGLE_") or name in (
            "KIT_MIRROR",
            "KIT_WEIGHTS",
            "KIT_COMPETITIONS",
            "KIT_WORKERS",
            "KIT_MEMORY",
            "KIT_KAGGLE_URL",
        ):
            monkeypatch.delenv(name)
    home = tmp_path / "kit-home"
    monkeypatch.setenv("KIT_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "user" / "kaggle"))
    monkeypatch.setattr("kit.progress.QUIET_SECONDS", 3600.0)  # what is said must not depend on how busy a machine is
    return home


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command as a shell would; return (exit code, stdout, stderr)."""
    from kit.cli.main import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["kit", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def refused(kit: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    """Call the command, check that it ends as a user's mistake does, and return its one paragraph."""

    def call(*arguments: object) -> str:
        code, _, err = kit(*arguments)
        assert code == 2, err
        assert "Traceback" not in err
        message = err[err.index("kit: ") :]
        assert message.count("\n") == 1, message  # one paragraph, at the end
        return message.removeprefix("kit: ").strip()

    return call


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder with real images (`data/`) and weights (`weights/`), for tests marked `real`."""
    chosen = os.environ.get("KIT_TEST_DATA")
    if not chosen:
        pytest.skip("KIT_TEST_DATA names no folder with real images")
    folder = Path(chosen)
    if not (folder / "data").is_dir():
        pytest.skip(f"KIT_TEST_DATA is {chosen}, which has no folder data/")
    return folder


@pytest.fixture
def toy_competition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a maker of toy competitions (see `toys.make_toy_competition`) that gives the slug."""

    def make(**options: object) -> str:
        folder = make_toy_competition(tmp_path, **options)  # type: ignore[arg-type]
        monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
        monkeypatch.setenv("KIT_MIRROR", str(tmp_path / "mirror"))
        return folder.name

    return make


@pytest.fixture(scope="session")
def trained_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the toy competition, its mirror and, in home/, one finished run of it: trained once."""
    from kit.run import run

    root = tmp_path_factory.mktemp("trained")
    make_toy_competition(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(root / "home"))
        patch.setenv("KIT_COMPETITIONS", str(root / "competitions"))
        patch.setenv("KIT_MIRROR", str(root / "mirror"))
        run("toy", say=lambda line: None)
    return root


@pytest.fixture(scope="module")
def toy(trained_root: Path) -> "tuple[pd.DataFrame, pd.DataFrame, Pack]":
    """Return the toy's training rows (18), its test rows (6) and its pack."""
    from kit.plan import plan_run
    from kit.store.pack import pack_images

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(trained_root / "home"))
        patch.setenv("KIT_COMPETITIONS", str(trained_root / "competitions"))
        samples = plan_run("toy", say=lambda line: None).samples
        pack = pack_images(samples, store_size=32, say=lambda line: None)
    return samples.train, samples.test, pack


@pytest.fixture
def finished_toy(trained_root: Path, tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the slug of the toy, finished in the test's own KIT_HOME: hard links, which the kit never writes into."""
    for name in ("competitions", "mirror"):
        shutil.copytree(trained_root / name, tmp_path / name, copy_function=os.link)
    # A ledger is appended to: of that each test has a copy of its own.
    shutil.copytree(
        trained_root / "home", own_home, copy_function=lambda a, b: (shutil.copy2 if "ledger" in a else os.link)(a, b)
    )
    monkeypatch.setenv("KIT_COMPETITIONS", str(tmp_path / "competitions"))
    monkeypatch.setenv("KIT_MIRROR", str(tmp_path / "mirror"))
    return "toy"


@pytest.fixture
def site() -> Iterator[Site]:
    """Give a web site on loopback for a scrape."""
    site = Site()
    yield site
    site.close()


@pytest.fixture
def collect(tmp_path: Path, site: Site) -> Callable[..., object]:
    """Return the function that collects from `site` (see `scrape_site.collector`)."""
    return collector(tmp_path, site)


@pytest.fixture(scope="module")
def no_open_connections() -> Iterator[None]:
    """Collect them at the end of the module, where the warning about them is awaited; see `hosting`."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def packs_are_read() -> Iterator[None]:
    """Let no thread that reads a pack ahead outlive its test: others count threads and open files."""
    yield
    await_reading_ahead()


FORKING = ("test_distributed.py", "test_train_memory.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that fork trainings: PyTorch cannot, once tensors without memory have been traced here."""
    items.sort(key=lambda item: item.path.name not in FORKING)
