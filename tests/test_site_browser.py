"""The pages in a real Chromium: they sort, filter, lead on, fit a telephone, load nothing, and axe finds no fault."""

import shutil
from dataclasses import replace

import pytest
from bench.site import made_up_record
from test_compare import result, score
from test_page import HOSTILE, NETWORK
from test_records import make_record
from test_report import SECTION, out_of_fold

from kit.board.records import run_folder, write_record
from kit.board.report import write_report
from kit.board.site import write_site
from kit.home import family, write_json, write_text

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
NUM_RUNS = 101
LONG = "a-network-of-a-rather-long-name-" * 6


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of a site with a large competition, a hostile one, a sweep and a report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KIT_HOME", str(tmp_path_factory.mktemp("home")))
        for number in range(NUM_RUNS):
            one = made_up_record("large", number)
            write_json(family("runs") / one["run_id"] / "record.json", one)
        hostile = replace(result(score(value=0.8)), confused=[(HOSTILE, LONG, 2)], protocol=HOSTILE)
        network = {**NETWORK, "name": LONG}
        words = make_record("hostile", competition="hostile", title=HOSTILE, network=network, results=[hostile])
        write_record(replace(words, complete=False, source=HOSTILE))
        one = make_record("reported", competition="small", title="Small", network=NETWORK, results=[result(score())])
        write_record(one)
        out_of_fold(run_folder("reported"))
        write_report(one, sections=[SECTION])
        write_text(family("studies") / "lr" / "page.html", "<!doctype html><title>Sweep</title><h1>Sweep</h1>")
        write_json(family("studies") / "lr" / "study-result.json", {"slug": "small", "name": "lr"})
        made = write_site(folders=[family("runs")], competitions={})
        assert made.left_out == ()
        return made.index.parent


@pytest.fixture
def opened(browser):
    """Open a file; give (page, messages, addresses that were asked for)."""
    contexts = []

    def call(file, *, width=1200, dark=False, script=True):
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
        )
        contexts.append(context)
        page = context.new_page()
        messages, requests = [], []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page, messages, requests

    yield call
    for context in contexts:
        context.close()


def pages_of(site):
    run = sorted((site / "large").glob("*.html"))[0]
    return [
        site / "index.html",
        site / "large.html",
        run,
        site / "hostile.html",
        site / "hostile" / "hostile.html",
        site / "small.html",
        site / "small" / "report-reported.html",
    ]


def first_column(page, table):
    return page.locator(table).first.locator("tbody tr:visible th").all_inner_texts()


def test_no_page_says_anything_to_the_console_or_asks_for_anything_but_its_own_files(site, opened):
    for file in pages_of(site):
        page, messages, requests = opened(file)
        assert messages == [], file
        assert all(url.startswith((site.as_uri(), "data:")) for url in requests), file
        pictures = page.evaluate("[...document.images].map(i => i.complete && i.naturalWidth > 0)")
        assert all(pictures), file
        assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"  # the style is there
        page.close()


def test_every_link_leads_to_a_page_that_is_there(site, opened):
    page, _, _ = opened(site / "index.html")
    page.get_by_role("link", name="Small", exact=True).click()
    assert page.locator("h1").inner_text() == "Small"
    page.get_by_role("link", name="lr", exact=True).click()
    assert page.title() == "Sweep"
    page.go_back()
    page.locator("#groups ~ section").get_by_role("link", name="reported").click()
    assert page.locator("h1").inner_text() == "reported"
    page.get_by_role("link", name="Report of this run").click()
    assert page.locator("h1").inner_text() == "Report: reported"
    page.go_back()
    page.get_by_role("navigation").get_by_role("link", name="Leaderboards").click()
    assert page.locator("h1").inner_text() == "Leaderboards"


def test_a_press_on_a_heading_sorts_one_way_then_the_other_with_unknown_values_last(site, opened):
    page, _, _ = opened(site / "large.html")
    table = page.locator("#groups ~ section table").first
    head = table.locator("thead th", has_text="Value")
    button = head.locator("button")
    button.focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(one) for one in table.locator("tbody tr:visible td:nth-child(3)").all_inner_texts()]
    assert values == sorted(values) and len(set(values)) > 10
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert table.locator("thead th[aria-sort]").count() == 1
    rank = table.locator("thead th", has_text="Rank").locator("button")
    for _ in range(2):
        rank.click()
        last = table.locator("tbody tr").last.locator("td").first.inner_text()
        assert last == "–"  # published rows that nobody has verified have no rank


def test_a_filter_leaves_the_rows_with_all_its_words_and_says_how_many(site, opened):
    page, _, _ = opened(site / "large.html")
    bar, table = page.locator(".filter").first, page.locator("#groups ~ section table").first
    count = table.locator("tbody tr").count()
    bar.get_by_label("Filter by words").fill("RESNET50 160")
    shown = table.locator("tbody tr:visible")
    assert 0 < shown.count() < count
    assert all("resnet50" in row for row in shown.all_inner_texts())
    assert bar.get_by_role("status").inner_text() == f"{shown.count()} of {count} rows"
    bar.get_by_label("Filter by words").fill("no such words")
    assert shown.count() == 0
    bar.get_by_label("Filter by words").fill("")
    bar.get_by_label("published only").check()
    assert shown.count() > 0
    assert table.locator("tbody tr.ours:visible").count() == 0


def test_a_long_table_shows_its_first_rows_and_all_of_them_on_a_press(site, opened):
    page, _, _ = opened(site / "large.html")
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    table = page.locator("table").filter(has=page.locator("tbody tr:nth-child(101)")).first
    region = table.locator("xpath=..")
    count = table.locator("tbody tr").count()
    assert count > 100
    assert table.locator("tbody tr:not([hidden])").count() == 100
    region.locator("xpath=following-sibling::button").click()
    assert table.locator("tbody tr:not([hidden])").count() == count


def test_without_javascript_every_row_is_there(site, opened):
    page, _, _ = opened(site / "large.html", script=False)
    table = page.locator("#groups ~ section table").first
    assert table.locator("tbody tr:visible").count() == table.locator("tbody tr").count() > 10
    assert page.locator(".filter, thead button").count() == 0


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_no_page_scrolls_sideways_its_wide_tables_do_by_themselves(site, opened, width):
    for file in pages_of(site):
        page, _, _ = opened(file, width=width)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file
        page.close()


def test_a_link_to_a_group_opens_it(site, opened):
    page, _, _ = opened(site / "large.html")
    group = page.locator("details.group").last
    key = group.locator("h3").get_attribute("id")
    assert group.get_attribute("open") is None
    page.evaluate("key => { location.hash = key }", key)
    group.locator("table").first.wait_for()
    assert group.get_attribute("open") is not None


def test_the_first_tab_leads_to_the_content(site, opened):
    page, _, _ = opened(site / "large.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"


def test_hostile_words_stay_words(site, opened):
    for file in (site / "hostile.html", site / "hostile" / "hostile.html"):
        page, messages, _ = opened(file)
        assert messages == []
        assert page.title() != "owned"
        assert page.locator("img").count() == 0
        assert "<script>document.title='owned'</script>" in page.locator("main").inner_text()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_axe_finds_no_fault(site, opened, dark, width):
    from axe_playwright_python.sync_playwright import Axe

    for file in pages_of(site):
        page, _, _ = opened(file, width=width, dark=dark)
        # A table of hundreds of rows has no other faults than one of ten.
        page.evaluate("document.querySelectorAll('tbody tr:nth-child(n + 6)').forEach(row => row.remove())")
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        found = Axe().run(page)
        assert found.violations_count == 0, f"{file.name}: {found.generate_report()}"
        page.close()
