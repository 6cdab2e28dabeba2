"""The live process beside the server: started and ended with it, started again when it dies or stands still."""

import logging
import math
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from service.journal.lock import LOCK
from service.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

PASSED_ON: Final = (
    "journal",
    "journal_keep_days",
    "journal_max_mb",
    "journal_store",
    "label_policy",
    "label_wait_s",
    "ece_bound",
    "refit",
    "labels_sampled",
    "models",
    "default_model",
    "log_format",
    "log_level",
)
STEADY_S: Final = 10.0  # a process that lives shorter is not started again at once
MAX_DELAY_S: Final = 30.0
SILENT_S: Final = 60.0  # for which one may stand still, before another takes its place
END_S: Final = 10.0  # to read what is there, at the end


@contextmanager
def live_process(settings: Settings) -> Iterator["LiveProcess | None"]:
    """The process as long as the server runs, where there is a journal."""
    if settings.journal is None:
        yield None
        return
    process = LiveProcess(settings, settings.journal)
    try:
        yield process
    finally:
        process.stop()


class LiveProcess:
    """The process, and a thread that waits for its end."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        """Start it on the journal's folder."""
        self.heartbeat = folder / LOCK
        passed = {PREFIX + name.upper(): str(value) for name in PASSED_ON if (value := getattr(settings, name)) != ""}
        # a variable in whose place the server has an option may be wrong
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        self.environment = others | passed
        self.stopping = threading.Event()
        self.lock = threading.Lock()  # held where the process is replaced, so that none is started behind the end
        self.process = self.start()
        self.thread = threading.Thread(target=self.watch, name="calibrant-live", daemon=True)
        self.thread.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start one; its standard input ends when this process does, whatever ends that."""
        self.beat, self.heard_at = self.last_beat(), math.inf
        command = [sys.executable, "-m", "service", "live", "--follow"]
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.PIPE)  # noqa: S603 - our own

    def watch(self) -> None:
        """Start another in the place of one that has died, sooner or later."""
        delay_s = 0.0
        while True:
            try:
                code = wait_for_end(self.process, STEADY_S)
            except subprocess.TimeoutExpired:
                delay_s = 0.0
                self.kill_silent()
                continue
            self.stopping.wait(delay_s)
            with self.lock:
                if self.stopping.is_set():
                    return
                pid = self.process.pid
                logger.warning("the live process (pid %d) ended with exit code %d, another starts", pid, code)
                if self.process.stdin is not None:
                    self.process.stdin.close()
                self.process = self.start()
            delay_s = min(MAX_DELAY_S, 2 * delay_s + 1)

    def last_beat(self) -> int:
        """When one last showed that it goes on, in nanoseconds since 1970; 0 is never."""
        try:
            return self.heartbeat.stat().st_mtime_ns
        except OSError:
            return 0

    def kill_silent(self) -> None:
        """Kill one that stands still; one that starts, which may take long, has not been heard yet."""
        beat, now = self.last_beat(), time.monotonic()
        if beat != self.beat:
            self.beat, self.heard_at = beat, now
        elif now - self.heard_at > SILENT_S:
            logger.error("the live process (pid %d) stands still for %g s, it is killed", self.process.pid, SILENT_S)
            self.process.kill()

    def stop(self) -> None:
        """Let it read what is there, and end."""
        with self.lock:
            self.stopping.set()
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.thread.join()


def wait_for_end(process: "subprocess.Popen[bytes]", seconds: float) -> int:
    """The exit code of a process, once it has ended.

    `Popen.wait` with a time looks 20 times a second, and has the event loop wait for the interpreter each time, which
    takes 0.6 % of a busy core.

    Raises:
        subprocess.TimeoutExpired: it has not within so many seconds.
    """
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not Linux, or waited for meanwhile, where the service ends
        return process.wait(seconds)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(1000 * seconds)
    finally:
        os.close(descriptor)
    return process.wait(0)
