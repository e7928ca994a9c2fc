"""Memory: let malloc keep freed memory for the next round; total memory; out-of-memory errors.

By default, glibc's malloc returns large blocks to the system and requests them again in the next round; the system then
has to clear every page. With memory kept, a round in float32 takes five sixths of the time (benchmarks/README.md), but
a process never shrinks.
"""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Options of `mallopt`, from malloc.h."""

MAX_MMAP_THRESHOLD = 32 * 2**20
"""Larger blocks are returned at once; glibc allows no larger threshold."""

MAX_TRIM_THRESHOLD = 2**31 - 1

OUT_OF_MEMORY = "there is not enough memory. Ask for fewer samples or rows, or make game.batch or the networks smaller"
"""Message on an out-of-memory error."""


def keep_freed() -> bool:
    """Let malloc keep freed memory; return whether that is possible (glibc only)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(MMAP_THRESHOLD, MAX_MMAP_THRESHOLD) and set_option(TRIM_THRESHOLD, MAX_TRIM_THRESHOLD))


def total() -> int | None:
    """Memory of this machine in bytes; None if unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error; torch raises RuntimeErrors, which are recognized by their text.

    >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))
