"""The whole examination, topic by topic."""

from collections.abc import Callable, Iterator

from kit.doctor.findings import Finding
from kit.doctor.machine import (
    look_at_cores,
    look_at_device,
    look_at_disk,
    look_at_memory,
    look_at_versions,
    time_a_step,
)
from kit.doctor.surroundings import (
    look_at_competitions,
    look_at_credentials,
    look_at_mirror,
    look_at_tracking,
    look_at_weights,
)

LOOKS: tuple[Callable[[], Finding], ...] = (
    look_at_versions,
    look_at_device,
    look_at_memory,
    look_at_cores,
    look_at_disk,
    look_at_weights,
    look_at_competitions,
    look_at_mirror,
    look_at_credentials,
    look_at_tracking,
    time_a_step,
)


def examine() -> Iterator[Finding]:
    """Yield what is found, one topic after the other: a person sees the first while the last is still measured."""
    for look in LOOKS:
        yield look()
