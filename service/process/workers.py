"""Several processes behind one port: the parent starts them, replaces one that dies, and stops them all.

All hold the sockets of all, or the one, and a byte each that says whether they are ready, so that any of them can
answer for all in `/readyz`, and take over for one that is not. Nothing here knows what a worker does.
"""

import logging
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Final

from service.errors import CannotStart
from service.readiness import READY, STARTING

logger = logging.getLogger(__name__)

SPAWN: Final = multiprocessing.get_context("spawn")  # a fork would copy threads and locks half way

Work = Callable[[int, Any, Sequence[socket.socket]], None]  # slot, bytes, sockets; returns when it was told to stop


class Workers:
    """The processes, and the only place that knows which of them live."""

    def __init__(self, n: int, work: Work, listening: Sequence[socket.socket]) -> None:
        self.work = work
        self.listening = listening
        self.ready = SPAWN.RawArray("b", n)
        self.processes: list[SpawnProcess] = []
        self.stopping = False

    def __repr__(self) -> str:
        return f"<Workers {list(self.ready).count(READY)} of {len(self.ready)} ready>"

    def run(self) -> int:
        """Keep them all running until a signal, and return the exit code.

        Raises:
            CannotStart: a worker died before it was ready.
        """
        waker, alarm = os.pipe()
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.stop)
        for slot in range(len(self.ready)):
            self.processes.append(self.start(slot))
        while not self.stopping:
            died = wait([waker, *(process.sentinel for process in self.processes)])
            for slot, process in enumerate(self.processes):
                if process.sentinel in died and not self.stopping:
                    self.replace(slot)
        for listening in self.listening:  # the workers hold them until they stop listening
            listening.close()
        for slot, process in enumerate(self.processes):
            process.join()
            logger.info("worker %d (pid %s) ended with exit code %s", slot, process.pid, process.exitcode)
        return 0

    def start(self, slot: int) -> SpawnProcess:
        """A worker in its slot."""
        process = SPAWN.Process(target=self.work, args=(slot, self.ready, self.listening), name=f"worker-{slot}")
        process.start()
        logger.info("worker %d (pid %s) starts", slot, process.pid)
        return process

    def replace(self, slot: int) -> None:
        """Start another in the place of one that has died."""
        process = self.processes[slot]
        process.join()
        if self.ready[slot] == STARTING:  # another would fare no better
            self.stop(signal.SIGTERM, None)
            raise CannotStart(f"a worker ended with exit code {process.exitcode} before it was ready: see the log")
        self.ready[slot] = STARTING
        logger.warning(
            "worker %d (pid %s) ended with exit code %s, another starts", slot, process.pid, process.exitcode
        )
        self.processes[slot] = self.start(slot)

    def stop(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on to all, and start no more."""
        self.stopping = True
        for process in self.processes:
            if process.is_alive() and process.pid:
                os.kill(process.pid, number)
