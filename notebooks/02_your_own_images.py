# %% [markdown]
# # Your own images
#
# fast.ai's second lesson begins with a search for pictures in a browser, and ends with a classifier. This notebook goes
# that way: from what the browser has saved, by images collected politely and checked for faults, to a network, to the
# labels that it doubts, and to a folder that somebody else can use.
#
# So that it runs anywhere, a small web server on this machine takes the place of the web. It shows photographs of
# three breeds where `KIT_MIRROR` names a folder with `oxford-pets/` in it, and drawings of cloth otherwise. About half
# a minute on two cores.

# %%
import json
import os
import shutil
import tarfile
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

import kit
from kit.judge.predict import join_folds
from kit.judge.suspicious import suspicious_labels
from kit.scrape.collector import Limits
from kit.scrape.scrape import collect, write_near_duplicates
from kit.store.decode import central_square, read_image


def quiet(line: str) -> None:
    """Say nothing."""


work = Path(tempfile.mkdtemp())
EACH = 40  # images of a class

# %% [markdown]
# ## What stands on the web
#
# Forty pictures of each of three classes, under names that say nothing. A few things are as they are on the web: an
# address that is gone, a page where a picture should be, one picture under two searches, a smaller copy of another,
# and two that a search shows for the wrong word.


# %%
def photographs() -> dict[str, list[bytes]]:
    """Return breed -> JPEG files of photographs."""
    breeds = ("Bengal", "havanese", "pomeranian")
    found: dict[str, list[bytes]] = {breed: [] for breed in breeds}
    with tarfile.open(pets) as bundle:
        for member in sorted(bundle.getmembers(), key=lambda member: member.name):
            breed = Path(member.name).name.rpartition("_")[0]
            if breed in found and len(found[breed]) < EACH:
                found[breed].append(bundle.extractfile(member).read())
    return found


def drawings() -> dict[str, list[bytes]]:
    """Return pattern -> JPEG files of made-up cloth: two colours, turned and scaled at random, with folds and grain."""
    rng = np.random.default_rng(1)
    patterns = {
        "stripes": lambda u, v: np.sin(u) > 0,
        "checks": lambda u, v: np.sin(u) * np.sin(v) > 0,
        "dots": lambda u, v: np.sin(u) + np.sin(v) > 0.9,
    }
    y, x = np.mgrid[0:144, 0:192]

    def cloth(name: str) -> bytes:
        angle, scale = rng.uniform(0, np.pi), rng.uniform(3, 7)  # radians; pixels per radian of a wave
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        mask = patterns[name](along / scale, across / scale)[..., None]
        folds = cv2.resize(rng.normal(0, 20, (4, 5)), (192, 144), interpolation=cv2.INTER_CUBIC)[..., None]
        image = np.where(mask, *rng.uniform(20, 235, (2, 3))) + folds + rng.normal(0, 8, (144, 192, 3))
        return cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8))[1].tobytes()

    return {name: [cloth(name) for _ in range(EACH)] for name in patterns}


pets = Path(os.environ.get("KIT_MIRROR", "")) / "oxford-pets" / "pets-trainval.tar"
pictures = photographs() if pets.is_file() else drawings()
first, second, third = pictures

served = work / "served"
served.mkdir()
paths: dict[str, list[str]] = {}
for number, (name, files) in enumerate(pictures.items()):
    paths[name] = [f"/{1000 + 7 * (EACH * number + k)}.jpg" for k in range(len(files))]
    for path, content in zip(paths[name], files, strict=True):
        (served / path[1:]).write_bytes(content)

big = cv2.imdecode(np.frombuffer(pictures[first][0], np.uint8), cv2.IMREAD_COLOR)
cv2.imwrite(str(served / "small.jpg"), cv2.resize(big, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA))
(served / "page.jpg").write_text("<html>No hotlinking, please.</html>")
shown = {
    first: [*paths[first], "/small.jpg", "/gone.jpg"],
    second: [*paths[second][:-2], paths[first][1], "/page.jpg"],
    third: [*paths[third], *paths[second][-2:]],  # the last two: right pictures under the wrong word
}


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing of it."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=served))
threading.Thread(target=web.serve_forever, daemon=True).start()
host = f"127.0.0.1:{web.server_port}"

# %% [markdown]
# ## What the browser saves
#
# The kit asks no search service: their interfaces come and go. The browser has the addresses anyhow. Three ways to get
# at them, and here each class takes another one:
#
# - the results page itself, saved with Ctrl-S as `NAME.html`;
# - the log of what the browser fetched: developer tools, Network, *Save all as HAR*, `NAME.har`;
# - a list of addresses, one a line, from wherever: `NAME.txt`.
#
# The file's name is the class.

# %%
lists = work / "lists"
lists.mkdir()
address = {name: [f"http://{host}{path}" for path in found] for name, found in shown.items()}
links = [f'<a href="/imgres?imgurl={quote(one, safe="")}&amp;h=144"><img src="data:,"></a>' for one in address[first]]
(lists / f"{first}.html").write_text(f"<title>{first} - search</title>\n" + "\n".join(links))
entries = [{"request": {"url": one}, "response": {"content": {"mimeType": "image/jpeg"}}} for one in address[second]]
(lists / f"{second}.har").write_text(json.dumps({"log": {"entries": entries}}))
(lists / f"{third}.txt").write_text("\n".join(address[third]))
for file in sorted(lists.iterdir()):
    print(f"{file.name:16} {file.read_text()[:90]!r} ...")

# %% [markdown]
# ## Collect
#
# Politely: with pauses, as robots.txt says, never the same address twice. And safely: an address list is somebody
# else's text, so hosts inside one's own network are refused unless they are named, as this one has to be. On a command
# line: `kit scrape my-images --urls lists --allow-host 127.0.0.1`.

# %%
polite = Limits(pause_seconds=0, per_host=8, backoff_seconds=0.1)  # it is our own server: no pause
found = collect("my-images", [lists], allow_hosts=[host], limits=polite, say=quiet)
print(pd.Series(found.counts_by_class(), name="images").to_string(), "\n")
print(pd.DataFrame(found.counts(), columns=["status", "reason", "addresses"]).to_string(index=False))

# %% [markdown]
# Every address has a row in `manifest.csv`: what became of it, and why. The picture under two words is kept once, and
# the contradiction is said. Somebody has to look at it.

# %%
for row in found.conflicts:
    print(f"listed as {row.label}, kept as {row.file.partition('/')[0]}")
write_near_duplicates(found)
copies = pd.read_csv(found.manifest.with_name("near_duplicates.csv"))
copies[["kind", "distance", "conflict"]]

# %% [markdown]
# ## Check and fix
#
# The folders name the classes, so `kit.from_folder` is all it takes. It deals three folds; copies are kept together, so
# that a network is never asked about a picture whose copy it has learnt. Of the copy we keep the larger one: the
# smaller is removed, and a later scrape does not bring it back.


# %%
def load() -> kit.Data:
    """Return the images as they lie there now."""
    return kit.from_folder(found.folder, size=96, bs=16, folds=3, name="my-images", say=quiet)


smaller = min((found.folder / path for path in copies.loc[0, ["a", "b"]]), key=lambda path: path.stat().st_size)
smaller.unlink()
data = load()
data

# %%
for finding in data.findings:
    print(f"{finding.severity}: {finding.message[:240]} ...\n")
print(f"{len(data.findings)} found")

# %% [markdown]
# ## Look
#
# Nothing replaces it. These are training images as the network sees them: cropped, mirrored, a little brighter or
# darker, other ones in each epoch.

# %%
data.show_batch(rows=3, figsize=(7, 7.6))

# %% [markdown]
# ## Train
#
# With pretrained weights, if they can be found: a small network that knows many things, and a new head for our three
# classes. Eighty pictures are enough for that. Without them, a network from scratch, which needs more epochs and gets
# less far.


# %%
def learner(data: kit.Data) -> kit.Learner:
    """Return a network on some data, with pretrained weights where there are any."""
    try:
        return kit.Learner(data, "tf_efficientnet_lite0", metrics=["error_rate"])
    except kit.KitError as error:
        print(str(error).partition(". ")[0])
        return kit.Learner(data, "resnet10t", weights=None, metrics=["error_rate"])


def train(learn: kit.Learner) -> kit.Learner:
    """Train the head alone where the body is pretrained, everything otherwise."""
    learn.fit_one_cycle(6 if learn.frozen else 12, 6e-3)
    return learn


learn = train(learner(data))

# %% [markdown]
# ## Where is it wrong?
#
# The pictures with the largest loss are its worst mistakes, or ours.

# %%
interp = learn.interpret()
interp.plot_top_losses(6, figsize=(8, 7))

# %%
interp.plot_confusion_matrix(figsize=(5, 5))

# %% [markdown]
# ## Labels that the networks doubt
#
# One network has only been asked about a third of the images. Three of them, one for each fold, have been asked about
# all, each image by a network that never saw it. Where they are sure of another class than ours, we look again
# (confident learning, by the library cleanlab).

# %%
others = [train(learner(data.fold(k))) for k in (1, 2)]
answers = join_folds([one.answers() for one in (learn, *others)])
doubted = suspicious_labels(answers)
doubted.head(6).drop(columns="rank").round(3)


# %%
path_of = dict(zip(data.plan.train["image_id"], data.plan.train["path"], strict=True))


def image_of(image_id: str) -> np.ndarray:
    """Return the middle of an image, (160, 160, 3)."""
    return central_square(read_image(data.path / path_of[image_id]), 160)


few = doubted.head(4)
figure, axes = plt.subplots(1, 4, figsize=(8, 2.9))
for axis, row in zip(axes, few.itertuples(), strict=False):
    axis.imshow(image_of(row.image_id))
    axis.set_title(f"labelled\n{row.label}\nrather {row.suggested}?", fontsize=11)
for axis in axes:
    axis.axis("off")
figure.tight_layout()
plt.show()

# %% [markdown]
# We put two pictures under the wrong word above, and one under two words, so this time we know the answer, and can
# count how many of them are on the list. With your own images you have to look: a doubt is a reason to look, and no
# verdict.

# %%
by_content = {content: name for name, files in pictures.items() for content in files}
label_of = dict(zip(answers.image_ids, answers.labels, strict=True))
truth = {one: by_content.get((data.path / path).read_bytes(), label_of[one]) for one, path in path_of.items()}
wrong = [one for one in path_of if truth[one] != label_of[one]]
on_list = doubted["image_id"].isin(wrong).sum()
print(f"{len(wrong)} labels are wrong; the list of {len(doubted)} has {on_list} of them")

# %% [markdown]
# A picture in the wrong folder is mended by moving it. Then once more, with better labels:

# %%
for image_id in set(doubted["image_id"]) & set(wrong):
    shutil.move(data.path / path_of[image_id], data.path / truth[image_id])
data = load()
learn = train(learner(data))
error = learn.validate()["error_rate"]
print(f"{error:.1%} of {len(data.valid)} held-out images are wrong now")

# %% [markdown]
# So few images make a rough measure: one picture more or less is two or three percent. That is the honest end of most
# first evenings with one's own images: collect more, look again.
#
# ## Give it to somebody
#
# An exported folder stands alone: weights, classes, sizes. `kit predict FOLDER pictures/` asks it, here or elsewhere.
# The network in this notebook answers as well:

# %%
folder = learn.export(work / "exported")
print(sorted(file.name for file in Path(folder).iterdir()))
name, index, probabilities = learn.predict(served / paths[second][0][1:])
print(f"{name}: {probabilities[index]:.2f} (it was found as {second})")

# %%
web.shutdown()
web.server_close()
