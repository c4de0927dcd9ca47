"""The site of the docs: built without a warning, loads nothing from elsewhere, and fits a telephone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built from the pages as they are."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site") / "html"
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", str(ROOT / "docs"), str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_without_a_warning(built):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert all((built / page).is_file() for page in pages if "_build" not in page.parts)


def test_the_public_face_is_in_the_api_pages(built):
    text = "".join(path.read_text(encoding="utf-8") for path in (built / "api").glob("*.html"))
    names = (
        "load",
        "from_folder",
        "from_name_re",
        "from_name_func",
        "from_csv",
        "from_lists",
        "Data",
        "Learner",
        "run_own",
        "OwnRun",
    )
    assert [name for name in names if f'id="kit.{name}"' not in text] == []
    assert 'id="kit.data.render.spectrogram"' in text


def test_a_page_loads_nothing_from_elsewhere(built):
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]*rel=\"(?:stylesheet|preload|icon)\"[^>]*href=\"([^\"]+)\"", text)
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], path


def test_nothing_of_the_machine_that_built_it_is_on_a_page(built):
    assert [path for path in built.rglob("*.html") if str(ROOT) in path.read_text(encoding="utf-8")] == []


def test_an_example_in_a_docstring_is_a_block_of_code(built):
    text = (built / "api" / "learner.html").read_text(encoding="utf-8")
    assert '<div class="highlight-python notranslate">' in text and "`python" not in text


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_browser_no_page_and_no_command_is_wider_than_its_place(built):
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    said, wide = [], []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for file in sorted(built.rglob("*.html")):
            page.goto(file.as_uri())
            for width in (1280, 420):
                page.set_viewport_size({"width": width, "height": 800})
                if page.evaluate("document.documentElement.scrollWidth") > width or page.evaluate(
                    "[...document.querySelectorAll('.highlight-sh pre')].some(e => e.scrollWidth > e.clientWidth)"
                ):
                    wide.append((file.name, width))
        chromium.close()
    assert (said, wide) == ([], [])
