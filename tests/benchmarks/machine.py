"""What the figures were measured on, without which they mean nothing."""

import os
import platform
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.benchmarks.processes import ROOT, cores

PACKAGES: Final = ("fastapi", "httptools", "numpy", "onnxruntime", "orjson", "pydantic", "uvicorn")
BY_CHANCE: Final = ("pysimdjson", "uvloop")  # not everywhere


def described() -> dict[str, str]:
    """The machine and the versions, a name to a value."""
    server, client = cores()
    where = "not pinned" if server is None else f"server on core {server}, generator on core {client}"
    found = {
        "machine": f"{processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "pinned": where,
        "load at the start": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "Python": f"{platform.python_implementation()} {sys.version.split()[0]}, {build()}",
        "this project": "compiled" if find_spec("service.codec.predict.speedups") else "its source",
        "commit": commit(),
    }
    for name in (*PACKAGES, *BY_CHANCE):
        try:
            found[name] = version(name)
        except ImportError:
            found[name] = "none"
    return found


def build() -> str:
    """How this Python was built, which is worth a tenth; Debian's has PGO without that option."""
    option = "--enable-optimizations"
    has = "with" if option in str(sysconfig.get_config_var("CONFIG_ARGS")) else "without"
    return f"{platform.python_compiler()}, {has} {option}"


def processor() -> str:
    """What the CPU calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str:
    """The commit that is checked out, with a mark where files differ from it."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.stdout.strip()
