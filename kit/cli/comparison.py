"""How `kit compare` looks: groups of results that may be ranked, what sets the others apart, what may be claimed.

Lines are as wide as the terminal; in a file or a pipe they have 120 characters and no colours.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from kit.board.baselines import Baselines
from kit.board.claims import Claim, unresolved_words
from kit.board.duel import Duel, KindDuel, MetricDuel
from kit.board.groups import GroupRow, ProtocolGroup
from kit.cli.terminal import styled, width
from kit.conditions import LABELS, Conditions
from kit.judge.paired import interval_text, measured
from kit.store.decode import printable

NARROWEST = 60
MARKS = {"unverified": "UNVERIFIED", "unresolved": "UNRESOLVED"}


def _print(text: str, *, indent: int = 0, hang: int = 0) -> None:
    """Print a paragraph, wrapped."""
    first, later = " " * indent, " " * (indent + hang)
    clean = " ".join(text.split())
    print(
        textwrap.fill(
            clean,
            width(narrowest=NARROWEST),
            initial_indent=first,
            subsequent_indent=later,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def show_groups(title: str, found: Sequence[ProtocolGroup], *, num_runs: int) -> None:
    """Print all groups: those with runs of ours first."""
    rows = [row for group in found for row in group.rows]
    years = sorted({row.year for row in rows if not row.ours})
    span = f" ({' to '.join(map(str, sorted({years[0], years[-1]})))})" if years else ""
    published = len({row.id for row in rows if not row.ours})
    _print(styled(title, bold=True))
    _print(
        f"{_count(published, 'published result')}{span} and {_count(num_runs, 'run')} of ours, in "
        f"{_count(len(found), 'group')}. Only results of one group are ranked."
    )
    if any(row.status in MARKS for row in rows):
        _print("UNVERIFIED values await a check: they have no rank and decide no claim.")
    for number, group in enumerate(found, 1):
        print()
        _show_group(number, group)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _show_group(number: int, group: ProtocolGroup) -> None:
    direction = "higher is better" if group.greater_is_better else "lower is better"
    _print(styled(f"{number}. {group.title}", bold=True) + f" ({direction})", hang=3)
    if group.differences:
        said = (f"{LABELS[one.field]}: {one.theirs}, not {one.ours} (rule {one.rule})" for one in group.differences)
        _print(f"differs in {'; '.join(said)}", indent=3, hang=2)
    for note in group.notes:
        _print(printable(note), indent=3)
    shared = set.intersection(*(set(row.not_stated) for row in group.rows if not row.ours), set(LABELS))
    if shared and any(not row.ours for row in group.rows):
        _print(f"not stated by any of these: {_named(name for name in LABELS if name in shared)}", indent=3, hang=2)
    for row in group.rows:
        _show_row(row, shared=shared)


def _show_row(row: GroupRow, *, shared: set[str]) -> None:
    rank = "" if row.rank is None else str(row.rank)
    interval = "" if row.low is None or row.high is None else f"[{_number(row.low)}, {_number(row.high)}]"
    name = f"{row.name} ({row.year})" if not row.ours else f"{row.name} (ours, {row.kind})"
    mark = f" {MARKS[row.status]}" if row.status in MARKS else ""
    text = f"{rank:>4} {_number(row.value):>8} {interval:18} {printable(name)}"
    colour = {"ours": "green", "verified": "", "unverified": "yellow", "unresolved": "yellow"}[row.status]
    print((styled(text, fg=colour) if colour else text) + styled(mark, fg="yellow", bold=True))
    if own := [name for name in row.not_stated if name not in shared]:
        _print(f"not stated: {_named(own)}", indent=33, hang=2)
    if row.verdict:
        _print(
            row.words if row.verdict in ("better", "worse", "not distinguishable") else row.verdict, indent=33, hang=2
        )


def _named(names: Any) -> str:
    return ", ".join(LABELS[name] for name in names)


def _number(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def show_claims(own: Sequence[Claim], others: Sequence[Claim], baselines: Baselines) -> None:
    """Print what runs could claim and could not, what is unresolved, and what the file says about comparing.

    Args:
        own: what the runs that are there can claim.
        others: what runs of the competition's protocols could claim on complete data.
        baselines: the published results.
    """
    for title, claims in (("What our runs can claim", own), ("What a run could claim, and what it could not", others)):
        if claims:
            print()
            _print(styled(title, bold=True))
        for claim in claims:
            _print(f"{claim.protocol}: {claim.could} {claim.could_not}", indent=2, hang=2)
    if words := unresolved_words(baselines):
        print()
        _print(styled("Unresolved", bold=True))
        for one in words:
            _print(one, indent=2)
    if baselines.comparability:
        print("\nBefore you quote a comparison:")
        for sentence in baselines.comparability:
            _print(f"- {sentence}", indent=2, hang=2)


def show_claim(claim: Claim) -> None:
    """Print what one result can claim."""
    print()
    _print(f"{claim.could} {claim.could_not}")


def show_conditions(conditions: Conditions) -> None:
    """Print what a result was obtained under, what is not stated included."""
    print("\n  under these conditions")
    for label, value in conditions.in_words():
        _print(f"{label}: {value}", indent=4, hang=2)


def as_json_object(
    found: Sequence[ProtocolGroup], claims: Sequence[Claim], baselines: Baselines | None
) -> dict[str, Any]:
    """Return groups and claims for programs."""
    return {
        "groups": found,
        "claims": claims,
        "unresolved": baselines.unresolved if baselines else [],
        "comparability": baselines.comparability if baselines else [],
    }


def show_duel(title: str, found: Duel) -> None:
    """Print what two runs of ours on the same images say against each other."""
    _print(styled(title, bold=True))
    _print(f"run      {printable(found.run)}")
    _print(f"against  {printable(found.against)}")
    for of in found.kinds:
        print()
        _show_kind(of)
    for kind, why in found.left_out.items():
        print()
        _print(f"{kind} predictions are not compared: {printable(why)}", hang=2)
    print()
    _print(
        "Differences are positive where the run is better. Intervals and p are about other images with these very "
        "networks, those over folds also about other trainings; verdicts count all comparisons of either sort together "
        "(Holm). Who takes the better of two by their scores on test images has chosen on the test."
    )


def _show_kind(of: KindDuel) -> None:
    _print(styled(f"{of.kind} predictions of the same {_count(of.num_images, 'image')}", bold=True))
    for one in of.metrics:
        _show_metric(one)
    if of.one_right is None:
        return
    said = f"Just one of the two is right on {_count(of.one_right, 'image')}. "
    if of.smallest is None:
        _print(f"{said}That is too few to show any difference of their shares of right answers.", indent=2, hang=2)
    else:
        _print(
            f"{said}The smallest difference of the shares of right answers that these could show, with 80 % power: "
            f"{100 * of.smallest:.2f} points.",
            indent=2,
            hang=2,
        )


def _show_metric(one: MetricDuel) -> None:
    pair = one.difference
    text = (
        f"{one.metric}: {_number(one.run)} against {_number(one.against)}, {measured(pair.mean, one.metric)} "
        f"{interval_text(pair.low, pair.high, metric=one.metric)}, p = {pair.p_value:.2g}"
    )
    exact = f"; McNemar's exact p = {pair.p_by_seed[0]:.2g}" if pair.p_by_seed else ""
    _print(
        f"{text}{exact}; together p = {one.p_together:.2g}: {styled(printable(one.verdict), bold=True)}",
        indent=2,
        hang=4,
    )
    if one.folds is not None:
        test = one.folds.test
        _print(f"by fold: {one.folds.run}; against {one.folds.against}", indent=6, hang=2)
        _print(
            f"the same folds, corrected resampled test: {measured(test.mean, one.metric)} "
            f"{interval_text(test.low, test.high, metric=one.metric)}, p = {test.p_value:.2g}; "
            f"together p = {one.folds.p_together:.2g}: {printable(one.folds.verdict)}",
            indent=6,
            hang=2,
        )
