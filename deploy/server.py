"""A server of this checkout, for as long as something is sent to it."""

import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[1]
START_S, STOP_S = 30.0, 40.0


class NotServed(Exception):
    """The server did not start."""


@contextmanager
def serve(url: str, *options: object, stdout: int | None = None) -> Iterator[None]:
    """`calibrant serve` at `url`, ready; it is ended, whatever happens.

    Its first lines, on how to use it, go to `stdout`, as subprocess takes it.

    Raises:
        NotServed: it does not get ready. Its own sentence is on the standard error.
    """
    parts = urlsplit(url)
    where = ["--host", str(parts.hostname), "--port", str(parts.port or 80)]
    command = [sys.executable, "-m", "service", "serve", *where, *map(str, options)]
    server = None
    try:
        with interrupted_later():
            server = subprocess.Popen(command, cwd=ROOT, stdout=stdout)  # noqa: S603 - the command is ours
        end = time.monotonic() + START_S
        while not is_served(url):
            if server.poll() is not None or time.monotonic() > end:
                raise NotServed
            time.sleep(0.05)
        yield
    finally:
        if server is not None and server.poll() is None:
            server.terminate()
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Hold an interrupt until the end: one within Popen would leave a process that nobody knows, and nobody ends."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)


def is_served(url: str) -> bool:
    """Whether a server answers, ready or not."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - whoever calls this names the address
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
