"""uvicorn's server as this service runs it, in one process or in a worker of several."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.app import Service
from service.process.memory import return_large_blocks
from service.process.signals import stop_signals, watched_signals
from service.process.sockets import BACKLOG
from service.settings import Settings
from service.transports.fast_known import KnownProtocol
from service.transports.limits import WINDOW_S
from service.transports.ordinary import OrdinaryProtocol
from service.transports.private_names import missing_names

logger = logging.getLogger(__name__)

KEEP_ALIVE_S: Final = 75  # longer than the 60 s of the usual balancers, which then close first
GRACE_S: Final = 30  # for what is in flight at shutdown
RUN_S: Final = 20.0  # for a run at shutdown, so that its batch hears of it while there is somebody to hear it
LAST_S: Final = 38.0  # for all of the shutdown; whoever waits for the process gives it 40 s, as the chart does
EXIT_CODE: Final = 1
# libuv takes one connection from a descriptor in a turn of the loop, which is too few where a turn takes long and
# everybody connects again; so many descriptors of a socket cost what asks for a connection that is not there, 1 us each
N_ACCEPTED: Final = 16


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
    """uvicorn's server, but for what SIGTERM means: not ready at once, closed after `drain_delay_s`, exit code 0.

    With `owns_process`, whatever does not end does not keep the process from its end.
    """

    def __init__(self, service: Service, *, owns_process: bool = False) -> None:
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
        self.owns_process = owns_process
        self.is_bounded = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then freeze the long-lived objects out of garbage collection."""
        return_large_blocks()
        await super().startup([])
        self.servers = [await self.listen(each.dup()) for each in sockets or () for _ in range(N_ACCEPTED)]
        gc.collect()
        gc.freeze()
        logger.info("process %d serves", os.getpid())

    async def listen(self, listening: socket.socket) -> asyncio.Server:
        """Take the connections of a socket; who is slow with the handshake of TLS is ended as who is with headers.

        Who does not close its side of TLS is ended as who does not read an answer: asyncio would wait for 30 s.
        """
        protocol: Any = self.config.http_protocol_class
        make = partial(protocol, config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        tls: dict[str, Any] = {}
        if self.service.certificate is not None:
            tls = {
                "ssl": self.service.certificate.context,
                "ssl_handshake_timeout": self.service.settings.header_timeout_s,
                "ssl_shutdown_timeout": WINDOW_S,
            }
        return await asyncio.get_running_loop().create_server(make, sock=listening, backlog=BACKLOG, **tls)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop, and say when that is done."""
        logger.info("process %d stops, open connections: %d", os.getpid(), len(self.server_state.connections))
        if self.service.batcher is not None:
            self.service.batcher.watchdog.shorten(RUN_S)
        await super().shutdown(sockets)
        logger.info("process %d has stopped", os.getpid())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle what stops it; uvicorn would raise the signal again at the end, which makes the exit code its own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.stop) for number in stop_signals()}
        try:
            with watched_signals(self.bound_end):
                yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGHUP drain first; Ctrl-C, or a second signal, does not wait."""
        delay_s = self.service.settings.drain_delay_s
        wait = number != signal.SIGINT and delay_s > 0 and not self.service.draining
        self.service.draining = True
        logger.info("%s: the service drains for %g s", signal.Signals(number).name, delay_s if wait else 0)
        if wait:
            in_background(delay_s, self.handle_exit, number, frame)
        else:
            self.handle_exit(number, frame)

    def bound_end(self, number: int) -> None:
        """At the first signal: end the process in time, whatever becomes of `stop`."""
        if self.owns_process and not self.is_bounded and number in stop_signals():
            self.is_bounded = True
            delay_s = 0.0 if number == signal.SIGINT else self.service.settings.drain_delay_s
            in_background(delay_s + LAST_S, end_process)

    def leave(self, code: int) -> None:
        """End the process with this exit code where runs or loads that never return would hold it; else do nothing."""
        batcher = self.service.batcher
        runs = 0 if batcher is None else len(batcher.watchdog.in_threads)
        loads = len(self.service.loader.loads.running)
        if runs:
            logger.warning("process %d ends without %d runs that do not", os.getpid(), runs)
        if loads:
            logger.warning("process %d ends without %d loads that do not", os.getpid(), loads)
        if runs or loads:
            os._exit(code)


def in_background(delay_s: float, work: Callable[..., object], *arguments: object) -> None:
    """Do it after `delay_s` unless the process has ended by then."""
    timer = threading.Timer(delay_s, work, arguments)
    timer.daemon = True
    timer.start()


def end_process() -> None:
    """End the process, which was told to stop, and did not."""
    logger.critical("process %d did not stop within %g s: it ends now", os.getpid(), LAST_S)
    os._exit(EXIT_CODE)
