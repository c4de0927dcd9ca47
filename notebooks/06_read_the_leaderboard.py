# %% [markdown]
# # Read the leaderboard
#
# "Ninety-four per cent on pets" is no result yet. Of which images, learned from which others, after seeing what else,
# chosen how, by which metric? A leaderboard that ranks numbers without asking is a list of misunderstandings. This
# notebook reads the kit's own: the results that were published on the Oxford-IIIT Pet images since 2012, our runs
# beside them, and what a score would have been worth on Kaggle. It needs no images and no training: the facts are files
# of the kit, each with its source.

# %%
from collections import Counter

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from kit.board.baselines import effective
from kit.board.compare import compare, load_published, reasons
from kit.board.groups import groups
from kit.board.kaggle_boards import find_board, kaggle_facts
from kit.board.placing import placed_words
from kit.board.records import board_records
from kit.board.site import write_site
from kit.competition import competition_folders
from kit.interpret.drawing import COLOURS, MARKERS, shortened

pd.set_option("display.max_colwidth", 60)
published = load_published("oxford-iiit-pet")
valued = [row for row in published.results if row.value is not None]
print(f"{len(valued)} results, {min(row.year for row in valued)} to {max(row.year for row in valued)}:")
print(", ".join(f"{count} {status}" for status, count in Counter(row.status for row in valued).items()))

# %% [markdown]
# "Verified" means that the number was read in the document that the row names, be it the paper itself or another that
# quotes it. Each row says where it is from:

# %%
row = next(row for row in valued if row.id == "parkhi2012-sa-ihb-gt-flat")
for name, value in (
    ("method", row.method),
    ("value", f"{row.value} ({row.metric})"),
    ("protocol", published.protocols[row.protocol].description),
    ("source", f"{row.source.authors}: {row.source.title}. {row.source.venue}"),
    ("how we know", row.provenance),
):
    print(f"{name:12} {value}")

# %% [markdown]
# ## Which of them may be ranked together
#
# Two results may be, if they do not differ in anything that decides what the number means: test images, metric, what
# was trained on, what the network had seen before, how the recipe was chosen. That makes groups, and there are many.
# The best of the largest:

# %%
found = groups(published, [])
table = pd.DataFrame(
    [(len(group.rows), group.rows[0].value, group.rows[0].year, group.title) for group in found[:8]],
    columns=["results", "best", "in", "of what"],
)
print(f"{len(found)} groups")
with pd.option_context("display.max_colwidth", 150):
    display(table)  # noqa: F821 (the notebook's own)

# %% [markdown]
# So there is no "best result on pets". There is a best one of each question.
#
# ## Progress over the years
#
# All of these were scored on the same 3,669 official test images, and still by two metrics and after seeing very
# different things. A hollow mark is a value that is not verified. Shapes and colours say what a network had seen.

# %%
SEEN = {
    "none": "no other images",
    "imagenet-1k": "ImageNet, 1,000 classes",
    "imagenet-21k": "ImageNet, 21,000 classes",
    "web-or-private": "web or private images",
    "mixed": "several sets",
    None: "not stated",
}
official = [
    row for row in valued if effective(published.protocols[row.protocol], row, "test_images") == "official-test"
]


def draw_progress(width: float, height: float) -> None:
    """Draw the official results over the years."""
    figure, axis = plt.subplots(figsize=(width, height), layout="constrained")
    for number, (group, words) in enumerate(SEEN.items()):
        rows = [row for row in official if row.pretraining_group == group]
        for verified in (True, False):
            some = [row for row in rows if (row.status == "verified") == verified]
            axis.scatter(
                [row.year + 0.1 * (number - 2) for row in some],
                [100 * row.value for row in some],
                s=52,
                marker=MARKERS[number],
                facecolors=COLOURS[number] if verified else "none",
                edgecolors=COLOURS[number],
                linewidths=1.5,
            )
        axis.scatter([], [], s=52, marker=MARKERS[number], color=COLOURS[number], label=f"{words} ({len(rows)})")
    axis.set_xlabel("year of publication", fontsize=12)
    axis.set_ylabel("accuracy, %, of images or of classes", fontsize=12)
    axis.set_ylim(0, 102)
    axis.tick_params(labelsize=11)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2 if width > 7 else 1, frameon=False, fontsize=11)
    plt.show()


draw_progress(9, 5.4)

# %% [markdown]
# The step is between 2012 and 2015: features that a network had learned from ImageNet, in place of features that people
# had designed. The low marks of 2019 are no step back: they are networks that had seen nothing else, and some of them
# only 1,000 photographs. Since 2021 the best verified ones lie within a per cent of each other. How much of that is
# chance?

# %%
best = max((row for row in official if row.status == "verified"), key=lambda row: row.value)
share = 1.96 * np.sqrt(best.value * (1 - best.value) / 3669)
print(f"{best.method} ({best.year}): {best.value:.2%}. By chance of 3,669 images alone, plus or minus {share:.2%}.")

# %% [markdown]
# ## A run of ours beside them
#
# The kit keeps a record of each run. This one fine-tuned a small network on a part of the images, the part that could
# be had without a download: 1,589 to learn from and 1,341 to be scored on, out of 3,680 and 3,669.

# %%
record = [one for one in board_records() if one.competition == "pets" and one.network["pretraining_group"] != "none"][
    -1
]
result = record.results[0]
for name, value in (
    ("run", record.run_id),
    ("network", f"{record.network['name']}, {record.network['num_parameters']:,} parameters"),
    ("cost", f"{record.cost['train_minutes']:.1f} minutes on {record.cost['device']}"),
    ("commit", record.commit),
    *((metric, value) for metric, value in result.scores.items()),
):
    print(f"{name:25} {value}")

# %% [markdown]
# Better than 2012, then? The kit does not say so, and gives its reasons, the nearest rows first:

# %%
rows = compare(result, published)
print(Counter(row.verdict for row in rows))
for why, refused in reasons(rows)[:2]:
    print(f"\n{len(refused)} rows, such as {shortened(refused[0].published.method, 60)} ({refused[0].published.year}):")
    for difference in why.split("; "):
        print("   ", difference)

# %% [markdown]
# The photographs are a part of the test images, and nobody says that it is as hard as the whole. With all of them in
# place the same command compares with a verdict, an interval and a p-value; with these it says what is missing.
#
# The board as pages, to open in a browser, with this run's own page:

# %%
folders = competition_folders()
site = write_site(competitions={"pets": folders["pets"]})
page = site.pages["pets"]
print(page.relative_to(page.parents[2]))
print(*sorted(path.relative_to(page.parent).as_posix() for path in page.parent.rglob("pets*/*.html")), sep="\n")

# %% [markdown]
# ## What a score was worth on Kaggle
#
# Kaggle gives medals by rank, and the ranks that get one depend on the number of teams. These are final boards as they
# were; "as if" where a competition was for practice and gave none.

# %%
lines = []
for slug in kaggle_facts():
    board = find_board(slug)
    if board is not None and board.medals is not None:
        ranks = board.medals
        scores = [str(board.score_at(rank)) for rank in (1, ranks.gold, ranks.silver, ranks.bronze)]
        given = "yes" if board.facts.awards == "yes" else "as if"
        lines.append((shortened(slug, 34), board.facts.metric, board.teams, *scores, given))
columns = ["competition", "metric", "teams", "first", "gold", "silver", "bronze", "medals"]
pd.DataFrame(lines, columns=columns).sort_values("teams", ascending=False, ignore_index=True)

# %% [markdown]
# The last score that got a medal, that is. A board has a shape, which tells what the last hundredths cost. Here the
# losses of Dogs vs. Cats Redux, whose metric is the log loss: less is better, and a single answer that is sure and
# wrong costs much.

# %%
board = find_board("dogs-vs-cats-redux-kernels-edition")


def draw_board(width: float, height: float) -> None:
    """Draw the scores of all teams by rank."""
    _, axis = plt.subplots(figsize=(width, height), layout="constrained")
    ranks = np.arange(1, board.teams + 1)
    scores = np.repeat([float(score) for score, _ in board.scores], [count for _, count in board.scores])
    axis.plot(ranks, scores, color="black", linewidth=2)
    ends = (("gold", board.medals.gold, 1), ("silver", board.medals.silver, 7), ("bronze", board.medals.bronze, 3))
    for medal, rank, colour in ends:
        score = float(board.score_at(rank))
        axis.plot([rank], [score], MARKERS[colour], markersize=9, color=COLOURS[colour], label=f"last {medal}: {score}")
    axis.axhline(np.log(2), color="0.35", linestyle="--", linewidth=1.2)
    axis.text(1.1, np.log(2) * 1.1, "says 0.5 to every image", fontsize=11, color="0.25")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(0.025, 2)
    axis.set_yticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
    axis.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    axis.tick_params(labelsize=11)
    axis.set_xlabel("rank (logarithmic)", fontsize=12)
    axis.set_ylabel("log loss (logarithmic)", fontsize=12)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=11, loc="center left")
    plt.show()


draw_board(8, 4.4)

# %% [markdown]
# `kit place SLUG SCORE` says where a score would have stood:

# %%
for slug, score in (
    ("dogs-vs-cats-redux-kernels-edition", "0.06127"),
    ("dogs-vs-cats-redux-kernels-edition", "0.0613"),
    ("aerial-cactus-identification", "0.9994"),
    ("cassava-leaf-disease-classification", "0.8978"),
):
    print(placed_words(slug, score, board=find_board(slug)), "\n")

# %% [markdown]
# Two things to take along. A place on an old board is a hint: nobody had then what everybody has now, and a score of
# one's own held-out images is not one of the hidden ones. And on a board where hundreds have the same perfect score,
# the medals went to whoever was first.
