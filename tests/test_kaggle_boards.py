"""Kaggle's boards: ranks, ties and medals are exact at their borders, and every file is what its table says."""

import csv
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.board.kaggle_boards import (
    KaggleFacts,
    board_of,
    find_board,
    kaggle_facts,
    kaggle_slug,
    place,
)
from kit.board.medals import medal_ranks
from kit.board.placing import placed_words, rank_range
from kit.competition import competition_folders, load_competition, package_folder
from kit.errors import BaselineError, CompetitionError, ConfigError
from kit.metrics import METRICS

REDUX = "dogs-vs-cats-redux-kernels-edition"
FILES = sorted((package_folder("leaderboard") / "kaggle").glob("*/*.csv"))

# competition: gold, silver, bronze, median, best, then the scores at the first 1, 5, 10 and 25 % of the ranks
THRESHOLDS = {
    "dogs-vs-cats-redux-kernels-edition": (
        *("0.03882", "0.05038", "0.06127", "0.122095", "0.03302"),
        *("0.03889", "0.05038", "0.06127", "0.09025"),
    ),
    "the-nature-conservancy-fisheries-monitoring": (
        *("1.31994", "1.68824", "1.77296", "1.973745", "1.06234"),
        *("1.13906", "1.42545", "1.64089", "1.75968"),
    ),
    "titanic": (
        *("", "", "", "0.77511", "1.00000"),
        *("0.81578", "0.79186", "0.78468", "0.77751"),
    ),
    "dog-breed-identification": (
        *("0.00050", "0.00539", "0.04598", "0.47197", "0.00000"),
        *("0.00050", "0.00539", "0.04598", "0.21785"),
    ),
    "aerial-cactus-identification": (
        *("1.0000", "1.0000", "1.0000", "0.9991", "1.0000"),
        *("1.0000", "1.0000", "1.0000", "0.9999"),
    ),
    "plant-pathology-2020-fgvc7": (
        *("0.97836", "0.97465", "0.97361", "0.94858", "0.98445"),
        *("0.97830", "0.97465", "0.97361", "0.96808"),
    ),
    "plant-pathology-2021-fgvc8": (
        *("0.86120", "0.85305", "0.83508", "0.75479", "0.88336"),
        *("0.86751", "0.86120", "0.84812", "0.81457"),
    ),
    "cassava-leaf-disease-classification": (
        *("0.9013", "0.8992", "0.8978", "0.8909", "0.9132"),
        *("0.9007", "0.8992", "0.8978", "0.8961"),
    ),
    "aptos2019-blindness-detection": (
        *("0.930508", "0.919654", "0.914492", "0.8889125", "0.936129"),
        *("0.927738", "0.919654", "0.914492", "0.911051"),
    ),
    "histopathologic-cancer-detection": (
        *("0.9835", "0.9798", "0.9738", "0.9477", "1.0000"),
        *("0.9837", "0.9798", "0.9738", "0.9610"),
    ),
    "leaf-classification": (
        *("0.00000", "0.00791", "0.01526", "0.10729", "0.00000"),
        *("0.00000", "0.00791", "0.01526", "0.03085"),
    ),
    "siim-isic-melanoma-classification": (
        *("0.9455", "0.9401", "0.9370", "0.9128", "0.9490"),
        *("0.9438", "0.9401", "0.9370", "0.9290"),
    ),
    "whale-categorization-playground": (
        *("0.56236", "0.44852", "0.40515", "0.32788", "0.78563"),
        *("0.60866", "0.48262", "0.44756", "0.38384"),
    ),
    "statoil-iceberg-classifier-challenge": (
        *("0.11374", "0.13753", "0.14552", "0.20371", "0.08227"),
        *("0.12455", "0.13753", "0.14552", "0.16732"),
    ),
    "plant-seedlings-classification": (
        *("0.99244", "0.98614", "0.98236", "0.95591", "1.00000"),
        *("0.99244", "0.98614", "0.98362", "0.97607"),
    ),
    "invasive-species-monitoring": (
        *("0.99505", "0.99237", "0.98979", "0.97006", "0.99770"),
        *("0.99568", "0.99380", "0.99235", "0.98787"),
    ),
    "cdiscount-image-classification-challenge": (
        *("0.77604", "0.73526", "0.70898", "0.439245", "0.79567"),
        *("0.78315", "0.75133", "0.72705", "0.68719"),
    ),
    "inaturalist-2019-fgvc6": (
        *("0.15955", "0.25862", "0.39028", "0.43478", "0.10342"),
        *("0.11298", "0.15955", "0.19254", "0.30362"),
    ),
}


def toy_board(*scores, greater_is_better=False, **changes):
    given = {"metric": "", "greater_is_better": greater_is_better, "boards": (), "awards": "yes", "source": ""}
    return board_of("toy", scores, facts=KaggleFacts(**(given | changes)), kind="private")


def median(board):
    low, high = board.score_at((board.teams + 1) // 2), board.score_at(board.teams // 2 + 1)
    return (low + high) / 2


def test_the_first_and_the_last_bronze_of_dogs_vs_cats_redux():
    board = find_board(REDUX)
    first, bronze, behind = (place(board, score) for score in ("0.03302", "0.06127", "0.06128"))
    assert (first.rank, first.teams, first.medal) == (1, 1314, "gold")
    assert (bronze.rank, bronze.medal) == (131, "bronze")
    assert (behind.rank, behind.medal) == (132, None)
    assert first.as_if
    assert "as if: this competition gave no medals" in first.words


def test_150_teams_share_rank_1_of_aerial_cactus():
    board = find_board("aerial-cactus-identification")
    first, second = place(board, "1.0"), place(board, "0.9999")
    assert (first.rank, first.ties, first.last_rank, first.medal) == (1, 150, 151, "gold")
    assert "150 teams have this very score" in first.words
    assert "behind them it is rank 151 (no medal)" in first.words  # bronze ends at 122
    assert (second.rank, second.medal) == (151, None)


def test_of_five_teams_two_are_equal():
    board = toy_board("0.1", "0.20", "0.2", "0.30", "0.4")
    assert [place(board, s).rank for s in ("0.05", "0.10", "0.15", "0.2", "0.25", "0.40", "0.41")] == [
        *(1, 1, 2, 2, 4, 5, 6),
    ]
    equal = place(board, 0.2)
    assert (equal.ties, equal.last_rank, equal.percentile) == (2, 4, 40.0)
    assert place(board, "0.41").percentile == 100
    assert "worse than all 5 teams" in place(board, "0.41").words


def test_the_larger_score_is_better_where_the_metric_says_so():
    board = toy_board("0.40", "0.30", "0.20", "0.20", "0.10", greater_is_better=True)
    assert [place(board, s).rank for s in ("0.5", "0.4", "0.35", "0.2", "0.0")] == [1, 1, 2, 3, 6]


@pytest.mark.parametrize("same", ["1", "1.0", "1.0000", "1.00000000", "10e-1", 1.0, 1, Decimal("1.00")])
def test_a_score_is_the_same_however_it_is_written(same):
    assert place(find_board("aerial-cactus-identification"), same).ties == 150


def test_a_score_is_compared_with_as_many_decimals_as_the_board_has():
    board = find_board(REDUX)
    assert place(board, "0.0330249").rank == 1
    assert place(board, "0.033025").rank == 2  # 0.03303: a half goes away from zero
    assert "0.0330249 was rounded" in place(board, "0.0330249").words
    assert place(board, 0.1 + 0.2).words.startswith("0.30000 is rank")


# Kaggle's progression page, by hand: (teams, gold, silver, bronze)
@pytest.mark.parametrize(
    ("teams", "gold", "silver", "bronze"),
    [
        *((9, 0, 1, 3), (10, 1, 2, 4), (99, 9, 19, 39)),
        *((100, 10, 20, 40), (249, 10, 49, 99)),
        *((250, 10, 50, 100), (499, 10, 50, 100), (500, 11, 50, 100), (999, 11, 50, 100)),
        *((1000, 12, 50, 100), (1314, 12, 65, 131), (3900, 17, 195, 390)),
    ],
)
def test_the_medal_rule_at_its_borders(teams, gold, silver, bronze):
    ranks = medal_ranks(teams)
    assert (ranks.gold, ranks.silver, ranks.bronze) == (gold, silver, bronze)
    if teams >= 10:
        assert [ranks.medal(rank) for rank in (gold, gold + 1, silver, silver + 1, bronze, bronze + 1)] == [
            *("gold", "silver", "silver", "bronze", "bronze", None)
        ]


def test_of_ten_equal_teams_all_have_the_gold_of_rank_1():
    assert place(toy_board(*["0.5"] * 10), "0.5").medal == "gold"


@pytest.mark.parametrize("slug", THRESHOLDS)
def test_the_thresholds_of_every_board(slug):
    board = find_board(slug)
    gold, silver, bronze, middle, best, *shares = THRESHOLDS[slug]
    assert median(board) == Decimal(middle)
    assert board.score_at(1) == Decimal(best)
    for percent, score in zip((1, 5, 10, 25), shares, strict=True):
        assert board.score_at(max(1, board.teams * percent // 100)) == Decimal(score)
    if slug == "titanic":
        assert place(board, "1").medal is None
        assert "no end and gives no medals" in place(board, "1").words
        return
    step = Decimal(1).scaleb(-board.decimals) * (-1 if board.facts.greater_is_better else 1)  # to the worse
    for name, score in (("gold", gold), ("silver", silver), ("bronze", bronze)):
        at = getattr(board.medals, name)
        assert board.score_at(at) == Decimal(score)
        # A medal's last score has it, or a better one where many are equal; the next worse one has it no more.
        assert place(board, score).rank <= at
        if board.facts.metric == "log_loss" or Decimal(score) - step <= 1:
            assert place(board, Decimal(score) + step).rank > at


@pytest.mark.real
def test_the_thresholds_are_those_of_the_collection(test_data):
    with (test_data / "leaderboards" / "thresholds.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = ("gold", "silver", "bronze", "median", "best", "top1pct", "top5pct", "top10pct", "top25pct")
    assert {row["competition"]: tuple(row[key] for key in keys) for row in rows if row["board_file"]} == THRESHOLDS
    for row in rows:
        facts = kaggle_facts()[row["competition"]]
        assert facts.greater_is_better is (row["higher_is_better"] == "true")
        assert facts.awards == row["awards_medals"]
        assert str(facts.teams or "") == row["teams"]
        if row["gold_rank"]:
            ranks = medal_ranks(int(row["teams"]))
            assert [ranks.gold, ranks.silver, ranks.bronze] == [
                int(row[f"{medal}_rank"]) for medal in ("gold", "silver", "bronze")
            ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_is_a_board_of_the_table(path):
    board = find_board(path.stem, public=path.parent.name == "public")
    assert board.kind == path.parent.name
    assert board.teams == board.facts.teams == sum(count for _, count in board.scores)


def test_there_are_18_boards_and_no_file_is_missing():
    listed = {(kind, slug) for slug, facts in kaggle_facts().items() for kind in facts.boards}
    assert listed == {(path.parent.name, path.stem) for path in FILES}
    assert len({slug for _, slug in listed}) == 18
    assert sum(path.stat().st_size for path in FILES) < 400_000


@pytest.mark.parametrize("slug", kaggle_facts())
def test_a_board_has_the_direction_of_its_metric(slug):
    facts = kaggle_facts()[slug]
    if facts.metric in METRICS:
        assert facts.greater_is_better is METRICS[facts.metric].greater_is_better


def test_our_competitions_of_kaggle_are_known_by_their_names_there():
    ours = {slug: load_competition(slug).kaggle for slug in competition_folders() if load_competition(slug).kaggle}
    assert len(ours) >= 7
    assert {slug: kaggle_slug(slug) for slug in ours} == ours
    assert set(ours.values()) <= set(kaggle_facts())


@given(
    scores=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    own=st.integers(0, 21),
    greater_is_better=st.booleans(),
)
def test_a_rank_is_one_more_than_the_teams_that_are_strictly_better(scores, own, greater_is_better):
    board = toy_board(*[f"0.{score:02d}" for score in scores], greater_is_better=greater_is_better)
    placing = place(board, f"0.{own:02d}")
    assert placing.rank == 1 + sum(score > own if greater_is_better else score < own for score in scores)
    assert placing.ties == scores.count(own)
    assert placing.last_rank == placing.rank + placing.ties
    assert 0 < placing.percentile <= 100


def test_fisheries_has_two_numbers_of_teams_and_both_are_said():
    placing = place(find_board("the-nature-conservancy-fisheries-monitoring"), "1.7")
    assert (placing.rank, placing.teams, placing.medal, placing.as_if) == (80, 388, "bronze", True)
    assert "Kaggle listed 2,293 teams" in placing.words
    assert placing.words.endswith("of that it would be silver.")  # 114 of 2,293


def test_a_medal_of_the_public_board_is_as_if():
    public = find_board("cassava-leaf-disease-classification", public=True)
    assert place(public, "0.92").as_if
    assert "the final board decides" in place(public, "0.92").words
    assert not place(find_board("cassava-leaf-disease-classification"), "0.9013").as_if


def test_state_farm_has_no_board_but_reported_ranks_that_enclose_a_score():
    slug = "state-farm-distracted-driver-detection"
    assert find_board(slug) is None
    found = {score: rank_range(slug, score) for score in ("0.1", "0.20022", "0.25", "0.26", "3")}
    assert [(r.lowest, r.highest) for r in found.values()] == [(1, 63), (63, 63), (63, 138), (138, 152), (666, None)]
    assert "138 to 152 of 1,440: between bronze and no medal" in found["0.26"].words  # bronze ends at 144
    assert placed_words(slug, "0.26", board=None) == found["0.26"].words


def test_without_board_and_reports_that_is_said():
    words = placed_words("digit-recognizer", "0.99", board=None)
    assert words == "There is no board of digit-recognizer here, so a score cannot be placed. It had 3,115 teams."
    words = placed_words("dogs-vs-cats", "0.97", board=None)  # worse than the best says nothing more
    assert words.endswith("It had 215 teams, a reported rank 1 with 0.989.")


@pytest.mark.parametrize("text", ["", "nan", "inf", "0,06", "1_0", "٣", "x" * 10**6, "1e99", "0.1 0.2", "1e12"])
def test_what_is_no_score_is_refused(text):
    with pytest.raises(ConfigError, match="A score is a number such as"):
        place(find_board(REDUX), text)


@pytest.mark.parametrize(
    ("slug", "score"),
    [(REDUX, "-0.1"), ("cassava-leaf-disease-classification", "90.1"), ("aptos2019-blindness-detection", "-1.01")],
)
def test_a_score_that_the_metric_cannot_give_is_refused(slug, score):
    with pytest.raises(ConfigError, match="is none that"):
        place(find_board(slug), score)


def test_a_competition_that_is_not_of_kaggle_says_so():
    with pytest.raises(CompetitionError, match="pets is not a competition of Kaggle's"):
        kaggle_slug("pets")
    with pytest.raises(CompetitionError, match="Did you mean 'titanic'"):
        kaggle_slug("titanik")


def test_an_empty_board_is_refused():
    with pytest.raises(ConfigError, match="has no scores"):
        toy_board()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score,teams\n0.2,1\n0.1,1\n", "do not stand best first"),
        ("score,teams\n0.1,1\n0.10,1\n", "each score once"),
        ("score,teams\n0.1,3\n", "of 2 teams in all"),
        ("score\n0.1\n", "is a score and a number of teams"),
        ("score,teams\n0.1,x\n", "is a score and a number of teams"),
        ("score,teams\n?,2\n", "is a score and a number of teams"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, text, said):
    from kit.board import kaggle_boards

    facts = KaggleFacts(
        metric="log_loss", greater_is_better=False, boards=("private",), awards="no", source="", teams=2
    )
    monkeypatch.setattr(kaggle_boards, "package_folder", lambda name: tmp_path)
    monkeypatch.setattr(kaggle_boards, "kaggle_facts", lambda: {"damaged": facts})
    (tmp_path / "kaggle" / "private").mkdir(parents=True)
    (tmp_path / "kaggle" / "private" / "damaged.csv").write_text(text)
    kaggle_boards._read_board.cache_clear()
    with pytest.raises(BaselineError, match=said):
        find_board("damaged")
