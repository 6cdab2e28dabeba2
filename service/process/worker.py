"""One of several workers: what it does in its process, from its start to its end.

Each listens on a socket of its own, and all hold all: where a worker does not listen, because it starts, stops, is dead
or stands still, the others take the connections that wait at its socket, so that none is lost.
"""

import asyncio
import logging
import multiprocessing
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn

from service.app import Service, create_app
from service.errors import CommandError
from service.process.server import LAST_S, Server, end_process, in_background
from service.readiness import Readiness
from service.settings import Settings
from service.telemetry import logs
from service.transports.renewal import LastRead

logger = logging.getLogger(__name__)

SETTLE_S: Final = 0.1  # in which a connection that was taken last brings its request


def run_worker(
    settings: Settings,
    counts: Path,
    last: LastRead,
    slot: int,
    ready: Any,
    beats: Any,
    listening: Sequence[socket.socket],
) -> None:
    """One of several workers, that of `slot`."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        service = create_app(settings, Readiness(ready, slot, beats), counts, last)
    except CommandError as error:
        logger.error("a worker cannot start: %s", error)  # noqa: TRY400 - the sentence says it all
        sys.exit(error.exit_code)
    server = WorkerServer(service, slot, listening)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=stop_with_parent, args=(server, parent), daemon=True).start()
    server.run(sockets=[listening[slot % len(listening)].dup()])
    if parent is not None and not parent.is_alive():
        shutil.rmtree(counts, ignore_errors=True)  # it can no longer do that itself
    server.leave(0)


def stop_with_parent(server: uvicorn.Server, parent: Any) -> None:
    """Stop when the parent has died without a word."""
    parent.join()
    server.should_exit = True
    in_background(LAST_S, end_process)


class WorkerServer(Server):
    """The server of the worker of `slot`; `listening` are the sockets of all, or one for all."""

    def __init__(self, service: Service, slot: int, listening: Sequence[socket.socket]) -> None:
        super().__init__(service, owns_process=True)
        self.listening = listening
        self.others = [other for other in range(len(listening)) if other != slot % len(listening)]
        self.taken_over: dict[int, asyncio.Server] = {}  # by the slot of the worker that does not listen

    async def on_tick(self, counter: int) -> bool:
        """Every tenth of a second: take over what nobody listens to, and leave it to who is back."""
        self.service.readiness.beat()
        for slot in self.others:
            if self.service.readiness.is_ready(slot):
                if slot in self.taken_over:
                    self.taken_over.pop(slot).close()
            elif slot not in self.taken_over:
                self.taken_over[slot] = await self.listen(self.listening[slot].dup())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, so that the others take over; then answer what was taken, and end."""
        self.service.readiness.set(False)
        for server in (*self.servers, *self.taken_over.values()):
            server.close()
        for listening in self.listening:
            listening.close()
        await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)
