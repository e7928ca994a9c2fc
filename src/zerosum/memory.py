"""Memory: what one round frees is kept for the next; how much there is, and whether it ran out.

By default, C's allocator on Linux gives large blocks back to the system and asks for them again in the next round; the
system then has to hand over each page anew, empty. Kept, a round in float32 takes five sixths of the time
(benchmarks/README.md), and a process stays as large as it was at its largest.
"""

import ctypes
import os
import platform

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What `mallopt` calls them, malloc.h."""

LARGEST_BLOCK = 32 * 2**20
"""Blocks above this go back at once; no larger bound is allowed."""

MOST_KEPT = 2**31 - 1

SHORT = "there is not enough memory. Ask for fewer samples or rows, or make game.batch or the networks smaller"
"""What a user can do where it ran out."""


def keep_freed() -> bool:
    """Let the process keep what it frees; whether its allocator could be told."""
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return bool(set_option(MMAP_THRESHOLD, LARGEST_BLOCK) and set_option(TRIM_THRESHOLD, MOST_KEPT))


def total() -> int | None:
    """Bytes of memory that this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out; torch says so in words.

    >>> ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and ("allocate memory" in str(error) or "out of memory" in str(error))
