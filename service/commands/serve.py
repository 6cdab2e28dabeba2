"""Answer over HTTP with the heads of a models folder, until Ctrl-C or SIGTERM."""

import argparse
import ctypes
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final, Literal, get_args, get_origin

# numpy's BLAS would start a thread a core for products that are never large here
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvicorn

from service.app import Readiness, Service, create_app
from service.errors import CannotStart, CommandError
from service.process.workers import Workers
from service.settings import PREFIX, Settings, load
from service.telemetry import logs
from service.transports.fast import FastLane, OrdinaryLane

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
KEEP_ALIVE_S: Final = 75  # longer than the 60 s of the usual balancers, which then close first
GRACE_S: Final = 30  # for what is in flight at shutdown
M_TRIM_THRESHOLD: Final = -1  # of glibc's malloc.h
M_MMAP_THRESHOLD: Final = -3
LARGE_BLOCK: Final = 4 * 2**20  # bytes
KEPT: Final = 32 * 2**20  # bytes; 16 MB do for sixteen clients with bodies of 1 MB, 8 MB do not


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option a setting; what is not given comes from the environment, then from the default."""
    for name, field in Settings.model_fields.items():
        default = "none" if field.default in (None, "") else field.default
        default = f"{default:g}" if isinstance(default, float) else default
        how: dict[str, Any] = {"metavar": field.title or name.rpartition("_")[2].upper()}
        if field.annotation is bool:
            how = {"action": argparse.BooleanOptionalAction}
        elif get_origin(field.annotation) is Literal:
            how = {"choices": get_args(field.annotation)}
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            default=argparse.SUPPRESS,
            help=f"{field.description} (default: {default}; {PREFIX}{name.upper()})",
            **how,
        )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal; 0 when it was asked to stop."""
    settings = load(**vars(arguments))
    logs.configure(settings.log_level, settings.log_format)
    listening = listen(settings.host, settings.port)
    if settings.grpc is not None:
        reserved = reserve(settings.host, settings.grpc)
        settings = settings.model_copy(update={"grpc": reserved.getsockname()[1]})
    service = create_app(settings)  # also where workers do the work: what is wrong with the models is said once, here
    announce(service, *listening.getsockname()[:2])
    if settings.workers > 1:
        del service  # the parent serves nothing
        with TemporaryDirectory(prefix="calibrant-") as counts:
            return Workers(settings.workers, partial(work, settings, Path(counts)), listening).run()
    server = Server(service)
    server.run(sockets=[listening])
    return 0 if server.started else CannotStart.exit_code


def work(settings: Settings, counts: Path, slot: int, ready: Any, listening: socket.socket) -> None:
    """One of several workers."""
    logs.configure(settings.log_level, settings.log_format)
    try:
        service = create_app(settings, Readiness(ready, slot), counts, replaces=True)
    except CommandError as error:
        logger.error("a worker cannot start: %s", error)  # noqa: TRY400 - the sentence says it all
        sys.exit(error.exit_code)
    server = Server(service)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=follow, args=(server, parent), daemon=True).start()
    server.run(sockets=[listening])
    if parent is not None and not parent.is_alive():
        shutil.rmtree(counts, ignore_errors=True)  # it can no longer do that itself


def follow(server: uvicorn.Server, parent: Any) -> None:
    """Stop when the parent has died without a word."""
    parent.join()
    server.should_exit = True


class Server(uvicorn.Server):
    """uvicorn's server, but for what SIGTERM means: not ready at once, closed after `drain_delay_s`, exit code 0."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            service,
            http=FastLane if service.settings.fast_lane else OrdinaryLane,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,  # the lanes write it, with the request's id
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self.service = service

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and spare the garbage collector what lives for ever."""
        return_large_blocks()
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

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
        if wait:
            timer = threading.Timer(delay_s, self.handle_exit, (number, frame))
            timer.daemon = True  # a second signal may end the process before
            timer.start()
        else:
            self.handle_exit(number, frame)


def return_large_blocks() -> None:
    """Let the C library give blocks of a few MB back at once: glibc learns to keep those it has seen, up to 32 MB.

    What is smaller stays at the end of the heap, up to `KEPT`: given back after one request, it came anew for the
    next, and a tenth of the time of a request of 64x1000 went into page faults.
    """
    with suppress(OSError, AttributeError):  # another C library has no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that listens: now, so that of two that start at once only one gets through.

    Raises:
        CannotStart: the port is taken, or the address is not this machine's.
    """
    return bound(host, port, socket.SO_REUSEADDR, "--port (CALIBRANT_PORT)", listens=True)


def reserve(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen; it keeps the port for those that do, a socket a process.

    Raises:
        CannotStart: as `listen`.
    """
    option = "--grpc (CALIBRANT_GRPC)"
    # the socket that stays shares the port with anybody who shares: make sure first that there is nobody
    with bound(host, port, socket.SO_REUSEADDR, option, listens=True) as first:
        port = first.getsockname()[1]
    return bound(host, port, socket.SO_REUSEPORT, option, listens=False)


def bound(host: str, port: int, how: int, option: str, *, listens: bool) -> socket.socket:
    """A bound socket."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, how, 1)
        found.bind((host, port))
        if listens:
            found.listen(BACKLOG)
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port} ({error.strerror}): take another with {option} or --host"
        ) from error
    return found


def announce(service: Service, host: str, port: int) -> None:
    """Say what is served and where, with one request to try."""
    rows = [("model", "version", "classes", "temperature", "provider")]
    for versions in service.repository.models.values():
        for model in versions.values():
            classes = "any" if model.classes is None else str(model.classes)
            rows.append((model.name, model.version, classes, f"{model.temperature:.4g}", model.head.provider))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    place = f"[{host}]" if ":" in host else host
    url = f"http://{place}:{port}"
    rpc = "" if service.settings.grpc is None else f", over gRPC on {place}:{service.settings.grpc}"
    say(f"\nCalibrant answers on {url}, described on {url}/docs{rpc}. Try:\n  curl -s {url}{example(service)}\n")


def say(line: str) -> None:
    """Print a line at once, also where it goes into a pipe; rich would take 3 MB for it."""
    print(line, flush=True)  # noqa: T201 - the terminal is where this belongs


def example(service: Service) -> str:
    """The path and the body of a request that the default model answers, or another where it is not there."""
    models = service.repository.models
    name = service.default_model if service.default_model in models else next(iter(models))
    versions = models[name]
    model = versions[max(versions)]
    if not model.takes_logits:
        return f"/v1/models/{name}"
    logits: list[Any] = [2.0, 1.0, 0.1]
    if model.classes is not None:
        logits = [2.0, 1.0, 0.1, *[0.0] * model.classes][: model.classes]
    key = "-H 'Authorization: Bearer KEY' " if service.settings.keys else ""
    return f"/v1/models/{name}/predict {key}-d '{{\"logits\":{str(logits).replace(' ', '')}}}'"
