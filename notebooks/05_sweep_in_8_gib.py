# %% [markdown]
# # A sweep in 8 GiB
#
# Two questions of everyone who trains on a card of their own: does it fit, and would other settings be better? The
# first has an answer before anything is trained. The second has one after a sweep, if the sweep is honest about what
# it can know.
#
# It all runs on a CPU, in about a minute: memory is worked out by tracing shapes, so that no GPU is needed, and the
# sweep is of the scanned digits.

# %%
import tempfile
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from kit.fit.limits import parse_memory
from kit.fit.report import report_of
from kit.tune.conclude import conclude, write_result
from kit.tune.final_run import run_final
from kit.tune.finals import final_comparison
from kit.tune.result import study_result, winner_recipe
from kit.tune.study import settings_of
from kit.tune.tune import Order, sweep


def quiet(line: str) -> None:
    """Say nothing."""


# %% [markdown]
# ## Does it fit?
#
# fast.ai's first lesson, in its edition of 2019, trains a ResNet-50 on squares of 320 pixels and says: if the card has
# 11 GB, take a smaller batch than 64. Why, and how much smaller? On a command line the question is
# `kit fit resnet50 --size 320 --memory 11GiB --device cuda --amp none --batch-size 64`.

# %%
CARD = parse_memory("11GiB")


def asked(batch_size: int, *, amp: str = "none", memory: int = CARD):
    """Return what `kit fit` says of the lesson's network and so many images."""
    return report_of(
        "resnet50", image_size=320, memory=memory, device="cuda", amp=amp, batch_size=batch_size, num_classes=37
    )


for batch_size in (64, 32):
    print(asked(batch_size).sentence, "\n")

# %% [markdown]
# So 64 images do not fit, and 32 do. (If 64 are wanted all the same, two portions of 32 give the same gradient: that
# is what `micro_batch` is for.) Where does it all go? A network's weights are the smallest part. What counts is what
# the forward pass must keep of every image until the backward pass has used it.

# %%
report = asked(32)
parts = pd.DataFrame(
    [(name, fixed / 2**30, each * report.micro_batch / 2**30) for name, (fixed, each) in report.parts.items()],
    columns=["part", "for any batch, GiB", "for 32 images, GiB"],
).set_index("part")
parts[parts.sum(axis=1) > 0].round(2)

# %% [markdown]
# Drawn for every batch, in whole precision as in the lesson, and in the mixed one that newer cards have (`bf16`).
# The lower grey line is the card of 8 GiB that gives this notebook its name.

# %%
batches = list(range(4, 97, 4))
figure, axis = plt.subplots(figsize=(7, 3.8))
for amp, name, colour in (("none", "fp32", "#0072B2"), ("bf16", "bf16", "#E69F00")):
    taken = [asked(batch, amp=amp, memory=parse_memory("64GiB")).whole / 2**30 for batch in batches]
    axis.plot(batches, taken, color=colour, linewidth=2.5)
    axis.annotate(name, (batches[-1], taken[-1]), xytext=(6, 0), textcoords="offset points", va="center", fontsize=11)
for limit in (8, 11):
    axis.axhline(limit, color="#666666", linewidth=1, linestyle="--")
    axis.annotate(f"{limit} GiB", (4, limit), xytext=(0, 3), textcoords="offset points", fontsize=11, color="#444444")
axis.set(xlabel="images at once", ylabel="GiB", xlim=(0, 108), ylim=(0, None), xticks=range(0, 97, 16))
axis.set_title("ResNet-50 at 320 pixels: memory of a training step", fontsize=12, loc="left")
figure.tight_layout()
plt.show()

# %% [markdown]
# The numbers are predictions: tensors that the traced step makes, and what CUDA itself takes. `kit fit --measure`
# takes three real steps where there is a card, and keeps what they tell.
#
# ## Would other settings be better?
#
# A recipe is a file. Its table `[tune]` says what a sweep may try: here the learning rate and the size of a batch. The
# recipe begins with a rate that is far too small, so that there is something to find: a sweep from good settings often
# finds nothing, and should say so.

# %%
recipe = Path(tempfile.mkdtemp()) / "timid.toml"
recipe.write_text("""\
num_folds = 4

[model]
name = "resnet10t"
weights = "none"

[input]
image_size = 24
store_size = 24
test_crop = 1.0

[augment]
smallest_crop = 0.75
mirror = false

[schedule]
frozen_epochs = 0
epochs = 2
lr = 3e-4
lr_spread = 1
batch_size = 32

[tune]
schedule.lr = {low = 1e-4, high = 3e-2, log = true}
schedule.batch_size = {choices = [16, 32, 64]}
""")
print(recipe.name)

# %% [markdown]
# Every trial trains on three of four folds of the first half of the digits and is judged on the fourth. Nobody looks
# at the second half. The limits are of the kind that one has: five trials, three minutes (less than one is needed, if
# the machine has nothing else to do), 8 GiB. What would not fit is not started, and trials that fall behind are ended
# early. `kit tune digits --trials 5 --budget 3m --memory 8GiB` does the same.

# %%
order = Order(
    slug="digits",
    num_trials=5,
    budget_seconds=180,
    memory=parse_memory("8GiB"),
    recipe=str(recipe),
    protocol="sklearn-half",
    name="timid",
)
swept = sweep(order, say=quiet)
metric = swept.plan.protocol.metric
result = conclude(swept.place, swept.study, metric=metric, compare=False, say=quiet)
shown = [
    (row.number, row.ended, row.drawn["schedule.lr"], row.drawn["schedule.batch_size"], row.error, row.peak_gib)
    for row in result.trials
    if row.error is not None
]
columns = ["trial", "ended", "learning rate", "batch", "error", "peak, GiB"]
pd.DataFrame(shown, columns=columns).set_index("trial").round(4)

# %%
colours = {16: ("#0072B2", "o"), 32: ("#E69F00", "s"), 64: ("#009E73", "^")}
figure, axis = plt.subplots(figsize=(7, 3.4))
for batch, (colour, mark) in colours.items():
    rows = [row for row in result.trials if row.error is not None and row.drawn["schedule.batch_size"] == batch]
    if rows:
        rates = [row.drawn["schedule.lr"] for row in rows]
        errors = [row.error for row in rows]
        axis.scatter(rates, errors, s=70, color=colour, marker=mark, label=f"{batch} images")
for row in result.trials:
    if row.is_untuned and row.error is not None:
        at = (row.drawn["schedule.lr"], row.error)
        axis.annotate("untuned", at, xytext=(8, 0), textcoords="offset points", va="center", fontsize=11)
axis.set(xscale="log", xlabel="learning rate", ylabel="error on the held-out fold", xlim=(8e-5, 4e-2))
axis.margins(y=0.15)
axis.legend(title="a batch")
figure.tight_layout()
plt.show()

# %% [markdown]
# ## Did tuning help?
#
# The best of a few looks better than it is: it was picked because it looked good, and luck has a part in that. So its
# own score proves nothing. The winner and the untuned recipe are trained once more, with new seeds, on folds that are
# dealt anew, and their answers are compared image by image. (`kit tune` does so by itself, with three seeds; here two
# will do.)

# %%
settings = settings_of(swept.study)
tuned = winner_recipe(settings, swept.study.get_trials(deepcopy=False))
comparison = final_comparison(swept.place, settings, tuned, metric=metric, num_seeds=2, run=run_final, say=quiet)
result = study_result(swept.place, settings, swept.study, metric=metric, comparison=comparison)
files = write_result(swept.place, result)
print(comparison.verdict)

# %% [markdown]
# The sentence says "helped" only where the interval leaves out zero. Drawn:

# %%
difference = comparison.difference
if difference is not None:  # None: the untuned recipe itself was the best, and there was nothing to compare
    figure, axis = plt.subplots(figsize=(7, 1.7))
    axis.axvline(0, color="#666666", linewidth=1, linestyle="--")
    axis.plot([difference.low, difference.high], [0, 0], color="#0072B2", linewidth=3, solid_capstyle="butt")
    axis.plot(difference.mean, 0, "o", color="#0072B2", markersize=9)
    axis.set(xlabel="accuracy, tuned minus untuned (95 % interval)", yticks=[], ylim=(-1, 1))
    axis.margins(x=0.1)
    for side in ("left", "right", "top"):
        axis.spines[side].set_visible(False)
    figure.tight_layout()
    plt.show()

# %% [markdown]
# What the sweep leaves behind: the winner's recipe, all numbers as JSON, and a page that stands alone.

# %%
for file in files:
    print(file.name)
print(files[0].read_text()[:900])
