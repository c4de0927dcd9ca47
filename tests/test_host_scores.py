"""How a hosted competition scores and ranks: the two parts, the Ladder, places and final submissions."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hosting import IDS, NUM_IMAGES, TRUTH, csv_of, guesses, hosted_question
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import CompetitionError
from kit.host.ladder import MAX_GROUPS, released, standard_error
from kit.host.reading import read_answers
from kit.host.solution import Solution, read_solution
from kit.host.standings import standings
from kit.host.tables import Submission
from kit.rules import SubmissionRule

NOW = datetime(2026, 11, 21, 12)
LABEL = SubmissionRule(id_column="id", values="label", label_column="red")


def solution_of(folder: Path, content: bytes | None = None, *, share: float = 0.3, **question: object) -> Solution:
    (folder / "solution.csv").write_bytes(csv_of(TRUTH) if content is None else content)
    return read_solution(
        folder / "solution.csv", hosted_question(folder, **question), public_share=share, secret="not told"
    )


def labels_csv(right: np.ndarray) -> bytes:
    """Return a submission of classes that is right where it says so."""
    names = np.array(["blue", "red"])[np.where(right, TRUTH, 1 - TRUTH)]
    return ("id,red\n" + "".join(f"{i},{name}\n" for i, name in zip(IDS, names, strict=True))).encode()


@given(share=st.floats(0.05, 0.95))
def test_both_parts_have_the_same_shares_of_each_class_within_one_image(tmp_path, share):
    solution = solution_of(tmp_path, share=share)
    assert abs(solution.public.sum() - share * NUM_IMAGES) <= 0.5 + 1e-9
    for k in (0, 1):
        of_class = k == TRUTH
        assert abs(solution.public[of_class].sum() - share * of_class.sum()) <= 1


def test_who_does_not_know_the_secret_cannot_tell_which_images_are_public(tmp_path):
    solution = solution_of(tmp_path)
    question = hosted_question(tmp_path)
    other = read_solution(tmp_path / "solution.csv", question, public_share=0.3, secret="another")
    same = read_solution(tmp_path / "solution.csv", question, public_share=0.3, secret="not told")
    assert (solution.public == same.public).all() and (solution.public != other.public).any()


def test_a_usage_column_says_which_images_are_public(tmp_path):
    usage = ["Public" if k < 50 else "Private" for k in range(NUM_IMAGES)]
    lines = csv_of(TRUTH).decode().splitlines()
    content = "\n".join([f"{lines[0]},Usage", *(f"{a},{b}" for a, b in zip(lines[1:], usage, strict=True))])
    assert solution_of(tmp_path, content.encode()).public.tolist() == [k < 50 for k in range(NUM_IMAGES)]
    with pytest.raises(CompetitionError, match="'Both' in its column Usage; each row is Public or Private"):
        solution_of(tmp_path, content.replace("Public", "Both").encode())


def test_each_part_has_its_own_score(tmp_path):
    solution = solution_of(tmp_path)
    answers = np.full((NUM_IMAGES, 2), 0.5)
    answers[solution.public] = np.where(TRUTH[solution.public, None] == [[0, 1]], 0.8, 0.2)
    assert solution.scores(answers) == pytest.approx((-np.log(0.8), np.log(2)))


@pytest.mark.parametrize(
    ("content", "question", "message"),
    [
        (b"id,red\na,0.4\nb,1\n", {}, "has numbers other than 0 and 1"),
        (b"id,red\na,1\na,1\n", {}, "for the second time"),
        (b"name,red\na,1\n", {}, "lacks the column 'id'"),
        (b"id,red\na,1\n", {}, "The public part of the solution .* has no image"),
        (csv_of(np.ones(NUM_IMAGES)), {"metric": "roc_auc"}, "roc_auc is not defined on the public part"),
    ],
)
def test_a_solution_that_nothing_could_be_scored_by_is_refused(tmp_path, content, question, message):
    with pytest.raises(CompetitionError, match=message):
        solution_of(tmp_path, content, **question)


def test_without_the_solution_there_is_a_plain_word(tmp_path):
    with pytest.raises(CompetitionError, match="cannot be read: No such file"):
        read_solution(tmp_path / "no.csv", hosted_question(tmp_path), public_share=0.3, secret="")


def test_the_standard_error_of_a_mean_is_that_of_the_paper(tmp_path):
    """The jackknife over single images is s / sqrt(n), with s the sample's standard deviation of the differences."""
    lines = labels_csv(np.ones(NUM_IMAGES, bool))
    solution = solution_of(tmp_path, lines, metric="accuracy", submission=LABEL)
    assert solution.public.sum() == 60 <= MAX_GROUPS
    random = np.random.default_rng(0)
    first, second = (read_answers(labels_csv(random.random(NUM_IMAGES) < 0.7), solution.form, IDS) for _ in range(2))
    differences = (first.argmax(1) == TRUTH).astype(float) - (second.argmax(1) == TRUTH)
    expected = differences[solution.public].std(ddof=1) / np.sqrt(60)
    assert standard_error(solution, first, second) == pytest.approx(expected)


def test_with_many_images_the_standard_error_of_an_area_is_about_that_of_the_bootstrap(tmp_path):
    from kit.metrics import roc_auc

    solution = solution_of(tmp_path, share=0.9, metric="roc_auc")
    random = np.random.default_rng(0)
    scores = [TRUTH + random.normal(size=NUM_IMAGES) for _ in range(2)]
    first, second = (np.stack([-one, one], axis=1) for one in scores)
    rows = np.flatnonzero(solution.public)
    draws = [random.choice(rows, size=len(rows)) for _ in range(500)]
    of_draws = np.std([roc_auc(TRUTH[d], first[d]) - roc_auc(TRUTH[d], second[d]) for d in draws])
    assert standard_error(solution, first, second) == pytest.approx(of_draws, rel=0.25)


def test_the_public_score_moves_only_when_it_improves_by_more_than_noise(tmp_path):
    solution = solution_of(tmp_path, labels_csv(np.ones(NUM_IMAGES, bool)), metric="accuracy", submission=LABEL)
    order = np.flatnonzero(solution.public)

    def right_in(num: int) -> np.ndarray:
        right = np.zeros(NUM_IMAGES, bool)
        right[order[:num]] = True
        return read_answers(labels_csv(right), solution.form, IDS)

    assert released(solution, right_in(30), None) == 0.5
    best = (0.5, right_in(30))
    assert released(solution, right_in(30), best) is None  # a copy
    assert released(solution, right_in(29), best) is None  # worse
    assert released(solution, right_in(31), best) is None  # one image better: 1/60, and one standard error is 1/60
    assert released(solution, right_in(34), best) == pytest.approx(34 / 60)


def test_guessing_the_public_labels_from_scores_gains_nothing_under_the_ladder(tmp_path):
    """The boosting attack of the paper: keep the random guesses that scored above one half, and let them vote."""
    solution = solution_of(tmp_path, labels_csv(np.ones(NUM_IMAGES, bool)), metric="accuracy", submission=LABEL)
    random = np.random.default_rng(1)
    guessed = random.random((250, NUM_IMAGES)) < 0.5
    answers = [np.stack([1.0 - one, one], axis=1).astype(float) for one in guessed]
    exact = [solution.scores(one)[0] for one in answers]
    best: tuple[float, np.ndarray] | None = None
    told = []
    for one in answers:
        if (moved := released(solution, one, best)) is not None:
            best = (moved, one)
        assert best is not None
        told.append(best[0])

    def vote(scores: list[float]) -> float:
        better = np.array(scores) > 0.5
        share = guessed[better].mean(axis=0) if better.any() else np.full(NUM_IMAGES, 0.5)
        return solution.scores(np.stack([1 - share, share], axis=1))[0]

    assert vote(exact) > 0.8  # the naive leaderboard is won by noise
    assert vote(told) < 0.7 and len(set(told)) < 12


def submission(ref: int, team: int, score: float, **changes: object) -> Submission:
    values = {
        "ref": ref, "user": team, "token_hash": str(ref), "file_name": "", "description": "", "num_bytes": 1,
        "sha256": "", "date": NOW + timedelta(minutes=ref), "late": False, "status": "COMPLETE", "error": "",
        "released": score, "moved": True, "public": score, "private": score, "final": False,
    }  # fmt: skip
    return Submission(**{**values, **changes})  # type: ignore[arg-type]


NAMES = {1: "ann", 2: "bob", 3: "eve"}


def places_of(
    submissions: list[Submission], *, private: bool = False, better: bool = True
) -> list[tuple[int, str, str]]:
    found = standings(submissions, NAMES, greater_is_better=better, private=private)
    return [(one.rank, one.name, one.score) for one in found]


def test_equal_scores_share_a_rank_and_the_earlier_one_stands_first():
    three = [submission(1, 1, 0.5), submission(2, 2, 0.9), submission(3, 3, 0.900001)]
    assert places_of(three) == [(1, "bob", "0.90000"), (1, "eve", "0.90000"), (3, "ann", "0.50000")]
    assert places_of(three, better=False)[0] == (1, "ann", "0.50000")


def test_late_faulty_and_waiting_submissions_are_not_ranked():
    others = [
        submission(1, 1, 0.9, late=True),
        submission(2, 2, 0.9, status="ERROR", released=None),
        submission(3, 3, 0.9, status="PENDING", released=None),
    ]
    assert places_of(others) == []


def test_the_private_places_are_of_the_two_best_by_public_score_unless_others_were_chosen():
    own = [
        submission(1, 1, 0.7, private=0.99),
        submission(2, 1, 0.8, private=0.60),
        submission(3, 1, 0.9, private=0.50),
        submission(4, 2, 0.75, private=0.75),
    ]
    assert places_of(own) == [(1, "ann", "0.90000"), (2, "bob", "0.75000")]
    assert places_of(own, private=True) == [(1, "bob", "0.75000"), (2, "ann", "0.60000")]
    chosen = [submission(1, 1, 0.7, private=0.99, final=True), *own[1:]]
    assert places_of(chosen, private=True) == [(1, "ann", "0.99000"), (2, "bob", "0.75000")]


def test_what_the_ladder_did_not_let_move_is_not_taken_for_the_best():
    kept = [
        submission(1, 1, 0.9, private=0.8),
        submission(2, 1, 0.9, private=0.7, moved=False, public=0.2),
        submission(3, 1, 0.95, private=0.6),
    ]
    assert places_of(kept, private=True) == [(1, "ann", "0.80000")]


def test_guesses_are_scored_as_their_probability_says(tmp_path):
    solution = solution_of(tmp_path)
    assert solution.scores(read_answers(guesses(0.9), solution.form, IDS)) == pytest.approx((-np.log(0.9),) * 2)
