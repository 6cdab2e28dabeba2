"""uvicorn's server as this service runs it, in one process or in a worker of several."""

import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.app import Service
from service.process.memory import return_large_blocks
from service.process.sockets import BACKLOG
from service.settings import Settings
from service.transports.fast_known import KnownProtocol
from service.transports.ordinary import OrdinaryProtocol
from service.transports.private_names import missing_names

logger = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 75  # longer than the 60 s of the usual balancers, which then close first
GRACE_S: Final = 30  # for what is in flight at shutdown


def choose_protocol(settings: Settings) -> type[HttpToolsProtocol]:
    """The transport that the settings want where this uvicorn can carry it, else uvicorn's own with ASGI behind it."""
    if missing := missing_names():
        logger.warning(
            "uvicorn %s has no %s: requests go through ASGI, which is slower, and headers, seconds and connections "
            "have no limits; expected a version that pyproject.toml names",
            uvicorn.__version__,
            ", ".join(missing),
        )
        return HttpToolsProtocol
    return KnownProtocol if settings.fast_http else OrdinaryProtocol


class Server(uvicorn.Server):
    """uvicorn's server, but for what SIGTERM means: not ready at once, closed after `drain_delay_s`, exit code 0."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            service,
            http=choose_protocol(service.settings),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # the transports write it, with the request's id
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self.service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then freeze the long-lived objects out of garbage collection."""
        return_large_blocks()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        logger.info("process %d serves", os.getpid())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and say when that is done."""
        logger.info("process %d stops, %d connections are open", os.getpid(), len(self.server_state.connections))
        await super().shutdown(sockets)
        logger.info("process %d has stopped", os.getpid())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM; uvicorn would raise them again at the end, which makes the exit code theirs."""
        handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        before = {number: signal.signal(number, self.stop) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM drains first; Ctrl-C, or a second SIGTERM, does not wait."""
        delay_s = self.service.settings.drain_delay_s
        wait = number == signal.SIGTERM and delay_s > 0 and not self.service.draining
        self.service.draining = True
        logger.info("%s: the service drains for %g s", signal.Signals(number).name, delay_s if wait else 0)
        if wait:
            timer = threading.Timer(delay_s, self.handle_exit, (number, frame))
            timer.daemon = True  # a second signal may end the process before
            timer.start()
        else:
            self.handle_exit(number, frame)
