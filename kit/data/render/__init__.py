"""Render: things that are not pictures become pictures, so that a network for pictures can be tried on them.

| takes | gives | module |
| --- | --- | --- |
| a table of pointer events | a trace: speed as colour, clicks as dots | `strokes` |
| a WAV file, or samples | a spectrogram: time to the right, frequency upwards, loudness as colour | `sound` |
| many of either | a folder of PNG files and a CSV of their labels | `events`, `sounds` |

A picture keeps what its maker thought of and drops the rest: say what is drawn, and hold the scale still from one
picture to the next. Here every colour, row and column means the same in each picture of a call.
"""

from kit.data.render.events import render_events
from kit.data.render.sound import row_frequencies, spectrogram
from kit.data.render.sounds import render_sounds
from kit.data.render.strokes import draw_events, speed_colours

__all__ = ["draw_events", "render_events", "render_sounds", "row_frequencies", "spectrogram", "speed_colours"]
