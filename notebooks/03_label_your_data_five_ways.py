# %% [markdown]
# # Label your data, five ways
#
# A classifier learns from images and a label for each. Where the labels are depends on who collected the images: in
# the folders, in the file names, in a table, in somebody's head, or in a program. There are five functions for these
# five cases, named as in fast.ai's first lesson. All of them return the same kind of `Data`, and this notebook shows
# that they return the very same one.
#
# The images are threes and sevens written by hand: fast.ai's MNIST sample, if `KIT_MIRROR` names a folder that has
# it in `mnist-sample/`; otherwise the threes and sevens of scikit-learn's scanned digits, written as files in the same
# layout. Either way 360 are taken, so that all runs in less than a minute on two cores.

# %%
import os
import random
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import kit
from kit.data.pixels import write_images

NUM_TRAIN, NUM_VALID = 140, 40  # of each digit
mirror = Path(os.environ.pop("KIT_MIRROR", "")) / "mnist-sample" / "mnist_sample.tgz"
path = Path(tempfile.mkdtemp()) / "mnist_sample"


def unpack_sample() -> None:
    """Unpack some images of each digit from fast.ai's layout."""
    with tarfile.open(mirror) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        for part, number in (("train", NUM_TRAIN), ("valid", NUM_VALID)):
            for digit in "37":
                below = f"mnist_sample/{part}/{digit}/"
                found = [one for one in members if one.isfile() and one.name.startswith(below)]
                chosen = random.Random(1).sample(found, number)
                archive.extractall(path.parent, members=chosen, filter="data")


def write_digits() -> None:
    """Write scikit-learn's threes and sevens, 8 pixels a side and enlarged to 28, in the same layout."""
    import cv2
    from sklearn.datasets import load_digits

    digits = load_digits()
    for digit in (3, 7):
        small = digits.images[digits.target == digit][: NUM_TRAIN + NUM_VALID]
        images = np.stack([cv2.resize((image * 15.9).astype(np.uint8), (28, 28)) for image in small])
        names = [f"{'train' if k < NUM_TRAIN else 'valid'}/{digit}/{k}.png" for k in range(len(images))]
        write_images(path, images, names)


if mirror.is_file():
    unpack_sample()
else:
    write_digits()
files = sorted(path.rglob("*.png"))
print(f"{'MNIST' if mirror.is_file() else 'scikit-learn digits'}: {len(files)} images, such as")
for file in files[:2] + files[-2:]:
    print("   ", file.relative_to(path))

# %% [markdown]
# ## 1. By folder
#
# The label is the name of the folder that an image lies in. Here are also folders called `train` and `valid`: somebody
# has decided what to hold out. `from_folder` takes that over, as fast.ai does, unless it is told a share of its own.
#
# A digit must not be mirrored, and half a seven is a one: `augment` is told so. `say` takes the lines that tell what is
# done; here they are left out, because they are the same five times.


# %%
def quiet(line: str) -> None:
    """Say nothing."""


settings = {"size": 28, "bs": 32, "overrides": ["augment.mirror=false", "augment.smallest_crop=0.8"], "say": quiet}
as_given = kit.from_folder(path, **settings)
print(len(as_given.train), "train,", len(as_given.valid), "are held out; classes", as_given.classes)

# %% [markdown]
# For the comparison with the four other ways, all of which know nothing of those two folders, let each hold out a fifth
# of the images. Which fifth, the seed decides, and the files' names and contents; not the way they were labelled.

# %%
settings |= {"valid_pct": 0.2, "seed": 42}
ways = {"from_folder": kit.from_folder(path, **settings)}
ways["from_folder"].show_batch(rows=3)

# %% [markdown]
# ## 2. By a regular expression over the path
#
# The part in brackets is the label. `(?P<label>...)` says so by name, if there are several brackets.

# %%
ways["from_name_re"] = kit.from_name_re(path, r"/(\d)/\d+\.png$", **settings)

# %% [markdown]
# ## 3. By a table
#
# A CSV file with a row for each image: the first column names it, the second has the label. (Other columns are chosen
# with `image_column` and `label_column`; what all names have in common goes into `folder` and `suffix`.) One such file
# is made here.

# %%
rows = [(file.relative_to(path).as_posix(), file.parent.name) for file in files]
pd.DataFrame(rows, columns=["name", "label"]).to_csv(path / "labels.csv", index=False)
print((path / "labels.csv").read_text()[:66] + "...")
ways["from_csv"] = kit.from_csv(path, "labels.csv", **settings)

# %% [markdown]
# ## 4. By a function
#
# It takes an image's path and returns its label. Whatever Python can find out is possible.

# %%
ways["from_name_func"] = kit.from_name_func(path, lambda file: "7" if "7" in file.parts[-2] else "3", **settings)

# %% [markdown]
# ## 5. By two lists
#
# Paths in one, labels in the other, in the same order: for labels that are in memory already.

# %%
labels = [file.parent.name for file in files]
ways["from_lists"] = kit.from_lists(files, labels, path=path, **settings)

# %% [markdown]
# ## The same table
#
# What comes out is a table with a row for each image: its id, its file, its label, the fold it was dealt into. The
# label stands in it, and so does a checksum of the file, so that a table says which pixels it is about.

# %%
columns = ["image_id", "path", "label", "fold"]
first = ways["from_folder"]
first.valid[columns].head()

# %%
for name, data in ways.items():
    assert data.train.equals(first.train) and data.valid.equals(first.valid)
    print(f"{name:15} {len(data.train)} train, {len(data.valid)} are held out, first {data.valid['path'].iloc[0]}")

# %% [markdown]
# The same images, labels and folds, five times: `equals` compared every cell.
#
# ## What is held out
#
# `valid_pct=0.2` deals five folds and holds one of them out; `valid_pct=0.3` deals ten and holds out three. Folds are
# dealt, rather than images drawn: each has its share of each class, and copies of an image stay together.

# %%
for share in (0.1, 0.3, 0.5):
    data = kit.from_folder(path, **settings | {"valid_pct": share})
    counts = ", ".join(f"{count} of {label}" for label, count in sorted(data.valid["label"].value_counts().items()))
    print(f"valid_pct={share}: {len(data.valid)} of {len(data)} are held out: {counts}")

# %% [markdown]
# Sometimes images belong together: all pictures of one patient, all frames of one film. A network that has seen one of
# them knows something of the others, and a score on these flatters it. `group` keeps them in one fold. Suppose that
# numbers which end alike are from one writer (they are not; it is to show how it is said):

# %%
grouped = kit.from_folder(path, group=r"(?P<group>\d)\.png$", **settings)
for name, table in (("train", grouped.train), ("held out", grouped.valid)):
    print(f"{name:9} has the writers", ", ".join(sorted(table["group"].unique())))
assert not set(grouped.train["group"]) & set(grouped.valid["group"])

# %% [markdown]
# ## When it goes wrong
#
# Labels are where most projects go wrong first, and a wrong label is not seen in any loss. So each mistake that can be
# noticed ends here, in a paragraph: what, where, and what to do. One of each kind:

# %%
plain = {"size": 28, "say": quiet}
mistakes = {
    "the images lie in no folder of a class": lambda: kit.from_folder(path / "train" / "3", **plain),
    "the pattern fits none": lambda: kit.from_name_re(path, r"_(\d)\.jpg$", **plain),
    "the pattern marks no label": lambda: kit.from_name_re(path, r"\d+", **plain),
    "a column that is not there": lambda: kit.from_csv(path, label_column="digit", **plain),
    "the function stumbles": lambda: kit.from_name_func(path, lambda file: file.parts[99], **plain),
    "a label is missing": lambda: kit.from_lists(files, labels[:-1], **plain),
    "all are held out": lambda: kit.from_lists(files, labels, valid_pct=1.0, **plain),
}
for name, mistake in mistakes.items():
    try:
        mistake()
    except kit.KitError as error:
        print(f"{name.upper()}\n{str(error).replace(str(path), 'mnist_sample')}\n")
    else:
        raise AssertionError(f"{name}: nothing was said")

# %% [markdown]
# ## A short training
#
# To see that the table is good for something: a small network, from random weights (there is little that photographs
# could have taught it about digits), six epochs.

# %%
learn = kit.Learner(first, "resnet10t", weights=None, metrics=["accuracy"])
learn.fit_one_cycle(6, max_lr=3e-3)
learn.plot_losses()

# %% [markdown]
# The answers it was most wrong about. The title of each: predicted, actual, loss, and the probability it gave to the
# actual class.

# %%
interpretation = learn.interpret()
interpretation.plot_top_losses(6, figsize=(9, 8))

# %%
interpretation.plot_confusion_matrix(figsize=(5, 4))

# %% [markdown]
# Seventy-two held-out images say little about tenths of a per cent: one more mistake is 1.4 per cent. What this
# notebook is about was settled before any training: five doors, one table.
