"""Limits of memory: how they are written, what a process may take here, and what it has taken."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kit.errors import ConfigError

if TYPE_CHECKING:  # limits are read and printed without torch
    import torch

UNITS = {
    "": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
SHARE_OF_FREE = 0.8  # of a machine's free memory: the rest keeps files in the page cache, the pack above all
CUDA_CONTEXT = 512 * 2**20  # bytes of a card that CUDA and its kernels take, beside what PyTorch allocates


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much memory a process may take on a device, all in all."""

    num_bytes: int
    source: str  # where the number is from, for people
    asked: bool  # a person set it: it is enforced


def parse_memory(text: str) -> int:
    """Return the bytes that a text such as "11GiB", "800 MB" or "4000000000" means.

    Raises:
        ConfigError: it means no number of bytes above 0.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    scale = UNITS.get(found[2].upper()) if found else None
    if found is None or scale is None or float(found[1]) * scale < 1:
        raise ConfigError(
            f"{text!r} is not an amount of memory. Write a number and its unit, such as 11GiB, 800MiB or 8GB, or plain "
            "bytes; 1 GiB is 1,073,741,824 bytes, 1 GB is 1,000,000,000."
        )
    return int(float(found[1]) * scale)


def printed(num_bytes: float) -> str:
    """Return bytes as people read them: "167 MiB", "10.9 GiB"."""
    mib = num_bytes / 2**20
    if abs(mib) < 1000:
        return f"{mib:.1f} MiB" if abs(mib) < 10 else f"{mib:.0f} MiB"
    return f"{mib / 1024:.2f} GiB" if mib < 10 * 1024 else f"{mib / 1024:.1f} GiB"


def memory_limit(device: "torch.device", asked: int | None = None) -> Limit:
    """Return what this process may take on `device`.

    Args:
        device: a GPU's own memory counts there, the machine's anywhere else.
        asked: bytes that a person set; if None, `KIT_MEMORY` decides, else what is free now.

    Raises:
        ConfigError: KIT_MEMORY is no amount of memory.
    """
    if asked is not None:
        return Limit(num_bytes=asked, source="asked for", asked=True)
    if chosen := os.environ.get("KIT_MEMORY", "").strip():
        try:
            return Limit(num_bytes=parse_memory(chosen), source="KIT_MEMORY", asked=True)
        except ConfigError as error:
            raise ConfigError(f"KIT_MEMORY: {error}") from error
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        own = torch.cuda.memory_reserved(device) + CUDA_CONTEXT
        return Limit(
            num_bytes=min(total, free + own), source=f"free on {torch.cuda.get_device_name(device)}", asked=False
        )
    return _free_here()


def enforce(limit: Limit, device: "torch.device") -> None:
    """Hold this process to a limit that was asked for, by the framework's own setting; one of the machine is no limit.

    On a CPU there is no such setting: there the trainer looks at `resident_bytes` between portions.

    Raises:
        ConfigError: the card has less memory than the limit, or CUDA alone takes it.
    """
    if device.type != "cuda" or not limit.asked:
        return
    import torch

    _, total = torch.cuda.mem_get_info(device)
    if not CUDA_CONTEXT < limit.num_bytes <= total:
        raise ConfigError(
            f"A limit of {printed(limit.num_bytes)} ({limit.source}) on {torch.cuda.get_device_name(device)}: it must "
            f"be above {printed(CUDA_CONTEXT)}, which CUDA itself takes, and at most the card's {printed(total)}."
        )
    torch.cuda.set_per_process_memory_fraction((limit.num_bytes - CUDA_CONTEXT) / total, device)


def resident_bytes() -> int:
    """Return the bytes of memory that this process holds and nobody could take from it; 0 outside Linux.

    Pages of files, such as those of a memory-mapped pack, are left out: the system drops them when memory is short.
    """
    found = _status()
    return found.get("RssAnon", 0) + found.get("RssShmem", 0) + found.get("VmSwap", 0)


def peak_resident_bytes() -> int:
    """Return the most bytes, in the sense of `resident_bytes`, since the start or `forget_peak`; 0 outside Linux.

    The system keeps the peak with the pages of files; those of now are taken off, as they hardly ever grow less.
    """
    found = _status()
    return max(resident_bytes(), found.get("VmHWM", 0) - found.get("RssFile", 0))


def forget_peak() -> bool:
    """Let `peak_resident_bytes` begin anew, and return whether the system allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def total_memory() -> int:
    """Return the bytes of memory of this machine, or of the control group that holds this process."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *(most for most, _ in _control_groups())])


def _status() -> dict[str, int]:
    """Return the amounts of /proc/self/status in bytes; empty where there is no such file."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.endswith(" kB"))
    return {key.rstrip(":"): int(number) * 1024 for key, number, _ in pairs}


def _free_here() -> Limit:
    """Return a share of the memory that is free in this machine, or in the control group that holds this process."""
    own = resident_bytes()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split()[0].rstrip(":"): int(line.split()[1]) * 1024 for line in lines}
        free, source = sizes["MemAvailable"] + own, "this machine"
    except (OSError, KeyError):
        free, source = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "this machine"
    for most, used in _control_groups():
        if (left := most - used + own) < free:
            free, source = left, "this container"
    return Limit(
        num_bytes=max(1, int(free * SHARE_OF_FREE)),
        source=f"{SHARE_OF_FREE:.0%} of what {source} has free",
        asked=False,
    )


def _control_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[tuple[int, int]]:
    """Return (limit, used) in bytes of each control group above this process that has a limit, of either version."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, names = root, ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        # Inside a container the path is often the host's, and the group itself is mounted at the top.
        inner = top / path.lstrip("/")
        for folder in {top, inner, *(one for one in inner.parents if one.is_relative_to(top))}:
            try:
                most = int((folder / names[0]).read_text())
                used = int((folder / names[1]).read_text()) - _droppable(folder / "memory.stat")
            except (OSError, ValueError):  # not there, or "max"
                continue
            found.append((most, max(0, used)))
    return found


def _droppable(stat: Path) -> int:
    """Return the bytes of files that the system would drop before it ends a process."""
    for line in stat.read_text().splitlines():
        key, _, number = line.partition(" ")
        if key == "inactive_file":
            return int(number)
    return 0
