"""One cycle: learning rate and momentum as a pure function of the step (Smith & Topin 2018, as fast.ai shapes it)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi

START_DIVISOR = 25.0  # the cycle begins at peak / 25
END_DIVISOR = 1e5  # and ends at peak / 100,000
MOMENTUM = (0.95, 0.85)  # at the ends, and at the peak of the learning rate


@dataclass(frozen=True, kw_only=True)
class CyclePoint:
    """Where one step stands in the cycle."""

    lr: float
    momentum: float  # AdamW's first beta


def one_cycle(step: int, total: int, *, peak_lr: float, warmup_share: float = 0.25) -> CyclePoint:
    """Return learning rate and momentum of optimizer step `step` of `total` (0 <= step < total).

    The rate rises along a half cosine from peak/25 to the peak in the first `warmup_share` of the steps, then
    falls along a half cosine to peak/100,000, which the last step reaches; momentum moves against it.
    """
    assert 0 <= step < total
    progress = step / max(1, total - 1)
    low_momentum_at_peak = MOMENTUM[1]
    if progress < warmup_share:
        share = progress / warmup_share
        lr = _blend(peak_lr / START_DIVISOR, peak_lr, share)
        return CyclePoint(lr=lr, momentum=_blend(MOMENTUM[0], low_momentum_at_peak, share))
    share = (progress - warmup_share) / (1 - warmup_share)
    lr = _blend(peak_lr, peak_lr / END_DIVISOR, share)
    return CyclePoint(lr=lr, momentum=_blend(low_momentum_at_peak, MOMENTUM[0], share))


def _blend(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + cos(pi * share)) / 2


def spread_lr(peak_lr: float, *, spread: float, num_groups: int) -> Sequence[float]:
    """Return one peak rate per depth group, stem first: geometric from `peak_lr / spread` to `peak_lr`.

    fast.ai's `slice(lo, hi)`: discriminative learning rates (Howard & Ruder 2018).
    """
    if num_groups == 1:
        return [peak_lr]
    return [peak_lr / spread ** (1 - k / (num_groups - 1)) for k in range(num_groups)]
