"""What processes take and a core has done, as /proc tells."""

import os
import subprocess
import time
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


def family(pid: int) -> list[int]:
    """A process and its descendants, as far as the system tells."""
    found = [pid]
    for each in found:
        for children in (PROC / str(each) / "task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def used_by(pid: int) -> tuple[float, float]:
    """CPU seconds and resident MB of one process; zeros when it has gone."""
    if not PROC.is_dir():
        return used_says_ps(pid)
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
        # its CPU clock (clock_getcpuclockid(3)) counts nanoseconds, /proc/PID/stat ticks of 10 ms
        cpu_s = time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0, 0.0
    return cpu_s, pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def shared_mb(pid: int) -> float:
    """MB of one process, of shared pages its share; all that is resident where the system does not tell."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return used_by(pid)[1]
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def used_says_ps(pid: int) -> tuple[float, float]:
    """As `used_by`, where there is no /proc."""
    command = ["/bin/ps", "-o", "time=,rss=", "-p", str(pid)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.split()
    if len(said) != 2:
        return 0.0, 0.0
    seconds = 0.0
    for part in said[0].split(":"):
        seconds = 60 * seconds + float(part)
    return seconds, int(said[1]) / 1024


def busy_s(core: int | None) -> float:
    """Seconds that a core has worked since the start of the machine, for whomever."""
    if core is None or not PROC.is_dir():
        return 0.0
    for line in (PROC / "stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, *others = map(int, ticks[:8])
            return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")
    return 0.0
