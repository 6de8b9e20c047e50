"""A setting of the C library's memory allocator that training on a CPU gains from."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h of glibc
_LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; False where the allocator has no such setting (glibc has).

    A step allocates and frees the same large buffers again and again. By default glibc hands them back to the system
    each time and gets them anew, page fault by page fault, which took a fifth of the processor time with a vocabulary
    of 10,000 words. The process then holds on to the most memory that it ever used. It is a setting of the whole
    process, so the command line makes it and the library does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)) and bool(mallopt(_M_MMAP_MAX, 0))
