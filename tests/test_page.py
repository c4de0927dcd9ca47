"""The board: ranked, honest about what is not comparable, and safe with other people's words."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_compare import OURS, published, result, row, score
from test_records import make_record

from kit.board.page import competition_page, write_board

CHROMIUM = Path("/usr/bin/chromium")
NETWORK = {
    "name": "resnet10t",
    "num_parameters": 5,
    "weights_origin": "none",
}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&"


def record(run_id, value, **changes):
    """A record with one result on the test list, in accuracy."""
    return make_record(run_id, results=[result(score(value=value))], network=NETWORK, **changes)


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def names_in_order(html):
    return re.findall(r'<th scope="row">([^<]+)<br>', html)


def test_ours_and_the_comparable_published_ones_are_ranked_together_best_first():
    rows = [row(method="Theirs, higher", value=0.95), row(id="b", method="Theirs, lower", value=0.70)]
    html = competition_page([record("worst", 0.60), record("best", 0.97)], published(*rows))
    assert names_in_order(html) == ["best", "Theirs, higher (2020)", "Theirs, lower (2020)", "worst"]
    assert '<td class="n">1</td><th scope="row">best' in html
    assert "accuracy, higher is better" in html


def test_of_errors_the_lowest_is_ranked_first():
    conditions = replace(OURS, metric="log_loss")
    records = [
        make_record(name, network=NETWORK, results=[result(score("log_loss", value), conditions=conditions)])
        for name, value in (("high", 0.9), ("low", 0.1))
    ]
    html = competition_page(records, None)
    assert names_in_order(html) == ["low", "high"]
    assert "log_loss, lower is better" in html


def test_results_of_other_conditions_stand_in_other_tables():
    other = make_record("other", network=NETWORK, results=[result(conditions=replace(OURS, inference="ensemble"))])
    html = competition_page([record("one", 0.9), other], None)
    assert html.count("<table>") == 2


def test_a_published_row_that_is_not_comparable_is_listed_with_the_field_and_not_ranked():
    html = competition_page([record("one", 0.9)], published(row(method="From nothing", pretraining_group="none")))
    assert names_in_order(html) == ["one"]
    assert "Not comparable: 1 published, with the fields that differ" in html
    assert "<strong>pretraining_group: ours imagenet-1k, theirs none</strong>" in html
    assert "<li>From nothing (2020): accuracy 0.9000</li>" in html


def test_a_row_in_another_metric_is_set_beside_our_score_in_that_metric():
    ours = make_record("one", network=NETWORK, results=[result(score(), score("error_rate", 0.1))])
    html = competition_page([ours], published(row(metric="error_rate", value=0.3)))
    assert names_in_order(html) == ["one"]
    assert "<li>error_rate: ours 0.1000, ResNet-50 (2020) 0.3000; better</li>" in html


def test_unverified_and_not_stated_are_written_out():
    html = competition_page([record("one", 0.9)], published(row(status="unverified", inference=None)))
    assert "UNVERIFIED. no verdict: inference not stated" in html


def test_a_published_accuracy_is_drawn_with_its_own_sampling_error():
    # Wilson for 900 of 1,000: (0.9 + z^2/2n -+ z sqrt(0.9 * 0.1 / n + z^2/4n^2)) / (1 + z^2/n), z = 1.96, n = 1,000
    html = competition_page([record("one", 0.5)], published(row(value=0.9)))
    assert '<td class="n">[0.8798, 0.9171]</td>' in html


def test_a_published_score_in_another_metric_has_no_interval():
    ours = make_record(
        "one", network=NETWORK, results=[result(score("log_loss", 0.1), conditions=replace(OURS, metric="log_loss"))]
    )
    html = competition_page([ours], published(row(metric="log_loss", value=0.3)))
    assert '<td class="n">not stated</td>' in html


def test_partial_data_is_announced_in_the_page():
    partial = record("one", 0.9, complete=False, source="subset", data={"num_missing": 4419})
    html = competition_page([partial], None)
    assert "Partial data." in html
    assert "lacks 4,419 of the listed images" in html
    assert "Partial data." not in competition_page([record("one", 0.9)], None)


def test_partial_data_whose_missing_images_nobody_counted_are_not_called_none():
    html = competition_page([record("one", 0.9, complete=False, source="subset", data={"num_missing": 0})], None)
    assert "<code>subset</code>, which lacks images (how many is not known). Their numbers are not" in html
    assert "lacks 0" not in html


def test_a_heading_says_how_many_folds_there_were():
    of_two, of_five = (
        make_record(
            f"{number} folds",
            network=NETWORK,
            results=[replace(result(), kind="out-of-fold", protocol="five-fold")],
            folds={"num_folds": number, "fingerprint": ""},
        )
        for number in (2, 5)
    )
    assert "<h2>five-fold: out of fold, 2 folds</h2>" in competition_page([of_two], None)
    assert "<h2>five-fold: out of fold, 2 or 5 folds</h2>" in competition_page([of_five, of_two], None)


def test_without_published_results_the_page_says_so():
    assert "No published results are known for <code>toy</code>." in competition_page([record("one", 0.9)], None)


def test_the_most_confused_pairs_are_listed():
    confused = replace(result(), confused=[("red", "blue", 2)])
    html = competition_page([make_record("one", network=NETWORK, results=[confused])], None)
    assert "<li>red taken for blue: 2</li>" in html


@pytest.fixture
def hostile_page():
    hostile = replace(
        result(conditions=replace(OURS, test_images=HOSTILE)), protocol=HOSTILE, confused=[(HOSTILE, HOSTILE, 1)]
    )
    record = make_record(
        HOSTILE,
        title=HOSTILE,
        source=HOSTILE,
        complete=False,
        baselines=HOSTILE,
        network={**NETWORK, "name": HOSTILE, "weights_origin": HOSTILE},
        cost={"train_minutes": 0.1, "device": HOSTILE},
        results=[hostile, result()],
    )
    rows = [row(method=HOSTILE), row(id="b", method=HOSTILE, pretraining_group="none")]
    return competition_page([record], published(*rows)) + competition_page([record], None)


def test_other_peoples_words_never_become_tags(hostile_page):
    assert HOSTILE not in hostile_page
    assert "&lt;script&gt;" in hostile_page
    found = Tags(hostile_page).found
    assert not {tag for tag, _ in found} & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_from_a_network(finished_toy):
    from kit.board.records import all_records

    html = competition_page(all_records(), published(row()))
    assert not re.search(r"@import|url\(", html)
    for tag, attributes in Tags(html).found:
        assert "src" not in attributes
        assert "srcset" not in attributes
        assert tag == "a" or "href" not in attributes


def test_there_is_a_page_per_competition_and_an_index(tmp_path):
    records = [record("one", 0.9), record("two", 0.8, competition="other", title="Other")]
    pages = write_board(records, folder=tmp_path)
    assert [page.name for page in pages] == ["other.html", "toy.html", "index.html"]
    links = [attributes["href"] for tag, attributes in Tags(pages[-1].read_text()).found if tag == "a"]
    assert links == ["other.html", "toy.html"]


def test_without_a_run_the_index_says_so(tmp_path):
    (index,) = write_board([], folder=tmp_path)
    assert "No run yet." in index.read_text()


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page of some records from disk on a small telephone; give (page, messages, requests)."""

    def call(html):
        file = tmp_path / "toy.html"
        file.write_text(html, encoding="utf-8")
        page = browser.new_page(viewport={"width": 390, "height": 800})
        messages, requests = [], []
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: messages.append(dialog.message))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page, messages, requests

    return call


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_browser_the_table_fits_a_telephone_and_details_open_by_keyboard(opened):
    rows = [
        row(method="A published method of a rather long name, with augmentation"),
        row(id="b", inference="ensemble"),
    ]
    page, messages, requests = opened(
        competition_page([record("toy-official-baseline-s1-0123abcd", 0.9)], published(*rows))
    )
    assert page.locator("table").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    details = page.locator("details").first
    assert details.get_attribute("open") is None
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    assert details.get_attribute("open") is not None
    assert details.locator("dl").is_visible()
    assert messages == []
    assert [url.split(":")[0] for url in requests] == ["file"]


@pytest.mark.browser
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_a_browser_hostile_words_stay_words(opened, hostile_page):
    page, messages, _ = opened(hostile_page)
    assert page.title() == HOSTILE
    assert page.locator("script, img").count() == 0
    assert messages == []
