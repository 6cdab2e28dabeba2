"""What the C library and NumPy do with freed memory."""

import ctypes
from contextlib import suppress
from typing import Final

import numpy as np

M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h
M_MMAP_THRESHOLD: Final = -3
LARGE_BLOCK: Final = 4 * 2**20  # bytes
KEPT: Final = 32 * 2**20  # bytes; 16 MB do for sixteen clients with bodies of 1 MB, 8 MB do not


def return_large_blocks(from_bytes: int = LARGE_BLOCK, kept_bytes: int = KEPT) -> None:
    """Let the C library give large blocks back at once: glibc learns to keep those it has seen, up to 32 MB.

    What is smaller stays at the end of the heap, up to `kept_bytes`: given back after one request, it came anew for
    the next, and a tenth of the time of a request of 64x1000 went into page faults.
    """
    with suppress(OSError, AttributeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, from_bytes)
        libc.mallopt(M_TRIM_THRESHOLD, kept_bytes)


def fill_array_cache() -> None:
    """Take at once what NumPy keeps of freed arrays: 7 of each size below 1024 bytes, 4 MB in all.

    Where sizes vary, it comes to that over hours, which looks like a leak. The numbers are those of NumPy's alloc.c.
    """
    _ = [np.empty(n_bytes, np.uint8) for n_bytes in range(1, 1024) for _ in range(7)]
