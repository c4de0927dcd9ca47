"""`kit scrape`: lists of addresses become images, a manifest, a table of counts, and a competition to run."""

import pytest
import typer
from scrape_site import http
from toys import coloured_png, write_files
from typer.testing import CliRunner

from kit.cli.scrape import COMMANDS
from kit.competition import package_folder, read_competition
from kit.data.labels import find_images, from_folder
from kit.errors import CompetitionError, DataError
from kit.files.fetch import fetch
from kit.scaffold.scaffold import write_competition
from kit.scrape.scrape import collect, competition_of, near_duplicates_of


@pytest.fixture
def scrape(tmp_path, monkeypatch, site):
    """Call `kit scrape` in an empty folder with the lists `lists/`; return the result."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.callback()(lambda: None)
    app.command("scrape")(COMMANDS[0])

    def call(name: str, lists: dict[str, list[str]], *options: str, allow: str = "", catch: bool = False):
        files = {f"lists/{label}.txt": "\n".join(map(site.url, paths)).encode() for label, paths in lists.items()}
        write_files(tmp_path, files)
        fixed = ["--urls", "lists", "--allow-host", allow or site.host, "--pause", "0", "--per-host", "4"]
        return CliRunner().invoke(app, ["scrape", name, *fixed, *options], catch_exceptions=catch)

    return call


def big_png(colours: tuple[str, str]) -> bytes:
    """A picture of 96 x 96 pixels: noise of one colour, and a disc of another."""
    import cv2
    import numpy as np
    from toys import COLOURS

    random = np.random.default_rng(len(colours[0]))
    image = np.full((96, 96, 3), COLOURS[colours[0]], np.uint8)
    image = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (96, 96)) // 2 + image // 2
    cv2.circle(image, (40, 50), 20, COLOURS[colours[1]], -1)
    encoded: bytes = cv2.imencode(".png", image)[1].tobytes()
    return encoded


def test_a_scrape_prints_counts_and_writes_a_competition_whose_images_are_labelled(scrape, site, own_home, tmp_path):
    for k in range(5):
        site.answers |= {f"/r{k}": http(coloured_png("red", k)), f"/b{k}": http(coloured_png("blue", 100 + k))}
    result = scrape("bears", {"red": [f"/r{k}" for k in range(6)], "blue": ["/r0", *(f"/b{k}" for k in range(5))]})
    table = [line.split() for line in result.stdout.splitlines()]
    assert ["ok", "10"] in table and ["failed", "1", "HTTP", "404"] in table
    assert ["duplicate", "1", "conflict:", "same", "image", "in", "class", "blue"] in table  # blue.txt comes first
    assert ["red", "4"] in table and ["blue", "6"] in table
    assert "11 addresses, 11 to fetch" in result.stderr and "CONFLICT" in result.stderr
    competition = read_competition(tmp_path / "competitions" / "bears")
    assert competition.classes == ("blue", "red")
    assert competition.source().folder == "images"
    folder = fetch(competition)  # used in place, never copied
    assert folder == own_home / "collected" / "bears" / "images"
    labelled = from_folder(find_images(folder, competition.labels.images))
    assert labelled["label"].value_counts().to_dict() == {"blue": 6, "red": 4}
    assert competition.recipe().num_folds == competition.protocol().num_folds == 5


def test_a_competition_that_is_there_is_not_written_over(scrape, site, tmp_path):
    site.answers |= {f"/{k}": http(coloured_png("red", k)) for k in range(3)}
    scrape("bears", {"black": ["/0"], "teddy": ["/1"]})
    path = tmp_path / "competitions" / "bears" / "competition.toml"
    mine = path.read_text(encoding="utf-8").replace("images collected from the web", "my bears")
    path.write_text(mine, encoding="utf-8")
    result = scrape("bears", {"grizzly": ["/2"]})
    assert path.read_text(encoding="utf-8") == mine
    assert "lacks the classes grizzly" in result.stderr


def test_the_example_of_the_lesson_is_collected_into_and_not_shadowed(scrape, site, tmp_path):
    site.answers |= {f"/{k}": http(coloured_png("red", k)) for k in range(3)}
    result = scrape("google_images", {"black": ["/0"], "grizzly": ["/1"], "teddy": ["/2"]})
    assert not (tmp_path / "competitions").exists()
    assert str(package_folder("competitions") / "google_images") in result.stdout
    assert "lacks" not in result.stderr


def test_one_class_is_collected_but_makes_no_competition_yet(scrape, site, tmp_path):
    site.answers["/0"] = http(coloured_png("red", 0))
    result = scrape("bears", {"black": ["/0"]})
    assert result.exit_code == 0 and "no competition written yet" in result.stderr
    assert not (tmp_path / "competitions").exists()


def test_a_competition_with_images_of_its_own_is_refused_before_anything_is_fetched(scrape, site, own_home):
    site.answers["/0"] = http(coloured_png("red", 0))
    result = scrape("digits", {"0": ["/0"]}, catch=True)
    assert isinstance(result.exception, CompetitionError)
    assert "would not use what is collected under its name" in str(result.exception)
    assert "Take another name" in str(result.exception)
    assert not site.asked and not own_home.exists()


def test_a_class_of_which_no_image_was_kept_is_named(scrape, site):
    site.answers["/0"] = http(coloured_png("red", 0))
    result = scrape("bears", {"black": ["/0"], "teddy": ["/1"]})
    assert result.exit_code == 0
    assert ["teddy", "0"] in [line.split() for line in result.stdout.splitlines()]
    assert "NO IMAGE was kept of teddy" in result.stderr


def test_a_scrape_that_kept_no_image_names_the_commonest_reason(scrape, site):
    site.answers["/page"] = http(b"<!doctype html><p>Log in, please")
    result = scrape("bears", {"black": ["/0", "/1", "/page"]}, catch=True)
    assert isinstance(result.exception, DataError)
    for words in ("No image was kept of 3 addresses", "2 times: HTTP 404", site.url("/0"), "--retry-failed"):
        assert words in str(result.exception)


def test_where_no_host_was_public_the_way_out_is_named_and_works(scrape, site, tmp_path):
    site.answers["/0"] = http(coloured_png("red", 0))
    result = scrape("bears", {"black": ["/0"]}, allow="192.0.2.1", catch=True)
    assert isinstance(result.exception, DataError)
    assert "host is not public (127.0.0.1)" in str(result.exception)
    assert "--allow-host 127.0.0.1." in str(result.exception)
    assert ["black", "1"] in [
        line.split() for line in scrape("bears", {"black": ["/0"]}, allow="127.0.0.1").stdout.splitlines()
    ]


def test_near_duplicates_are_listed_and_across_classes_marked(scrape, site, own_home):
    import cv2
    import numpy as np

    original = big_png(("red", "blue"))
    pixels = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR)
    site.answers |= {
        "/0": http(original),
        "/1": http(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()),
        "/2": http(big_png(("green", "grey"))),
    }
    result = scrape("bears", {"black": ["/0", "/2"], "teddy": ["/1"]})
    assert "1 pairs of images show the same picture, 1 of them in two classes" in result.stderr
    lines = (own_home / "collected" / "bears" / "near_duplicates.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 and lines[1].endswith("True")


def test_without_images_there_is_nothing_to_compare(tmp_path, own_home):
    write_files(tmp_path, {"a.txt": b"nonsense"})
    collection = collect("bears", [tmp_path / "a.txt"], say=lambda line: None)
    assert near_duplicates_of(collection.folder, collection.paths).empty
    assert competition_of("bears", collection, say=lambda line: None) is None


@pytest.mark.parametrize("name", ["Bears", "../bears", "", "a" * 65])
def test_a_name_that_is_no_slug_is_refused_before_anything_is_fetched(scrape, site, own_home, name):
    result = scrape(name, {"a": ["/0"]}, catch=True)
    assert isinstance(result.exception, CompetitionError) and "cannot name a competition" in str(result.exception)
    assert not site.asked and not own_home.exists()


def test_class_names_and_titles_come_out_of_the_toml_as_they_went_in(tmp_path):
    names = ['say "cheese"', "tab\there", "back\\slash", "ü 熊", "del\x7f"]
    folder = write_competition(
        tmp_path, slug="odd", title=names[0], classes=names, images_glob="*/*", source_toml='[sources.a]\nfolder = "x"'
    )
    competition = read_competition(folder)
    assert competition.classes == tuple(names) and competition.title == names[0]
    with pytest.raises(CompetitionError, match="not written over"):
        write_competition(tmp_path, slug="odd", title="", classes=names, images_glob="*/*", source_toml="")
    with pytest.raises(CompetitionError, match="at least 2 classes"):
        write_competition(tmp_path, slug="few", title="", classes=["a"], images_glob="*/*", source_toml="")
