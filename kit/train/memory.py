"""Memory of a CPU's activations: kept by the process between steps, as a GPU's allocator keeps it."""

import ctypes
import sys
from functools import cache

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
LARGEST = 2**31 - 1  # bytes at the top of the heap that are not handed back; an int


@cache
def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the rest of the process, and return whether it does so.

    glibc asks the system for each block of more than 32 MiB, and gives it back when it is freed. A network frees its
    activations in every step, and gets them anew as pages that the system has to clear first: 40 % of the time of a
    frozen EfficientNet-Lite0 (128 px, batches of 64, two cores) and 20 % of the unfrozen one went into that. Other C
    libraries and systems are left alone. The process does not grow by it beyond its own peak, but for gaps.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST))
