"""What was submitted, seen together: the ledger with the server's list, the plot, and what both say."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kit.board.kaggle_boards import find_board, place
from kit.board.records import run_folder
from kit.competition import Competition
from kit.errors import ConfigError, DataError
from kit.home import writing
from kit.interpret.drawing import BLUE, png_of
from kit.judge.predict import Predictions, read_predictions
from kit.kaggle.account import list_submissions, name_on_server
from kit.kaggle.client import connect
from kit.kaggle.finals import Finals, recommend
from kit.kaggle.noise import Gain, OutOfFold, error_of, gain_of_best, z_of_interval
from kit.kaggle.send import settle_earlier
from kit.kaggle.standing import best_of
from kit.kaggle.submissions import Ledger, Submission, merged, number_of
from kit.metrics import METRICS
from kit.progress import Say


@dataclass(frozen=True, kw_only=True)
class History:
    """All submissions to a competition, and what they tell together."""

    submissions: Sequence[Submission]  # oldest first
    broken_lines: int  # of the ledger
    gain: Gain | None  # of the best public score over the next; None where nothing can be said
    finals: Finals | None
    medal: str  # where the best one would have stood on the historical board; "" without one
    plot: Path | None  # out of fold against public; None with fewer than two such


def history(
    competition: Competition, *, public_share: float | None = None, online: bool = True, say: Say = print
) -> History:
    """Gather the submissions to a competition, and write what is new into the ledger.

    Args:
        competition: the question.
        public_share: of the test images, that make the public score, where it is known.
        online: ask the server; otherwise only what the ledger has.
        say: takes lines of progress.

    Raises:
        ConfigError: a share that is none.
        KaggleError: no credentials, no permission.
        TryLaterError: the server is out of reach or in trouble.
    """
    if public_share is not None and not 0 < public_share <= 1:
        raise ConfigError(
            f"--public-share {public_share:g}: the share of the test images that make the public score lies between 0 "
            "and 1, e.g. 0.3. The competition's page says it, below its leaderboard."
        )
    ledger = Ledger(slug=competition.slug)
    rows = []
    if online:
        name = name_on_server(competition)
        kaggle = connect(name, f"the submissions of {name!r}", say=say)
        with ledger.alone(say):
            settle_earlier(kaggle, ledger)
            rows = list_submissions(kaggle)
            ledger.note_scores(rows)
    own = ledger.submissions()
    out_of_fold = predictions_out_of_fold(competition)
    return History(
        submissions=merged(own, rows),
        broken_lines=ledger.events()[1],
        gain=gain_of_best(own, public_share=public_share, out_of_fold=out_of_fold) if public_share else None,
        finals=recommend(
            own,
            out_of_fold=out_of_fold,
            file_of=lambda one: ledger.kept_file(sha256=one.sha256, name=one.file_name),
        ),
        medal=_medal(competition, own),
        plot=_plot(competition, own, ledger.folder / "cv-against-leaderboard.png", public_share=public_share),
    )


def predictions_out_of_fold(competition: Competition) -> OutOfFold:
    """Return a reader of runs' out-of-fold predictions; what cannot be read counts as not there."""

    @lru_cache(maxsize=4)
    def read(run: str) -> Predictions | None:
        path = run_folder(run) / "predictions" / "out-of-fold.csv"
        try:
            return read_predictions(path, kind="out-of-fold", classes=competition.classes) if path.is_file() else None
        except DataError:
            return None

    return read


def _medal(competition: Competition, submissions: Sequence[Submission]) -> str:
    """Say where the best submission would have stood on the competition's own final board, where we have it."""
    board = find_board(competition.kaggle) if competition.kaggle else None
    if board is None:
        return ""
    better = board.facts.greater_is_better
    for private in (True, False):
        if (best := best_of(submissions, private=private, greater_is_better=better)) is not None:
            shown, which = (best.private, "private") if private else (best.public, "public")
            return f"{which} {shown} of {best.ref} on the {board.kind} board of then: {place(board, shown).words}"
    return ""


def _plot(
    competition: Competition, submissions: Sequence[Submission], path: Path, *, public_share: float | None
) -> Path | None:
    """Plot out-of-fold score against public score, each with its 95 % interval where that is known."""
    shown = [one for one in submissions if one.out_of_fold and number_of(one.public) is not None]
    if len(shown) < 2:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for one in shown:
        score = one.out_of_fold
        assert score is not None
        public = float(one.public)
        half = None
        if public_share and one.num_rows:
            half = z_of_interval() * error_of(score, num_images=max(1, round(public_share * one.num_rows)))
        axes.errorbar(
            score.value,
            public,
            xerr=[[max(0.0, score.value - score.low)], [max(0.0, score.high - score.value)]],
            yerr=half,
            fmt="o",
            color=BLUE,
            ecolor="#9db7d3",
            capsize=3,
        )
        axes.annotate(str(one.ref), (score.value, public), textcoords="offset points", xytext=(6, 5), fontsize=9)
    low, high = (
        side([value for one in shown if one.out_of_fold for value in (one.out_of_fold.value, float(one.public))])
        for side in (min, max)
    )
    axes.plot([low, high], [low, high], color="#888888", linewidth=1, linestyle="--", label="public = out of fold")
    better = "higher" if METRICS[shown[0].metric].greater_is_better else "lower"
    axes.set_xlabel(f"out of fold, {shown[0].metric} ({better} is better), 95 % interval")
    axes.set_ylabel("public leaderboard" + (", 95 % interval by its number of images" if public_share else ""))
    axes.set_title(f"{competition.slug}: {len(shown)} submissions", fontsize=11)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="best", fontsize=9, frameon=False)
    with writing(path, "wb") as file:
        file.write(png_of(figure, dpi=120))
    return path
