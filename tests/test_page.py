"""The board's pages: ranked, honest about what is not comparable, and safe with other people's words."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from test_compare import OURS, published, result, row, score
from test_records import make_record

from kit.board.competition_page import competition_page
from kit.board.markup import Cell, Column, file_name, name, short, single_page, site_page, table, text
from kit.board.shelf import Shelf, Sweep
from kit.judge.test_ledger import START, Chain, ledger_path

NETWORK = {"name": "resnet10t", "num_parameters": 5, "weights_origin": "none"}
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\"'&\u202eevil\x00"


def record(run_id, value, **changes):
    """Return a record with one result on the test list, in accuracy."""
    return make_record(run_id, results=[result(score(value=value))], network=NETWORK, **changes)


def no_looks():
    return Chain(path=ledger_path(), looks=(), num_lines=0, head=START, torn=0, fault="")


def shelf(records, baselines=None, **changes):
    found = {"slug": "toy", "title": "Plain colours", "baselines_id": "toy", "chain": no_looks()}
    return Shelf(**{**found, "records": records, "published": baselines, **changes})


def page(records, baselines=None, **changes):
    return competition_page(shelf(records, baselines, **changes))


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def ranked(html):
    """Return (rank, name) of the rows of the first ranked table."""
    rows = html.partition('id="groups"')[2].partition("</table>")[0]
    cells = re.findall(r'<td class="n"[^>]*>([^<]*)</td><th scope="row">(.*?)<small>', rows)
    return [(rank, re.sub(r"<[^>]*>", "", heading)) for rank, heading in cells]


def test_ours_and_the_comparable_published_ones_are_ranked_together_best_first():
    rows = [row(method="Theirs, higher", value=0.95), row(id="b", method="Theirs, lower", value=0.70)]
    html = page([record("worst", 0.60), record("best", 0.97)], published(*rows))
    assert ranked(html) == [("1", "best"), ("2", "Theirs, higher"), ("3", "Theirs, lower"), ("4", "worst")]
    assert "accuracy, higher is better" in html


def test_of_errors_the_lowest_is_ranked_first():
    conditions = replace(OURS, metric="log_loss")
    records = [
        make_record(name, network=NETWORK, results=[result(score("log_loss", value), conditions=conditions)])
        for name, value in (("high", 0.9), ("low", 0.1))
    ]
    html = page(records)
    assert ranked(html) == [("1", "low"), ("2", "high")]
    assert "log_loss, lower is better" in html


def test_results_of_other_conditions_stand_in_other_groups():
    other = make_record("other", network=NETWORK, results=[result(conditions=replace(OURS, inference="ensemble"))])
    html = page([record("one", 0.9), other])
    assert "Group A: " in html and "Group B: " in html and "Group C: " not in html


def test_a_published_row_that_is_not_comparable_stands_in_a_group_of_its_own_with_the_field_named():
    html = page([record("one", 0.9)], published(row(method="From nothing", pretraining_group="none")))
    assert ranked(html) == [("1", "one")]
    group = html.partition("Group B: ")[2]
    assert "From nothing" in group
    assert "pretraining_group: ours imagenet-1k, theirs none (rule 4)" in group


def test_unverified_rows_are_marked_in_the_chart_its_table_and_the_ranking_and_have_no_rank():
    html = page([record("one", 0.9)], published(row(method="Hearsay", status="unverified")))
    assert ranked(html) == [("–", "Hearsay unverified"), ("1", "one")] or ranked(html) == [
        ("1", "one"),
        ("–", "Hearsay unverified"),
    ]
    chart, _, rest = html.partition("</svg></div>")
    assert re.search(r'hollow"><title>A: Hearsay \(2020\), accuracy 0.9000, unverified</title>', chart)
    assert rest.count('<span class="tag">unverified</span>') == 2


def test_what_is_not_stated_is_written_out_and_blocks_the_verdict():
    html = page([record("one", 0.9)], published(row(inference=None)))
    assert "no verdict: inference not stated" in html
    assert "<dt>inference</dt><dd><bdi>single</bdi></dd>" in html  # of the group: what any row of it states


def test_a_published_accuracy_is_drawn_with_its_own_sampling_error():
    # Wilson for 900 of 1,000: (0.9 + z^2/2n -+ z sqrt(0.9 * 0.1 / n + z^2/4n^2)) / (1 + z^2/n), z = 1.96, n = 1,000
    assert "[0.8798, 0.9171]" in page([record("one", 0.5)], published(row(value=0.9)))


def test_partial_data_is_announced_and_missing_images_that_nobody_counted_are_not_called_none():
    partial = record("one", 0.9, complete=False, source="subset", data={"fingerprint": "f", "num_missing": 4419})
    html = page([partial])
    assert "Partial data." in html
    assert "lack 4,419 of the listed images" in html
    html = page([replace(partial, data={"fingerprint": "f", "num_missing": 0})])
    assert "lack images (how many is not known). Their numbers are not comparable" in html
    assert "Partial data." not in page([record("one", 0.9)])


def test_each_of_our_runs_is_a_link_to_its_page():
    assert '<a href="toy/one.html"><bdi>one</bdi></a>' in page([record("one", 0.9)])


def test_the_best_so_far_is_a_line_through_verified_results_of_one_group():
    rows = [row(id=f"r{year}", year=year, value=value) for year, value in ((2012, 0.6), (2015, 0.5), (2020, 0.8))]
    html = page([], published(*rows, row(id="doubtful", year=2013, value=0.9, status="unverified")))
    (points,) = re.findall(r'<polyline class="steps g0" points="([^"]*)"', html)
    heights = [float(corner.split(",")[1]) for corner in points.split()]
    assert len(heights) == 4  # 0.6 from 2012 to 2020, then 0.8
    assert heights[0] == heights[1] > heights[2] == heights[3]


def test_cost_against_score_has_a_chart_of_each_cost_that_a_record_states_and_a_table():
    costs = {"train_minutes": 4.5, "peak_memory_gib": 1.25, "device": "CPU"}
    html = page([record("one", 0.9, cost=costs), record("two", 0.8, cost={"train_minutes": 9.0, "device": "CPU"})])
    part = html.partition('id="cost"')[2]
    assert re.findall(r'<title id="[^"]*">([^<]*)</title>', part) == [
        "Score against minutes of training",
        "Score against peak memory, GiB",
        "Score against parameters",
    ]
    assert "1 of our runs; the table" in part  # one record alone states its memory
    assert '<td class="n" data-v="4.5">4.5</td><td class="n" data-v="1.25">1.25</td>' in part


def test_without_published_results_the_page_says_so():
    assert "No published results are known for <code>toy</code>." in page([record("one", 0.9)])


def test_a_faulty_file_of_published_results_is_named_and_the_runs_are_shown():
    html = page([record("one", 0.9)], None, fault="toy.yaml breaks the schema")
    assert "Published results are not shown: toy.yaml breaks the schema" in html
    assert ranked(html) == [("1", "one")]


def test_open_questions_and_rules_of_the_data_set_stand_before_whoever_quotes():
    html = page([], replace(published(row()), comparability=("Mind the split.",)))
    assert "<li>Mind the split.</li>" in html.partition('id="quote"')[2]


def test_sweeps_are_linked_with_what_they_came_to():
    html = page([record("one", 0.9)], sweeps=[Sweep(name="lr", title="Tuning helped.", page="toy/sweep-lr.html")])
    assert '<a href="toy/sweep-lr.html"><bdi>lr</bdi></a>: <bdi>Tuning helped.</bdi>' in html


def hostile_pages():
    hostile = replace(
        result(conditions=replace(OURS, test_images=HOSTILE, training_pool=HOSTILE)),
        protocol=HOSTILE,
        confused=[(HOSTILE, HOSTILE, 1)],
    )
    one = make_record(
        HOSTILE,
        title=HOSTILE,
        source=HOSTILE,
        complete=False,
        baselines=HOSTILE,
        network={**NETWORK, "name": HOSTILE, "weights_origin": HOSTILE},
        cost={"train_minutes": 0.1, "device": HOSTILE},
        versions={HOSTILE: HOSTILE},
        recipe={"name": HOSTILE, HOSTILE: [HOSTILE]},
        results=[hostile, result()],
    )
    rows = [row(method=HOSTILE), row(id="b", method=HOSTILE, pretraining_group="none")]
    known = shelf(
        [one], replace(published(*rows), comparability=(HOSTILE,)), slug=HOSTILE, title=HOSTILE, baselines_id=HOSTILE
    )
    from kit.board.run_page import run_page

    return competition_page(known) + run_page(known, one) + competition_page(replace(known, published=None))


def test_other_peoples_words_never_become_tags():
    html = hostile_pages()
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    assert "\x00" not in html and "\u202e" not in html
    found = Tags(html).found
    scripts = [attributes for tag, attributes in found if tag == "script"]
    assert all(set(attributes) == {"src", "defer"} for attributes in scripts) and len(scripts) == 3
    assert not {tag for tag, _ in found} & {"img", "iframe", "object", "embed", "base", "form", "style"}
    assert not [key for _, attributes in found for key in attributes if key.startswith("on") or key == "style"]
    addresses = {attributes["href"] for _, attributes in found if "href" in attributes}
    assert not [one for one in addresses if one.lower().startswith(("javascript", "data", "//"))]


def test_a_source_that_is_no_web_address_is_no_link():
    theirs = row()
    html = page([], published(replace(theirs, source=replace(theirs.source, url="javascript:alert(1)"))))
    assert "javascript:" not in html


def test_a_page_says_that_nothing_may_be_loaded_from_elsewhere():
    for html in (site_page("A", ""), single_page("A", "")):
        (policy,) = [
            attributes["content"]
            for tag, attributes in Tags(html).found
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy and "http" not in policy


def test_a_name_gives_one_plain_file_name_and_two_names_never_the_same():
    assert file_name("pets-official-s1-0123abcd") == "pets-official-s1-0123abcd"
    names = ["index", "Index", "../../etc/passwd", "a/b", "a\\b", "", ".", "..", "ä", "CON", "con ", "x" * 300, "a..b"]
    names += ["assets", "report-abc", "Report", "sweep-lr", "sweep/"]  # the site has pages of these names
    found = [file_name(one) for one in names]
    assert not any(one in ("index", "assets") or one.startswith(("report-", "sweep-")) for one in found)
    assert len({one.lower() for one in found}) == len(names)
    assert all(re.fullmatch(r"[a-z0-9_-]{1,80}", one) for one in found)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("<b>", "&lt;b&gt;"), ("\"'&", "&quot;&#x27;&amp;"), ("a\x00b", "a\ufffdb"), ("\ud800", "\ufffd"), ("é\n", "é\n")],
)
def test_text_is_what_it_was_without_markup_and_without_what_no_page_can_hold(value, shown):
    assert text(value) == shown
    text(value).encode()


def test_a_name_keeps_its_writing_direction_to_itself():
    assert name("שלום\u202e") == "<bdi>שלום\ufffd</bdi>"


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0712, "0.0712"), (4.77, "4.77"), (152.4, "152"), (4321.0, "4,321"), (23.6e6, "23.6 M")],
)
def test_amounts_are_shown_in_about_three_figures(value, shown):
    assert short(value) == shown


def test_a_table_names_its_columns_and_rows_for_those_who_hear_it():
    html = table(
        "Prices", [Column(title="What"), Column(title="Each", number=True)], [("", ["tea", Cell(html="2", sort=2.0)])]
    )
    assert '<div class="wide" role="region" tabindex="0" aria-label="Prices">' in html
    assert "<caption>Prices</caption>" in html
    assert '<th scope="col">What</th><th scope="col" class=n>Each</th>' in html
    assert '<th scope="row"><bdi>tea</bdi></th><td class="n" data-v="2.0">2</td>' in html
