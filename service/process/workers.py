"""Several processes behind one port: the parent starts them, replaces one that dies, and stops them all.

All hold the sockets of all, or the one, a byte each that says whether they are ready, and a number each that grows as
long as they go on, so that any of them can answer for all in `/readyz`, and take over for one that is not. One that
stands still is killed, and replaced as any other that dies. Nothing here knows what a worker does.
"""

import logging
import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any, Final

from service.errors import CannotStart
from service.process.signals import stop_signals
from service.readiness import READY, STARTING, Pulse

logger = logging.getLogger(__name__)

SPAWN: Final = multiprocessing.get_context("spawn")  # a fork would copy threads and locks half way

LOOK_S: Final = 1.0
FIRST_LOOK_S: Final = 0.1  # until one is ready
AGAIN_S: Final = 5.0  # until another is tried in the place of one that could not start
SILENT_STOP_S: Final = 10.0  # for a worker to begin to stop
LAST_S: Final = 40.0  # for all of them to end; they end themselves before

Work = Callable[[int, Any, Any, Sequence[socket.socket]], None]  # slot, bytes, numbers, sockets; returns when told


class Workers:
    """The processes, and the only place that knows which of them live."""

    def __init__(
        self,
        n: int,
        work: Work,
        listening: Sequence[socket.socket],
        *,
        timeout_s: float = 0.0,
        drain_delay_s: float = 0.0,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`n` processes that do `work`; one that stands still for `timeout_s` is replaced, 0 lets it stand.

        `on_ready()` is called once, when the first of them is ready.
        """
        self.work = work
        self.timeout_s = timeout_s or float("inf")
        self.drain_delay_s = drain_delay_s
        self.on_ready = on_ready
        self.listening = listening
        self.ready = SPAWN.RawArray("b", n)
        self.pulse = Pulse(SPAWN.RawArray("L", n))
        self.processes: list[SpawnProcess] = []
        self.again: dict[int, float] = {}  # when to try again, by the slot of one that could not start
        self.was_ready = False
        self.stopping = False

    def __repr__(self) -> str:
        return f"<Workers {list(self.ready).count(READY)} of {len(self.ready)} ready>"

    def run(self) -> int:
        """Keep them all running until a signal, and return the exit code.

        Raises:
            CannotStart: a worker died before it was ready, and no other serves.
        """
        waker, alarm = os.pipe()
        os.set_blocking(alarm, False)
        signal.set_wakeup_fd(alarm)
        for number in stop_signals():
            signal.signal(number, self.stop)
        for slot in range(len(self.ready)):
            self.processes.append(self.start(slot))
        while not self.stopping:
            awaited = [process.sentinel for slot, process in enumerate(self.processes) if slot not in self.again]
            self.keep_all(self.look([waker, *awaited]))
        for listening in self.listening:  # the workers hold them until they stop listening
            listening.close()
        self.timeout_s = min(self.timeout_s, SILENT_STOP_S)
        end = time.monotonic() + self.drain_delay_s + LAST_S
        while alive := [process for process in self.processes if process.is_alive()]:
            self.look([process.sentinel for process in alive])
            for process in alive if time.monotonic() > end else ():
                process.kill()
        for slot, process in enumerate(self.processes):
            process.join()
            logger.info("worker %d (pid %s) ended with exit code %s", slot, process.pid, process.exitcode)
        return 0

    def keep_all(self, died: list[Any]) -> None:
        """Start others in the place of those that died, and of those that could not start, once it is time."""
        for slot, process in enumerate(self.processes):
            if self.stopping:
                return
            if slot not in self.again:
                if process.sentinel in died:
                    self.replace(slot)
            elif time.monotonic() >= self.again[slot]:
                del self.again[slot]
                self.processes[slot] = self.start(slot)

    def look(self, waited_for: list[Any]) -> list[Any]:
        """What is ready of what is waited for, a second at most; without, kill who stands still."""
        ready = wait(waited_for, LOOK_S if self.was_ready else FIRST_LOOK_S)
        if not self.was_ready and READY in list(self.ready):
            self.was_ready = True
            self.on_ready()
        if not ready:
            self.pulse.look()
            for slot, process in enumerate(self.processes):
                if self.ready[slot] != READY:
                    self.pulse.missed[slot] = 0
                silent_s = LOOK_S * self.pulse.missed[slot]
                if silent_s >= self.timeout_s:
                    logger.error("worker %d (pid %s) stands still for %g s, it is killed", slot, process.pid, silent_s)
                    process.kill()
        return ready

    def start(self, slot: int) -> SpawnProcess:
        """A worker in its slot."""
        arguments = (slot, self.ready, self.pulse.beats, self.listening)
        process = SPAWN.Process(target=self.work, args=arguments, name=f"worker-{slot}")
        process.start()
        logger.info("worker %d (pid %s) starts", slot, process.pid)
        return process

    def replace(self, slot: int) -> None:
        """Start another in the place of one that has died."""
        process = self.processes[slot]
        process.join()
        ended = f"worker {slot} (pid {process.pid}) ended with exit code {process.exitcode}"
        if self.ready[slot] != STARTING:
            self.ready[slot] = STARTING
            logger.warning("%s, another starts", ended)
            self.processes[slot] = self.start(slot)
        elif READY in list(self.ready):  # its surroundings have changed since the others started
            logger.error("%s before it was ready, another is tried in %g s", ended, AGAIN_S)
            self.again[slot] = time.monotonic() + AGAIN_S
        else:  # another would fare no better
            self.stop(signal.SIGTERM, None)
            raise CannotStart(f"a worker ended with exit code {process.exitcode} before it was ready: see the log")

    def stop(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on to all, and start no more."""
        self.stopping = True
        for process in self.processes:
            if process.is_alive() and process.pid:
                os.kill(process.pid, number)
