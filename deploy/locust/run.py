"""Load a server for a while, and print a table: what `make load` does.

Where nothing answers at --host, and that is this machine, `calibrant serve` is started for the time being, with a
journal in a temporary folder, so that it counts labels. Exit codes: 0 well, 1 there were failures, 2 used
wrongly, 3 there is no server, 130 interrupted.
"""

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from deploy.server import ROOT, NotServed, is_served, serve

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
OVER_S: Final = 60.0  # beyond the four stages, then the load is ended
HERE: Final = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    """Read the options and run; an interrupt ends the load without a traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="http://127.0.0.1:8000", help="URL of the server (default: %(default)s)")
    parser.add_argument(
        "--stage-s", type=float, default=12.0, help="seconds that each of the four stages lasts (default: %(default)g)"
    )
    given = parser.parse_args()
    url = urlsplit(given.host)
    if url.scheme not in ("http", "https") or not url.hostname:
        parser.error(f"--host is {given.host!r}; expected a URL with its scheme, such as http://127.0.0.1:8000")
    if not 0 < given.stage_s < math.inf:
        parser.error(f"--stage-s is {given.stage_s:g}; expected a number of seconds above 0")
    try:
        return run(given.host, given.stage_s)
    except KeyboardInterrupt:
        return complain("interrupted", code=130)


def run(host: str, stage_s: float) -> int:
    """Find or start a server, load it, and stop what was started."""
    if is_served(host):
        sys.stdout.write(f"load: the server at {host}\n")
        return load(host, stage_s)
    url = urlsplit(host)
    if url.scheme != "http" or url.hostname not in HERE:
        return complain(f"nothing answers at {host}/readyz: start a server there, or name another with --host")
    sys.stdout.write(f"load: nothing answers at {host}, a server is started there for the time being\n")
    sys.stdout.flush()
    try:
        with tempfile.TemporaryDirectory() as journal, serve(host, "--journal", journal):
            return load(host, stage_s)
    except NotServed:
        return complain("the server that was started for the load does not get ready")


def load(host: str, stage_s: float) -> int:
    """Run locust to its end, and return its exit code."""
    sys.stdout.write(f"load: four stages of {stage_s:g} s each, then a table\n")
    sys.stdout.flush()
    # without its set-up of logs it prints no table of its own
    options = ["--headless", "--skip-log-setup", "--host", host, "--stage-s", str(stage_s)]
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=4 * stage_s + OVER_S, check=False).returncode  # noqa: S603 - the command is ours
    except subprocess.TimeoutExpired:
        return complain("the load did not come to its end")


def complain(sentence: str, code: int = 3) -> int:
    """Say why there is no load, or no more; returns the exit code."""
    sys.stderr.write(f"load: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
