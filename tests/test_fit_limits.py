"""Limits of memory: how they are written, which one holds, and what a process has taken."""

import mmap
import os
from pathlib import Path

import pytest
import torch

from kit.errors import ConfigError
from kit.fit import limits
from kit.fit.limits import (
    Limit,
    enforce,
    forget_peak,
    memory_limit,
    parse_memory,
    peak_resident_bytes,
    printed,
    total_memory,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("11GiB", 11 * 2**30), ("1.5 GiB", 3 * 2**29), ("800 MB", 800 * 10**6), ("64mib", 64 * 2**20), ("4096", 4096)],
)
def test_an_amount_of_memory_is_a_number_with_a_unit_or_plain_bytes(text: str, num_bytes: int) -> None:
    assert parse_memory(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "11G", "-1GiB", "0", "1e9", "eleven GiB", "0.1", "nan"])
def test_what_is_no_amount_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 11GiB"):
        parse_memory(text)


def test_amounts_are_printed_with_three_figures() -> None:
    amounts = [167.2 * 2**20, 10.94 * 2**30, 2.5 * 2**20, 6.54 * 2**30]
    assert [printed(amount) for amount in amounts] == ["167 MiB", "10.9 GiB", "2.5 MiB", "6.54 GiB"]


def test_what_was_asked_for_comes_before_the_environment_and_both_before_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = memory_limit(CPU)
    assert not free.asked and free.num_bytes > 2**20
    monkeypatch.setenv("KIT_MEMORY", "3GiB")
    assert memory_limit(CPU) == Limit(num_bytes=3 * 2**30, source="KIT_MEMORY", asked=True)
    assert memory_limit(CPU, 5).num_bytes == 5


def test_an_environment_that_is_no_amount_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIT_MEMORY", "plenty")
    with pytest.raises(ConfigError, match="KIT_MEMORY"):
        memory_limit(CPU)


def test_a_limit_on_a_cpu_is_no_setting_of_the_framework() -> None:
    enforce(Limit(num_bytes=1, source="asked for", asked=True), CPU)  # looked at between portions instead


@pytest.mark.parametrize(
    ("group", "folder", "limit", "current"),
    [
        ("0::/box", "box", "memory.max", "memory.current"),
        ("5:cpu,memory:/box", "memory/box", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_container_is_found_and_its_droppable_files_are_free(
    tmp_path: Path, group: str, folder: str, limit: str, current: str
) -> None:
    inner = tmp_path / "cgroup" / folder
    inner.mkdir(parents=True)
    (inner / limit).write_text(f"{8 * 2**30}\n")
    (inner / current).write_text(f"{3 * 2**30}\n")
    (inner / "memory.stat").write_text(f"anon 5\ninactive_file {2**30}\n")
    own = tmp_path / "own"
    own.write_text(f"{group}\n3:cpuset:/elsewhere\n")
    assert limits._control_groups(tmp_path / "cgroup", own) == [(8 * 2**30, 2 * 2**30)]


def test_a_container_without_a_limit_is_none(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    own = tmp_path / "own"
    own.write_text("0::/\n")
    assert limits._control_groups(tmp_path, own) == []


def test_the_memory_of_a_machine_is_the_containers_where_that_has_less(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for groups, expected in (([], machine), ([(2**60, 0), (2**20, 5)], 2**20), ([(2**60, 0)], machine)):
        monkeypatch.setattr(limits, "_control_groups", lambda groups=groups: groups)
        assert total_memory() == expected


def test_memory_that_was_freed_stays_in_the_peak_until_it_is_forgotten() -> None:
    before = peak_resident_bytes()
    if not before or not forget_peak():
        pytest.skip("this system tells no process how much memory it has, or does not forget the peak")
    taken = mmap.mmap(-1, 64 * 2**20)  # the system's own: what an allocator frees, it may keep
    taken.write(bytes(64 * 2**20))
    held = limits.resident_bytes()
    taken.close()
    assert peak_resident_bytes() >= held - 2**20
    assert forget_peak()
    assert peak_resident_bytes() < held - 32 * 2**20


@pytest.mark.gpu
def test_a_limit_on_a_card_stops_allocations_beyond_it() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device is at hand")
    device = torch.device("cuda")
    enforce(Limit(num_bytes=limits.CUDA_CONTEXT + 2**30, source="asked for", asked=True), device)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2 * 2**30, dtype=torch.uint8, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
