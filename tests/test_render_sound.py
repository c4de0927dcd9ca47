"""Sounds become spectrograms: a tone lights up the row of its frequency, whatever the file is made of."""

import os
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile

from kit.data.render import render_sounds, row_frequencies, spectrogram
from kit.data.render.colours import viridis
from kit.errors import ConfigError, DataError
from kit.store.decode import read_image

RATE = 16_000
SIZE = 64


def tone(hertz, *, seconds=0.5, rate=RATE, amplitude=1.0):
    """Return a sine."""
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def brightest_rows(image):
    """Return the row with the most light of each column."""
    return image.astype(int).sum(axis=2).argmax(axis=0)


def riff(*chunks):
    """Return the bytes of a RIFF file of (name, content) or (name, content, length that the header says)."""
    body = b"".join(
        c[0] + struct.pack("<I", c[2] if len(c) > 2 else len(c[1])) + c[1] + b"\0" * (len(c[1]) % 2) for c in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


def fmt(*, kind=1, channels=1, rate=RATE, bits=16, block=None):
    """Return a chunk that describes samples."""
    block = channels * bits // 8 if block is None else block
    return b"fmt ", struct.pack("<HHIIHH", kind, channels, rate, rate * block % 2**32, block, bits)


@pytest.mark.parametrize("hertz", [100, 440, 1000, 3000, 7000])
def test_a_pure_tone_lights_up_the_row_that_its_frequency_says(hertz):
    frequencies = row_frequencies(size=SIZE)
    expected = np.abs(frequencies - hertz).argmin()
    assert (np.abs(brightest_rows(spectrogram(tone(hertz), rate=RATE, size=SIZE)) - expected) <= 1).all()


@given(st.floats(150, 7500), st.sampled_from([16_000, 22_050, 48_000, 192_000]))
def test_a_tone_is_in_the_same_row_at_every_rate(hertz, rate):
    rows = brightest_rows(spectrogram(tone(hertz, rate=rate, seconds=0.2), rate=rate, size=SIZE))
    assert (np.abs(rows - np.abs(row_frequencies(size=SIZE) - hertz).argmin()) <= 1).all()


def test_rows_are_evenly_spaced_in_mel():
    # 1000 Hz are 999.99 mel by the formula; with 0 Hz as the low end the middle of 0 to 1000 mel is 500 mel.
    frequencies = row_frequencies(size=101, hz=(0, 1000))
    assert frequencies[50] == pytest.approx(700 * (10 ** (499.993 / 2595) - 1), abs=0.01)
    assert (np.diff(frequencies) < 0).all()


def loudest(image):
    """Return the place in the map, 0 to 255, of the lightest colour in the middle column."""
    away = np.abs(image[:, image.shape[1] // 2, None].astype(int) - viridis()).sum(axis=2)  # (S, 256)
    assert (away.min(axis=1) == 0).all()
    return away.argmin(axis=1).max()


def test_half_the_amplitude_is_six_decibels_less():
    loud, quiet = (
        loudest(spectrogram(tone(1000, amplitude=a), rate=RATE, size=SIZE, levels=(-60, 0))) for a in (0.5, 0.25)
    )
    assert 25 <= loud - quiet <= 26  # 6.02 of 60 dB over 255 steps are 25.6


def test_a_full_scale_tone_is_nearly_the_lightest_and_silence_the_darkest():
    loud = loudest(spectrogram(tone(1000), rate=RATE, size=SIZE, levels=(-60, 0)))
    assert 255 * (1 - 3.7 / 60) - 1 <= loud <= 255  # between -3.7 and 0 dB
    assert (spectrogram(np.zeros(RATE), rate=RATE, size=SIZE) == viridis()[0]).all()


def test_time_goes_to_the_right():
    sound = np.concatenate([tone(500), np.zeros(RATE // 2), tone(4000)])  # three parts of half a second
    image = spectrogram(sound, rate=RATE, size=60)
    rows = brightest_rows(image)
    assert (np.abs(row_frequencies(size=60)[rows[:18]] - 500) < 60).all()
    assert (np.abs(row_frequencies(size=60)[rows[42:]] - 4000) < 250).all()
    assert (image[:, 23:37] == image[0, 30]).all()


def test_a_quiet_recording_looks_like_a_loud_one_where_levels_are_relative():
    loud, quiet = (
        spectrogram(tone(900, amplitude=a), rate=RATE, size=SIZE, relative_to="loudest") for a in (1.0, 0.01)
    )
    assert (loud == quiet).all()


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<i4", "<f4", "<f8"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_kind_of_samples_gives_the_same_picture(tmp_path, dtype, channels):
    exact = np.round(tone(1000, amplitude=0.5) * 100) / 128  # numbers that 8 bits can hold
    stored = {"u1": exact * 128 + 128, "<i2": exact * 2**15, "<i4": exact * 2**31}.get(dtype, exact).astype(dtype)
    wavfile.write(tmp_path / "a.wav", RATE, np.stack([stored] * channels, axis=1) if channels > 1 else stored)
    assert (spectrogram(tmp_path / "a.wav", size=SIZE) == spectrogram(exact, rate=RATE, size=SIZE)).all()


def test_24_bits_and_the_extensible_header_are_read(tmp_path):
    exact = np.round(tone(1000, amplitude=0.5) * 100) / 128
    three = (exact * 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 3, RATE, 0, "NONE", ""))
        file.writeframes(three)
    extensible = fmt(kind=0xFFFE, bits=24)[1] + struct.pack("<HHI", 22, 24, 4) + struct.pack("<H", 1) + b"\0" * 14
    (tmp_path / "b.wav").write_bytes(riff((b"LIST", b"odd"), (b"fmt ", extensible), (b"data", three)))
    expected = spectrogram(exact, rate=RATE, size=SIZE)
    assert (spectrogram(tmp_path / "a.wav", size=SIZE) == expected).all()
    assert (spectrogram(tmp_path / "b.wav", size=SIZE) == expected).all()


def test_a_header_that_did_not_know_the_length_is_read_to_the_end(tmp_path):
    samples = (tone(1000) * 32767).astype("<i2")
    (tmp_path / "a.wav").write_bytes(riff(fmt(), (b"data", samples.tobytes(), 2**32 - 1)))
    assert (spectrogram(tmp_path / "a.wav", size=SIZE) == spectrogram(samples, rate=RATE, size=SIZE)).all()


def test_a_long_file_is_read_in_pieces(tmp_path):
    # 20 minutes that are a hole in the file: 58 MB as 16 bits, 461 MB as the floats they are computed in.
    tail = (tone(2000, seconds=2) * 32767).astype("<i2").tobytes()
    num_bytes = 1200 * 24_000 * 2
    with (tmp_path / "long.wav").open("wb") as file:
        file.write(riff(fmt(rate=24_000), (b"data", b"", num_bytes)))
        file.seek(44 + num_bytes - len(tail))
        file.write(tail)
    import tracemalloc

    tracemalloc.start()
    image = spectrogram(tmp_path / "long.wav", size=32)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20
    assert image[:, -1].any(axis=1).any() and (image[:, :-1] == image[0, 0]).all()


@pytest.mark.parametrize("count", [1, 2, 10, 63, 64, 65, 1000])
def test_a_sound_shorter_than_a_frame_is_drawn(count):
    assert spectrogram(np.full(count, 0.5), rate=RATE, size=SIZE).shape == (SIZE, SIZE, 3)


SOUND = (tone(500, seconds=0.05) * 32767).astype("<i2").tobytes()
HOSTILE = {
    "is empty": b"",
    "is not a WAV file: .* an HTML page": b"<!DOCTYPE html><html>",
    "is not a WAV file: .* of no known": b"RIFX\0\0\0\0WAVE" + bytes(range(128, 200)),
    "has no format": riff(),
    "has no samples: the WAV file ends": riff(fmt()),
    "is damaged: the description": riff((b"fmt ", b"\1\0\1\0"), (b"data", SOUND)),
    "format 0x0011 with 4 bits": riff(fmt(kind=0x11, bits=4, block=1), (b"data", SOUND)),
    "format 0x0001 with 12 bits": riff(fmt(bits=12, block=2), (b"data", SOUND)),
    "contradicts itself: 0 channels": riff(fmt(channels=0), (b"data", SOUND)),
    "contradicts itself: 1 channels of 16 bits, in blocks of 3": riff(fmt(block=3), (b"data", SOUND)),
    "contradicts itself: 60000 channels": riff(fmt(channels=60_000, bits=8, block=60_000), (b"data", SOUND)),
    "says 0 samples per second": riff(fmt(rate=0), (b"data", SOUND)),
    "says 4,294,967,295 samples": riff(fmt(rate=2**32 - 1), (b"data", SOUND)),
    "is truncated: its header promises 4,000,000,000": riff(fmt(), (b"data", SOUND, 4_000_000_000)),
    "is truncated": riff(fmt(), (b"data", SOUND[:-1])),
    "has no samples: it lasts 0 s": riff(fmt(), (b"data", b"")),
    "first 1000 chunks": riff(*[(b"JUNK", b"")] * 1001),
    "has the sample nan at 0.001 s": riff(
        fmt(kind=3, bits=32), (b"data", np.array([0] * 16 + [np.nan] + [0] * 99, "<f4").tobytes())
    ),
    "has the sample -inf at 0.000 s": riff(fmt(kind=3, bits=64), (b"data", np.array([-np.inf] * 99, "<f8").tobytes())),
    "whole numbers stored as floats": riff(fmt(kind=3, bits=32), (b"data", np.full(99, 2e4, "<f4").tobytes())),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_a_hostile_file_ends_in_one_paragraph(tmp_path, said):
    (tmp_path / "bad.wav").write_bytes(HOSTILE[said])
    with pytest.raises(DataError, match=f"bad.wav {said}|bad.wav .*{said}") as caught:
        spectrogram(tmp_path / "bad.wav")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_at_all_are_a_bug_of_ours(tmp_path, noise, place):
    good = bytearray(riff(fmt(), (b"data", SOUND)))
    good[place : place + len(noise)] = noise
    (tmp_path / "bad.wav").write_bytes(bytes(good))
    try:
        spectrogram(tmp_path / "bad.wav", size=16)
    except DataError as error:
        said = str(error)
    else:
        said = ""
    assert "\n" not in said


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for name, said in (
        ("none.wav", "cannot be opened: No such file"),
        ("pipe.wav", "a device or a pipe"),
        ("", "Is a directory"),
    ):
        with pytest.raises(DataError, match=said):
            spectrogram(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"rate": None}, ConfigError, "rate is None"),
        ({"rate": 5}, ConfigError, "rate is 5"),
        ({"rate": RATE, "hz": (500, 20)}, ConfigError, "hz is"),
        ({"rate": RATE, "levels": (0, 0)}, ConfigError, "levels is"),
        ({"rate": RATE, "levels": None}, ConfigError, "levels is None"),
        ({"rate": RATE, "hz": 5}, ConfigError, "hz is 5"),
        ({"rate": RATE, "hz": ("a", "b")}, ConfigError, "hz is"),
        ({"rate": "44100"}, ConfigError, "rate is '44100'"),
        ({"rate": RATE, "relative_to": "me"}, ConfigError, "relative_to is 'me'"),
        ({"rate": RATE, "size": 2}, ConfigError, "size is 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        spectrogram(tone(500), **arguments)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0), "no samples"),
        (np.array(["a"]), "expected samples"),
        (np.zeros((2, 2, 2)), "expected samples"),
        (np.array([0.0, np.nan]), "sample nan"),
    ],
)
def test_arrays_that_are_no_sound_are_refused(samples, said):
    with pytest.raises(DataError, match=said):
        spectrogram(samples, rate=RATE)


def write(path, hertz):
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, RATE, (tone(hertz, seconds=0.1) * 32767).astype("<i2"))


def test_a_folder_of_sounds_becomes_the_same_folder_of_pictures(tmp_path):
    for name, hertz in (("low/a.wav", 200), ("low/b.WAV", 300), ("high/a.wav", 3000)):
        write(tmp_path / "in" / name, hertz)
    said = []
    table = render_sounds(tmp_path / "in", tmp_path / "out", size=SIZE, say=said.append)
    assert table.read_text() == "image,label\nhigh/a.png,high\nlow/a.png,low\nlow/b.png,low\n"
    expected = spectrogram(tmp_path / "in/low/b.WAV", size=SIZE)
    assert (read_image(tmp_path / "out/low/b.png") == expected).all()
    write(tmp_path / "in/low/a.wav", 250)
    render_sounds(tmp_path / "in", tmp_path / "out", size=SIZE, say=said.append)
    assert said[-1].endswith("1 drawn, 2 were there already")


def test_a_list_of_sounds_is_labelled_by_a_list(tmp_path):
    write(tmp_path / "a.wav", 200)
    write(tmp_path / "b.wav", 300)
    files = [tmp_path / "a.wav", tmp_path / "b.wav"]
    table = render_sounds(files, tmp_path / "out", labels=["hum", "beep"], size=SIZE, say=str)
    assert table.read_text() == "image,label\nbeep/b.png,beep\nhum/a.png,hum\n"
    for wrong, said in (
        ({"labels": ["hum"]}, "2 sounds but 1 labels"),
        ({"labels": ["../x", "y"]}, "cannot be a folder's name"),
        ({"labels": "xy"}, "`labels` is 'xy'"),
        ({"labels": 5}, "`labels` is 5"),
    ):
        with pytest.raises(DataError, match=said):
            render_sounds(files, tmp_path / "other", **wrong)


def test_bad_sounds_are_named_and_the_others_are_drawn(tmp_path):
    write(tmp_path / "in/x/a.wav", 200)
    (tmp_path / "in/x/b.wav").write_bytes(HOSTILE["is truncated"])
    (tmp_path / "in/x/c.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 3 pictures could not be drawn: .*b\.wav is truncated.*c\.wav is empty"):
        render_sounds(tmp_path / "in", tmp_path / "out", size=SIZE, say=str)
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["a.png"]
    table = render_sounds(tmp_path / "in", tmp_path / "out", size=SIZE, leave_out_bad=True, say=str)
    assert table.read_text() == "image,label\nx/a.png,x\n"


def test_what_is_no_folder_of_sounds_is_said(tmp_path):
    (tmp_path / "none").mkdir()
    odd = ((None, "`sounds` is None"), ([None], "`sounds` is"), (5, "`sounds` is 5"))
    for sounds, said in (
        (tmp_path / "none", "has no sounds"),
        (tmp_path / "gone", "is no folder"),
        ([], "is empty"),
        *odd,
    ):
        with pytest.raises(DataError, match=said):
            render_sounds(sounds, tmp_path / "out")
    with pytest.raises(DataError, match="folder of their own"):
        render_sounds(tmp_path / "none", tmp_path / "none")


def test_a_picture_of_somebody_else_is_not_replaced(tmp_path):
    write(tmp_path / "in/x/a.wav", 200)
    (tmp_path / "out/x").mkdir(parents=True)
    (tmp_path / "out/x/a.png").write_bytes(b"mine")
    with pytest.raises(DataError, match="1 of the 1 pictures would replace files that this function did not draw"):
        render_sounds(tmp_path / "in", tmp_path / "out", size=SIZE, say=str)
    assert (tmp_path / "out/x/a.png").read_bytes() == b"mine"
