"""One cycle: learning rate and momentum as a pure function of the step (Smith & Topin 2018, as fast.ai shapes it)."""

from dataclasses import dataclass
from math import cos, pi

from kit.errors import ConfigError

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


def spread_lr(peak_lr: float, *, spread: float, num_groups: int, between: str = "geometric") -> list[float]:
    """Return one peak rate per depth group, stem first: from `peak_lr / spread` to `peak_lr` of the head.

    fast.ai's `slice(lo, hi)`: discriminative learning rates (Howard & Ruder 2018). Its `slice(hi)` is a spread of 10
    with the body's groups "equal".

    Args:
        peak_lr: of the head.
        spread: head's rate over the stem's.
        num_groups: depth groups, the head among them.
        between: "geometric": groups between are spaced geometrically; "equal": all but the head learn as the stem.
    """
    if num_groups == 1:
        return [peak_lr]
    if between == "equal":
        return [peak_lr / spread] * (num_groups - 1) + [peak_lr]
    return [peak_lr / spread ** (1 - k / (num_groups - 1)) for k in range(num_groups)]


def peak_lrs(lr: float | slice, *, num_groups: int) -> list[float]:
    """Return one peak rate per depth group for what fast.ai's users write: `lr`, `slice(hi)` or `slice(lo, hi)`.

    Raises:
        ConfigError: a slice without an upper end, with a step, or with rates that are not positive.
    """
    if not isinstance(lr, slice):
        return [lr] * num_groups
    lo, hi = lr.start, lr.stop
    rates = [rate for rate in (lo, hi) if rate is not None]
    if hi is None or lr.step is not None or not all(isinstance(rate, int | float) and rate > 0 for rate in rates):
        raise ConfigError(f"{lr} is not slice(hi) or slice(lo, hi) of two positive learning rates.")
    if lo is None:
        return spread_lr(hi, spread=10.0, num_groups=num_groups, between="equal")
    return spread_lr(hi, spread=hi / lo, num_groups=num_groups)


def side_of_epoch(epoch: int, *, num_epochs: int, start: int, final: int, multiple: int = 16) -> int:
    """Return the side of the images in `epoch` (from 0) of `num_epochs`: progressive resizing (Howard, DAWNBench 2018).

    It grows in equal steps over the first three quarters of the epochs, in multiples of `multiple` pixels, and is
    `final` in the last quarter, in which the network gets used to what it will be tested at.
    """
    if not start or start >= final:
        return final
    growing = num_epochs - max(1, round(num_epochs / 4))
    if epoch >= growing:
        return final
    side = start + (final - start) * epoch / growing
    return min(final, max(start, multiple * round(side / multiple)))
