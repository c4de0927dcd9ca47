"""Pointer events become pictures: speed is colour, a click is a dot where it was, and mistakes say what they are."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kit.data.render import draw_events, render_events, speed_colours
from kit.errors import ConfigError, DataError
from kit.store.decode import read_image

SQUARE = (64, 64)  # a screen as large as the picture: a place on it is the pixel of the same numbers


def line(*, speed=100.0, y=20.0, start=8.0, end=56.0):
    """Return a straight trace to the right at a constant speed, in pixels per second."""
    x = np.linspace(start, end, 13)
    return pd.DataFrame({"x": x, "y": y, "t": (x - start) / speed})


def is_mixed_with_black(pixels, colour):
    """Tell of each pixel whether it is `colour` times one number from 0 to 1, within a rounding."""
    share = pixels.max(axis=-1, keepdims=True) / colour.max()
    return np.abs(pixels - share * colour).max(axis=-1) <= 2


def test_a_straight_trace_of_one_speed_has_one_colour_on_its_line_and_black_elsewhere():
    image = draw_events(line(speed=100), size=64, screen=SQUARE)
    colour = speed_colours(np.array([100.0]))[0].astype(int)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert (image[20, 9:56] == colour).all()
    assert is_mixed_with_black(image.astype(int), colour).all()
    assert not image[:17].any() and not image[24:].any() and not image[:, :5].any() and not image[:, 60:].any()


def test_a_faster_trace_is_brighter():
    lightness = [
        int(draw_events(line(speed=s), size=64, screen=SQUARE)[20, 30].sum()) for s in (1, 50, 100, 1000, 5000, 9e9)
    ]
    assert lightness[1] < lightness[2] < lightness[3] < lightness[4]
    assert lightness[0] == lightness[1] and lightness[4] == lightness[5]  # beyond the ends: the ends


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_colours_keep_the_order_of_speeds_in_grey(one, other):
    slow, fast = speed_colours(np.array(sorted([one, other]))) @ np.array([0.2126, 0.7152, 0.0722])
    assert slow <= fast + 0.5


def test_a_click_is_a_white_dot_with_a_black_rim_where_it_was():
    events = line().assign(click=[False] * 6 + [True] + [False] * 6)  # at x = 32
    image = draw_events(events, size=64, screen=SQUARE)
    white = np.argwhere((image == 255).all(axis=2))
    assert white.mean(axis=0).tolist() == [20, 32]
    assert not image[20, 37].any() and image[20, 40].any()


@pytest.mark.parametrize(
    "column",
    [
        {"click": [0] * 6 + [1] + [0] * 6},
        {"click": ["False"] * 6 + ["True"] + ["False"] * 6},  # as a CSV has it: bool("False") is true
        {"event": ["move"] * 6 + ["Down"] + ["move"] * 6},
    ],
)
def test_clicks_are_told_in_several_ways(column):
    expected = draw_events(line().assign(click=np.arange(13) == 6), size=64, screen=SQUARE)
    assert (draw_events(line().assign(**column), size=64, screen=SQUARE) == expected).all()


def test_a_place_on_the_screen_is_the_same_place_in_each_picture():
    # Of 192 pixels, 1080 of 1920 are 108 rows in the middle: from 42 to 149.
    for (x, y), (row, column) in {(960, 0): (42, 96), (960, 1079): (149, 96), (480, 540): (96, 48)}.items():
        drawn = draw_events(pd.DataFrame({"x": [x], "y": [y], "t": [0]}), size=192)
        assert np.argwhere(drawn.any(axis=2)).mean(axis=0) == pytest.approx([row, column], abs=1)


def test_without_a_screen_only_the_shape_of_a_trace_is_left():
    events = line().assign(click=True)
    moved = events.assign(x=events["x"] - 1000, y=500 + events["y"], t=events["t"] + 9)
    larger = events.assign(x=10 * events["x"])
    one, other, third = (draw_events(table, size=64, screen=None) for table in (events, moved, larger))
    assert (one == other).all()
    ends = [np.flatnonzero(image.any(axis=(0, 2)))[[0, -1]] for image in (one, third)]
    assert np.abs(ends[0] - ends[1]).max() <= 1
    assert (one[:, 0] == 0).all() and (one[:, -1] == 0).all()  # dots at the ends are whole


def test_times_are_seconds_milliseconds_or_dates():
    events = line(speed=500)
    expected = draw_events(events, size=64, screen=SQUARE)
    in_ms = events.assign(t=1.7e12 + 1000 * events["t"])
    dates = events.assign(t=pd.Timestamp("2026-01-01") + pd.to_timedelta(events["t"], unit="s"))
    assert np.abs(draw_events(in_ms, size=64, screen=SQUARE, time_unit="ms").astype(int) - expected).max() <= 4
    assert np.abs(draw_events(dates, size=64, screen=SQUARE).astype(int) - expected).max() <= 4


def test_a_step_of_no_time_is_fastest_and_no_step_at_all_is_drawn_as_a_point():
    jump = pd.DataFrame({"x": [8, 56], "y": [20, 20], "t": [1, 1]})
    assert (draw_events(jump, size=64, screen=SQUARE)[20, 30] == speed_colours(np.array([1e9]))[0]).all()
    rest = pd.DataFrame({"x": [30, 30.1], "y": [20, 20], "t": [1, 1]})
    assert (draw_events(rest, size=64, screen=SQUARE)[20, 30] == speed_colours(np.array([0.0]))[0]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(columns="y"), "lacks the column 'y'"),
        (lambda t: t.iloc[:0], "has no events"),
        (lambda t: t.assign(x=t["x"].where(t.index != 4)), "1 of 13 values of 'x' .* 'nan' in row 4"),
        (lambda t: t.assign(y=[np.inf] + [1] * 12), "1 of 13 values of 'y' .* 'inf' in row 0"),
        (lambda t: t.assign(t=["soon"] + ["1"] * 12), "'soon' in row 0"),
        (lambda t: t.iloc[::-1], "go back 12 times, first from row 0 to row 1"),
        (lambda t: t.assign(x=t["x"] + 20), "3 of 13 events .* are not on a screen of 64 x 64"),
        (lambda t: t.assign(click="maybe"), "'click' .* 'maybe' in row 0"),
        (lambda t: pd.concat([t, t["x"]], axis=1), "'x' more than once"),
        (lambda t: None, "is a NoneType"),
    ],
)
def test_a_mistake_in_a_table_is_said_in_one_paragraph(change, said):
    with pytest.raises(DataError, match=said) as caught:
        draw_events(change(line()), size=64, screen=SQUARE, name="session 7")
    assert "session 7" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 0},
        {"size": True},
        {"screen": (0, 10)},
        {"screen": (1.5, 2)},
        {"speeds": (0, 10)},
        {"speeds": (9, 3)},
        {"time_unit": "hours"},
        {"size": 64.0},
        {"screen": 5},
        {"screen": (True, 9)},
        {"speeds": 5},
        {"speeds": ((1, 2), 3)},
        {"speeds": ("a", "b")},
        {"speeds": (1, float("nan"))},
    ],
)
def test_settings_that_cannot_be_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        draw_events(line(), **settings)


def long_table():
    """Return four sessions of two persons in one table."""
    tables = [
        line(speed=100 * (k + 1)).assign(session=f"s{k}", label="person" if k % 2 else "bot", user=f"u{k // 2}")
        for k in range(4)
    ]
    return pd.concat(tables, ignore_index=True)


def test_a_long_table_becomes_a_folder_of_pictures_and_a_csv(tmp_path):
    said = []
    table = render_events(
        long_table(), tmp_path / "out", keep=["user"], size=64, screen=SQUARE, workers=2, say=said.append
    )
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["s0.png", "s1.png", "s2.png", "s3.png"]
    assert rows[1] == {"image": "s1.png", "label": "person", "user": "u0"}
    expected = draw_events(line(speed=200), size=64, screen=SQUARE)
    assert (read_image(tmp_path / "out" / "s1.png") == expected).all()
    assert "4 drawn" in said[-1]


def test_a_second_call_draws_only_what_is_new_changed_or_damaged(tmp_path):
    def render(events, **settings):
        said = []
        render_events(events, tmp_path, size=64, screen=SQUARE, say=said.append, **settings)
        return said[-1].split(": ")[-1]

    events = long_table()
    assert render(events[events["session"] != "s3"]) == "3 drawn, 0 were there already"
    assert render(events) == "1 drawn, 3 were there already"
    events.loc[0, "x"] += 1
    drawn = (tmp_path / "s1.png").read_bytes()
    (tmp_path / "s1.png").write_bytes(drawn[: len(drawn) // 2])
    (tmp_path / "s2.png").unlink()
    assert render(events) == "3 drawn, 1 were there already"
    assert render(events, speeds=(1, 2)) == "4 drawn, 0 were there already"
    assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".csv"}


def test_bad_sessions_are_named_and_the_others_are_drawn(tmp_path):
    events = long_table()
    events.loc[events["session"] == "s2", "y"] = np.nan
    with pytest.raises(DataError, match=r"1 of 4 pictures could not be drawn: .*session 's2'") as caught:
        render_events(events, tmp_path, size=64, screen=SQUARE, say=str)
    assert "leave_out_bad" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s0.png", "s1.png", "s3.png"]
    said = []
    table = render_events(events, tmp_path, size=64, screen=SQUARE, leave_out_bad=True, say=said.append)
    assert "s2" not in table.read_text() and any("1 of 4 left out" in text for text in said)


@pytest.mark.parametrize(
    ("events", "settings", "said"),
    [
        (long_table(), {"session": "visit"}, "lacks the column 'visit'"),
        (long_table().assign(session="all"), {}, "'all' has 2 values of 'label'"),
        (long_table().drop(columns="label"), {}, "lack the column 'label'"),
        (long_table(), {"labels": {"s0": "a"}}, "'s1' has no label"),
        (long_table(), {"labels": {"s9": "a"}}, "names 1 sessions that are not"),
        (long_table().assign(session="../up"), {}, "slash"),
        (long_table().assign(session="..", label="x"), {}, "cannot be a picture's name"),
        ({"A": line(), "a": line()}, {"labels": {"A": "x", "a": "y"}}, "Two pictures would be the file"),
        ({}, {}, "no events"),
        (long_table(), {"keep": ["age"]}, "lack the column 'age'"),
        (long_table(), {"labels": ["a"]}, "`labels` is a list"),
        ([line()], {}, "`events` is a list"),
        ({"a": None}, {}, "has a NoneType"),
        (pd.concat([long_table(), long_table()["x"]], axis=1), {}, "'x' more than once"),
        (pd.concat([long_table(), long_table()["session"]], axis=1), {}, "'session' more than once"),
    ],
)
def test_a_mistake_in_many_tables_is_said_before_anything_is_written(tmp_path, events, settings, said):
    with pytest.raises(DataError, match=said):
        render_events(events, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_pictures_of_an_earlier_call_are_left_and_said(tmp_path):
    events = long_table()
    render_events(events, tmp_path, size=64, screen=SQUARE, say=str)
    said = []
    table = render_events(
        events[events["session"] == "s0"], tmp_path, size=64, screen=SQUARE, workers=1, say=said.append
    )
    assert "3 other pictures, first s1.png" in said[0]
    assert table.read_text() == "image,label\ns0.png,bot\n"


@pytest.mark.parametrize(("name", "data"), [("s2.png", None), ("s2.png", b"mine"), ("labels.csv", b"image,label\n")])
def test_files_of_somebody_else_are_not_replaced(tmp_path, name, data):
    if data is None:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(data)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(DataError, match=rf"{name}.* Nothing was written"):
        render_events(long_table(), tmp_path, size=64, screen=SQUARE, say=str)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_times_with_a_zone_are_drawn_anew_only_where_they_changed(tmp_path):
    def render(start):
        said = []
        times = pd.Timestamp(start, tz="Europe/Zurich") + pd.to_timedelta(long_table()["t"], unit="s")
        render_events(long_table().assign(t=times), tmp_path, size=64, screen=SQUARE, say=said.append)
        return said[-1].split(": ")[-1]

    assert render("2026-01-01") == "4 drawn, 0 were there already"
    assert render("2026-01-01") == "0 drawn, 4 were there already"
    assert render("2026-01-02") == "4 drawn, 0 were there already"


def test_one_further_column_may_be_a_text(tmp_path):
    table = render_events(long_table(), tmp_path, keep="user", size=64, screen=SQUARE, say=str)
    assert table.read_text().splitlines()[1] == "s0.png,bot,u0"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"keep": ["label"], "labels": {f"s{k}": "x" for k in range(4)}}, "keep names the column 'label'"),
        ({"keep": "label", "label": "user"}, "keep names the column 'label'"),
        ({"keep": 5}, "keep is 5"),
        ({"workers": "4"}, "workers is '4'"),
    ],
)
def test_settings_of_a_folder_that_cannot_be_are_refused(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        render_events(long_table(), tmp_path / "out", size=64, screen=SQUARE, **settings)
    assert not (tmp_path / "out").exists()
