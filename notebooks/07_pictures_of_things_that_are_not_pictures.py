# %% [markdown]
# # Pictures of things that are not pictures
#
# A network that tells pictures apart can tell apart whatever can be drawn. Somebody drew how visitors of a bank's pages
# moved their mouse, and found fraud in the drawings; others draw sounds, and find birds. The art is in the drawing:
# what matters must be seen in it, and must look the same whenever it is the same.
#
# `kit.data.render` makes such drawings: of tables of events, and of WAV files. This notebook generates both, so that it
# can show the whole way without anybody's private data. **What it generates is made up.** Its scores say that the way
# works; they say nothing of how well real robots or real birds are told apart. On two cores it takes about a minute.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from scipy.io import wavfile

import kit
from kit.data.render import draw_events, render_events, render_sounds, row_frequencies, spectrogram, speed_colours

random = np.random.default_rng(7)
folder = Path(tempfile.mkdtemp())
SIZE = 96  # pixels


def quiet(line: str) -> None:
    """Say nothing."""


# %% [markdown]
# ## A mouse, moved by people and by programs
#
# A hand starts slowly, is fastest in the middle and slows down before it arrives; Flash and Hogan (1985) found the
# curve that makes the jerk smallest, and it is used here. A hand also misses, and corrects itself; it wanders about
# while its owner reads. A simple program goes straight, at one speed. A cunning one has read the same paper: it goes
# along curves and slows down. But it never misses. Each person and each program has habits of its own.

# %%
SCREEN = (800, 600)  # pixels: a page in a window


def person_or_program(kind: str) -> dict[str, float]:
    """Draw the habits of one person, or of one program."""
    person = kind == "person"
    smooth = person or random.random() < 0.5
    return {
        "speed": random.uniform(350, 900),  # pixels per second, on average over a movement
        "curve": random.uniform(0.03, 0.15) if smooth else 0.0,  # of the distance, to one side
        "smooth": float(smooth),  # slow at both ends
        "miss": random.uniform(0.08, 0.22) if person else 0.0,  # of the distance
        "wander": random.uniform(0.15, 0.6) if person else 0.0,  # how often
        "rest": random.uniform(0.1, 0.5) if smooth else 0.05,  # seconds
    }


def stops(here: np.ndarray, target: np.ndarray, habits: dict[str, float]) -> list[np.ndarray]:
    """Return the places that the mouse comes to on its way, the last of which is the target."""
    found = []
    if random.random() < habits["wander"]:
        found += [here + random.normal(0, 35, 2) for _ in range(3)]
    if habits["miss"]:
        way = target - here
        aside = random.normal(0, habits["miss"] / 2 + 0.02, 2) * np.hypot(*way)
        found.append(target + aside + way * random.uniform(-1, 1) * habits["miss"])
    return [*found, target]


def session(habits: dict[str, float]) -> pd.DataFrame:
    """Move to five targets in turn, and click on each."""
    here, now, rows = random.uniform((100, 100), (700, 500)), 0.0, []
    for _ in range(5):
        target = random.uniform((60, 60), (740, 540))
        while np.hypot(*(target - here)) < 150:
            target = random.uniform((60, 60), (740, 540))
        for stop in stops(here, target, habits):
            way = stop - here
            seconds = np.hypot(*way) / habits["speed"] + 0.12 * habits["smooth"] + 0.01
            share = np.linspace(0, 1, max(4, int(seconds * 60)))  # 60 events a second
            along = share + habits["smooth"] * (share**3 * (10 - 15 * share + 6 * share**2) - share)
            bow = np.sin(np.pi * along) * habits["curve"] * random.choice([-1, 1]) * random.uniform(0.4, 1)
            points = here + along[:, None] * way + bow[:, None] * np.array([-way[1], way[0]])
            rows += [(x, y, now + t, False) for (x, y), t in zip(points, share * seconds, strict=True)]
            here, now = stop, now + seconds
        now += habits["rest"] * random.uniform(0.5, 1.5)
        rows.append((*here, now, True))
    table = pd.DataFrame(rows, columns=["x", "y", "t", "click"])
    return table.assign(x=table["x"].clip(0, SCREEN[0] - 1), y=table["y"].clip(0, SCREEN[1] - 1))


tables = []
for kind in ("person", "program"):
    for number in range(14):
        habits = person_or_program(kind)
        tables += [
            session(habits).assign(session=f"{kind}-{number:02d}-{k}", label=kind, who=f"{kind} {number}")
            for k in range(12)
        ]
events = pd.concat(tables, ignore_index=True)
print(f"{len(tables)} sessions, {len(events):,} events")
events.head(3)

# %% [markdown]
# ## Drawn
#
# The colour is the speed, from dark (50 pixels per second) to light (5,000); clicks are white dots. The scale is the
# same in every drawing, and so is the screen: a trace in the lower left corner is drawn there. If each were scaled to
# fill its picture, a small movement would look like a large one.

# %%
shown = [tables[12 * number] for number in (0, 3, 7, 11, 14, 17, 21, 25)]
figure, axes = plt.subplots(2, 4, figsize=(10, 5.6), layout="constrained")
for axis, table in zip(axes.flat, shown, strict=True):
    axis.imshow(draw_events(table, screen=SCREEN))
    axis.set_title(table["who"].iloc[0], fontsize=12)
    axis.axis("off")
speeds = np.geomspace(50, 5000, 256)
colours = ScalarMappable(LogNorm(50, 5000), ListedColormap(speed_colours(speeds) / 255))
bar = figure.colorbar(colours, ax=axes, location="bottom", shrink=0.6, aspect=40)
bar.set_ticks([50, 100, 200, 500, 1000, 2000, 5000], labels=["50", "100", "200", "500", "1,000", "2,000", "5,000"])
bar.ax.tick_params(labelsize=11)
bar.set_label("speed of the mouse, pixels per second", fontsize=12)
plt.show()

# %% [markdown]
# `render_events` draws all of them, several at a time. A second call draws what is new or changed, and nothing else;
# beside the pictures it leaves a table of their labels.

# %%
said = []
settings = {"keep": ["who"], "size": SIZE, "screen": SCREEN, "say": said.append}
render_events(events, folder / "mouse", **settings)
labels = render_events(events, folder / "mouse", **settings)
print("\n".join(line.split(": ")[-1] for line in said))
pd.read_csv(labels).head(3)

# %% [markdown]
# ## From here on it is a folder of pictures
#
# Two things are not as with photographs. Colours have a meaning, and so have places: brightness and contrast stay as
# they are, nothing is mirrored, and little is cut off. And twelve sessions are of one person: if some of them were held
# out and the others learned from, the network might learn to recognise the person. `group="who"` keeps them together,
# so that the score is of people and programs that it never saw. The network is a tiny one, with random weights.

# %%
drawings = ["augment.mirror=false", "augment.brightness=0", "augment.contrast=0", "augment.smallest_crop=0.8"]
data = kit.from_csv(folder / "mouse", group="who", size=SIZE, bs=16, overrides=drawings, say=quiet)
print(len(data.train), "train;", len(data.valid), "are held out, of", ", ".join(sorted(data.valid["group"].unique())))
data.show_batch(rows=2)

# %%
learn = kit.Learner(data, "test_resnet", weights=None, metrics=["accuracy"])
learn.fit_one_cycle(12, max_lr=2e-3)
learn.plot_losses()

# %% [markdown]
# While the learning rate is high, the held-out loss jumps about; it settles as the rate falls.
#
# ## Look at the mistakes
#
# What the network was most wrong about; the last number of each is the probability that it gave to the truth.

# %%
interpretation = learn.interpret()
interpretation.plot_top_losses(6, figsize=(9, 8))

# %%
interpretation.plot_confusion_matrix(figsize=(5, 4.4))

# %% [markdown]
# Look whose they are: with 28 people and programs in all, and six of them held out, a single odd one moves the score by
# much, and another seed of the folds gives another number. For a real question, record more people rather than more
# sessions of the same ones.
#
# ## Sounds
#
# A spectrogram draws a sound: time to the right, frequency upwards (in mel, which is finer where the ear is), loudness
# as colour, in decibels below the loudest that a file can hold. Three kinds of sound are generated as WAV files, all of
# them in more or less noise: a bell, whose partials are no whole multiples of each other and die away one by one;
# an engine, whose are, and stay; a bird, whose whistle runs up and down.

# %%
RATE = 16_000
time = np.arange(RATE) / RATE  # a second


def bell() -> np.ndarray:
    """Strike a bell at a random moment."""
    since = np.clip(time - random.uniform(0, 0.3), 0, None)
    partials = random.uniform(300, 900) * np.array([0.5, 1, 1.19, 1.56, 2, 2.66, 3.01, 4.1])
    decays = random.uniform(2, 6) * np.arange(1, 9) ** 0.7
    tones = np.sin(2 * np.pi * partials * since[:, None]) * np.exp(-decays * since[:, None])
    return (tones * (since > 0)[:, None] / np.arange(1, 9) ** 0.5).sum(axis=1)


def engine() -> np.ndarray:
    """Let an engine run, a little unevenly."""
    turns = random.uniform(35, 110) * (
        1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.3, 2) * time + random.uniform(0, 6))
    )
    phase = 2 * np.pi * np.cumsum(turns) / RATE
    return sum(np.sin(k * phase + random.uniform(0, 6)) * random.uniform(0.3, 1) / k**0.7 for k in range(1, 25))


def bird() -> np.ndarray:
    """Sing some short notes that rise or fall."""
    song = np.zeros(RATE)
    for begin in np.cumsum(random.uniform(0.09, 0.25, random.integers(3, 8))):
        long = random.uniform(0.04, 0.1)
        share = np.clip((time - begin) / long, 0, 1)
        pitch = random.uniform(2500, 5500) + random.uniform(-1800, 1800) * share
        song += np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.sin(np.pi * share) ** 2
    return song


for name, make in (("bell", bell), ("engine", engine), ("bird", bird)):
    (folder / "sounds" / name).mkdir(parents=True)
    for k in range(60):
        sound = make()
        sound /= np.abs(sound).max()
        noise = random.normal(0, 1, RATE) * 10 ** random.uniform(-2.5, -0.6)
        mixed = (sound + noise) * random.uniform(0.05, 0.25)
        stored = np.clip(mixed * 32767, -32768, 32767).astype(np.int16)
        wavfile.write(folder / "sounds" / name / f"{k:02d}.wav", RATE, stored)

# %%
HZ = (20.0, 8000.0)  # a file of 16,000 samples per second holds nothing above
figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained", sharey=True)
frequencies = row_frequencies(size=224, hz=HZ)
for axis, name in zip(axes, ("bell", "engine", "bird"), strict=True):
    axis.imshow(spectrogram(folder / "sounds" / name / "03.wav", hz=HZ), aspect="auto", extent=(0, 1, 224, 0))
    axis.set_title(name, fontsize=12)
    axis.set_xlabel("seconds", fontsize=12)
    ticks = (100, 500, 1000, 2000, 4000, 7000)
    axis.set_yticks([np.abs(frequencies - hertz).argmin() + 0.5 for hertz in ticks], ticks, fontsize=11)
axes[0].set_ylabel("Hz", fontsize=12)
plt.show()

# %%
render_sounds(folder / "sounds", folder / "spectrograms", hz=HZ, size=SIZE, say=quiet)
data = kit.from_folder(folder / "spectrograms", size=SIZE, bs=16, overrides=drawings, say=quiet)
learn = kit.Learner(data, "test_resnet", weights=None, metrics=["accuracy"])
learn.fit_one_cycle(12, max_lr=2e-3)

# %%
interpretation = learn.interpret()
interpretation.plot_top_losses(3, figsize=(9, 4))

# %%
interpretation.plot_confusion_matrix(figsize=(5.5, 4.6))

# %% [markdown]
# These three are easy: anybody can tell them apart in the drawings, which is the point. If you cannot, draw something
# else before you train something larger.
#
# ## What can go wrong
#
# Each mistake is said in a paragraph, with what to do:

# %%
one = tables[0][["x", "y", "t", "click"]]
(folder / "cut.wav").write_bytes((folder / "sounds/bell/00.wav").read_bytes()[:9000])
mistakes = [
    lambda: draw_events(one.rename(columns={"t": "time"}), name="visit 7"),
    lambda: draw_events(one.iloc[::-1], name="visit 7"),
    lambda: draw_events(one.assign(x=one["x"].where(one.index != 5)), name="visit 7"),
    lambda: draw_events(one, screen=(320, 240), name="visit 7"),
    lambda: spectrogram(folder / "cut.wav", name="cut.wav"),
    lambda: spectrogram(labels, name="labels.csv"),
]
for mistake in mistakes:
    try:
        mistake()
    except kit.KitError as error:
        print(f"{error}\n")

# %% [markdown]
# With tables and recordings of your own, leave the generators out: `render_events(table, "pictures")` wants a table
# with the columns `session`, `label`, `x`, `y`, `t` and `click`; `render_sounds("recordings", "pictures")` a folder
# that has a folder of WAV files for each kind.
