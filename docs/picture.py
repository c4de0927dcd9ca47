"""Draw docs/pets.svg, the picture of the README: `python docs/picture.py`."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from kit.board.compare import load_published
from kit.board.records import read_record

HERE = Path(__file__).parent
RUN = HERE.parent / "leaderboard/runs/pets-official-37-transfer-baseline-s1-60c44467.json"
# Protocols on the official test images and all 37 breeds: title, colour of Okabe & Ito, mark.
SHOWN = {
    "official-37-mpca": ("as in 2012: mean over breeds", "#0072B2", "o"),
    "official-37-transfer": ("fine-tuned, accuracy", "#E69F00", "s"),
    "official-37-linear-probe": ("linear probe, mean over breeds", "#009E73", "^"),
    "official-37-zero-shot": ("zero-shot", "#CC79A7", "v"),
}
INK, SOFT, PAPER = "#1b1f24", "#57606a", "#ffffff"


def draw() -> Figure:
    """Return the published results by year, hollow where unverified, and the kit's run, which has no rank."""
    published = load_published("oxford-iiit-pet")
    assert published is not None
    figure = Figure(figsize=(7.6, 4.4), facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor=PAPER)
    for protocol, (title, colour, mark) in SHOWN.items():
        rows = [row for row in published.results if row.protocol == protocol]
        for verified in (True, False):
            some = [row for row in rows if (row.status == "verified") == verified]
            axes.scatter(
                [row.year for row in some],
                [100 * row.value for row in some],
                s=46,
                marker=mark,
                facecolor=colour if verified else PAPER,
                edgecolor=colour,
                linewidth=1.4,
                zorder=3,
            )
        axes.scatter([], [], marker=mark, color=colour, s=46, label=title)
    record = read_record(RUN)
    score = record.results[0].scores["accuracy"]
    year = int(record.created_at[:4])
    axes.errorbar(
        [year],
        [100 * score.value],
        yerr=[[100 * (score.value - score.low)], [100 * (score.high - score.value)]],
        fmt="D",
        color=INK,
        markersize=8,
        capsize=4,
        zorder=4,
    )
    axes.annotate(
        f"the kit: {100 * score.value:.1f} % of {score.num_images:,}\n"
        "of the 3,669 test images.\nPartial data: no rank.",
        (year, 100 * score.value),
        xytext=(12, -22),
        textcoords="offset points",
        ha="right",
        va="top",
        color=INK,
        fontsize=11,
    )
    axes.scatter([], [], marker="o", facecolor=PAPER, edgecolor=SOFT, label="hollow: not verified", s=46)
    axes.set_title("Oxford-IIIT Pet, 37 breeds: published results on the official test images", color=INK, loc="left")
    axes.set_ylabel("% correct", color=INK)
    axes.set_ylim(20, 102)
    axes.tick_params(colors=SOFT)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    axes.grid(axis="y", color="#d8dee4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=10, labelcolor=INK)
    return figure


if __name__ == "__main__":
    # Letters as outlines: the same on every machine. No date, no random names: the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pets", "font.size": 11}):
        draw().savefig(HERE / "pets.svg", metadata={"Date": None, "Creator": None})
