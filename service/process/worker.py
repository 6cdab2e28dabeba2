"""One of several workers: what it does in its process, from its start to its end."""

import logging
import multiprocessing
import shutil
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import uvicorn

from service.app import create_app
from service.errors import CommandError
from service.process.server import Server
from service.readiness import Readiness
from service.settings import Settings
from service.telemetry import logs

logger = logging.getLogger(__name__)


def run_worker(settings: Settings, counts: Path, slot: int, ready: Any, listening: socket.socket) -> None:
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
        threading.Thread(target=stop_with_parent, args=(server, parent), daemon=True).start()
    server.run(sockets=[listening])
    if parent is not None and not parent.is_alive():
        shutil.rmtree(counts, ignore_errors=True)  # it can no longer do that itself


def stop_with_parent(server: uvicorn.Server, parent: Any) -> None:
    """Stop when the parent has died without a word."""
    parent.join()
    server.should_exit = True
