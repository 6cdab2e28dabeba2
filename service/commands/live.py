"""Read the journal of `calibrant serve`, and count the labels that come; serve starts this process itself.

`calibrant live label FILE` sends the labels of a file.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from service.commands.options import add_settings
from service.errors import CannotStart, UsedWrongly
from service.journal.answers import Heads
from service.journal.database import Database
from service.journal.live import STORE, Live, Options, hold
from service.journal.policy import parse_policy
from service.journal.segments import make_folder
from service.process.live import PASSED_ON
from service.settings import Settings, load
from service.telemetry import logs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of the journal, as `serve` has them, and what to do."""
    parser.add_argument("--follow", action="store_true", help="end when the standard input does, as serve wants it")
    add_settings(parser, PASSED_ON)


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal, or the end of the standard input."""
    given = vars(arguments)
    follow = given.pop("follow")
    settings = load(**given)
    logs.configure(settings.log_level, settings.log_format)
    if settings.journal is None:
        raise UsedWrongly("there is no journal; expected --journal FOLDER (CALIBRANT_JOURNAL), as serve has it")
    make_folder(settings.journal)
    asyncio.run(work(settings, settings.journal, follow=follow))
    return 0


async def work(settings: Settings, folder: Path, *, follow: bool) -> None:
    """Hold the folder, and work."""
    held = await hold(folder)
    options = Options(
        keep_days=settings.journal_keep_days,
        max_bytes=settings.journal_max_mb * 2**20,
        label_wait_s=settings.label_wait_s,
        policy=parse_policy(settings.label_policy),
        bound=settings.ece_bound,
    )
    heads = Heads(settings.models, settings.default_model)
    try:
        live = Live(folder, lambda: Database(folder / STORE), heads, options)
    except Database.errors as error:
        raise CannotStart(f"the store {folder / STORE} cannot be opened: {error}") from error
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, live.stop)
    # Ctrl-C reaches the server and this process at once: what the server writes last is still to be read
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if follow else live.stop)
    if follow:
        threading.Thread(target=wait_for_end, args=(loop, live), daemon=True).start()
    try:
        await live.run()
    finally:
        os.close(held)


def wait_for_end(loop: asyncio.AbstractEventLoop, live: Live) -> None:
    """Stop when nobody holds the other end of the standard input any more."""
    while sys.stdin.buffer.read(1024):
        pass
    loop.call_soon_threadsafe(live.stop)
