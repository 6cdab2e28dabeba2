"""Load a server for a while, and print a table: what `make load` does.

Where nothing answers at --host, and that is this machine, `calibrant serve` is started for the time being, with a
journal in a temporary folder, so that it counts labels. Exit codes: 0 well, 1 there were failures, 3 there is no
server.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[2]
LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
START_S, STOP_S = 30.0, 40.0
OVER_S: Final = 60.0  # beyond the four stages, then the load is ended
HERE: Final = ("127.0.0.1", "localhost", "::1")


def main() -> int:
    """Find or start a server, load it, and stop what was started."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="http://127.0.0.1:8000", help="URL of the server (default: %(default)s)")
    parser.add_argument(
        "--stage-s", type=float, default=12.0, help="seconds that each of the four stages lasts (default: %(default)g)"
    )
    given = parser.parse_args()
    if ready(given.host):
        sys.stdout.write(f"load: the server at {given.host}\n")
        return load(given.host, given.stage_s)
    url = urlsplit(given.host)
    if url.scheme != "http" or url.hostname not in HERE:
        return complain(f"nothing answers at {given.host}/readyz: start a server there, or name another with --host")
    sys.stdout.write(f"load: nothing answers at {given.host}, a server is started there for the time being\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as journal:
        options = ["--host", url.hostname, "--port", str(url.port or 80), "--journal", journal]
        server = subprocess.Popen([sys.executable, "-m", "service", "serve", *options], cwd=ROOT)  # noqa: S603 - the command is ours
        try:
            end = time.monotonic() + START_S
            while not ready(given.host):
                if server.poll() is not None or time.monotonic() > end:
                    return complain("the server that was started for the load does not get ready")
                time.sleep(0.05)
            return load(given.host, given.stage_s)
        finally:
            stop(server)


def stop(server: "subprocess.Popen[bytes]") -> None:
    """End a server that was started, and wait for it."""
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def load(host: str, stage_s: float) -> int:
    """Run locust to its end, and return its exit code."""
    # without its set-up of logs it prints no table of its own
    options = ["--headless", "--skip-log-setup", "--host", host, "--stage-s", str(stage_s)]
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), *options]
    try:
        return subprocess.run(command, cwd=ROOT, timeout=4 * stage_s + OVER_S, check=False).returncode  # noqa: S603 - the command is ours
    except subprocess.TimeoutExpired:
        return complain("the load did not come to its end")


def ready(host: str) -> bool:
    """Whether a server answers, ready or not."""
    try:
        with urllib.request.urlopen(f"{host}/readyz", timeout=5) as answer:  # noqa: S310 - whoever calls this names the address
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def complain(sentence: str) -> int:
    """Say why there is no load."""
    sys.stderr.write(f"load: {sentence}\n")
    return 3


if __name__ == "__main__":
    sys.exit(main())
