"""The memory of this process: how much it may take, how much it holds, and giving back what is free."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def limit_bytes() -> int:
    """What the cgroup allows, version 2 or 1, and never more than the machine has."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no such cgroup, or `max`
            return min(machine, int(path.read_text()))
    return machine


def resident_bytes() -> int:
    """What this process holds; 0 where /proc does not tell."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def give_back() -> None:
    """Let the C library give free memory back to the system, wherever in its heaps it lies."""
    with suppress(OSError, AttributeError):  # another C library has no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
