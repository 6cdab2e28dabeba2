"""Read the journal of `calibrant serve`, and count the labels that come; serve starts this process itself.

`calibrant live label FILE` sends labels, `calibrant live status` shows what they say of each version; `propose`,
`promote`, `dismiss` and `acknowledge` decide what comes of it. Each has its own `--help`.
"""

import argparse
import asyncio
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from service.commands.options import add_settings, journal_folder, warn_of_secrets
from service.errors import CannotStart
from service.journal.answers import Heads
from service.journal.database import Database, check_extra
from service.journal.live import STORE, Live, Options
from service.journal.lock import hold
from service.journal.policy import parse_policy
from service.journal.segments import make_folder
from service.process.live import PASSED_ON
from service.process.memory import fill_array_cache, return_large_blocks
from service.process.signals import stop_signals
from service.settings import Settings, load
from service.telemetry import logs

LARGE_BLOCK: Final = 2**15  # bytes, of a frame or an array: small ones come to lie between those that are in the heap
KEPT: Final = 2**18  # bytes
NICE: Final = 10  # answers go first: what waits in segments is not lost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of the journal, as `serve` has them."""
    parser.add_argument("--follow", action="store_true", help="end when the standard input does, as serve wants it")
    add_settings(parser, PASSED_ON)


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal, or the end of the standard input."""
    given = vars(arguments)
    follow = given.pop("follow")
    settings = load(**given)
    logs.configure(settings.log_level, settings.log_format)
    warn_of_secrets(settings, given)
    folder = journal_folder(settings)
    make_folder(folder)
    if follow:
        os.nice(NICE)
    return_large_blocks(LARGE_BLOCK, KEPT)
    fill_array_cache()
    asyncio.run(work(settings, folder, follow=follow))
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
        refit=settings.refit,
        labels_sampled=settings.labels_sampled,
    )
    heads = Heads(settings.models, settings.default_model)
    database = database_of(settings, folder)
    try:
        live = Live(folder, database, heads, options)
    except Exception as error:  # of the database, whichever it is
        raise CannotStart(f"the store cannot be opened: {error}") from error
    loop = asyncio.get_running_loop()
    for number in stop_signals():
        # a terminal's reach the server and this process at once: what the server writes last is still to be read
        waits = follow and number != signal.SIGTERM
        loop.add_signal_handler(number, (lambda: None) if waits else live.stop)
    if follow:
        threading.Thread(target=wait_for_end, args=(loop, live), daemon=True).start()
    try:
        await live.run()
    finally:
        os.close(held)


def database_of(settings: Settings, folder: Path) -> Callable[[], Database]:
    """Opens the database of the settings; raises as `check_extra` does."""
    address = settings.journal_store
    if not address:
        return lambda: Database(folder / STORE)
    check_extra()
    from service.journal.postgres import Postgres

    return lambda: Postgres(address)


def wait_for_end(loop: asyncio.AbstractEventLoop, live: Live) -> None:
    """Stop when nobody holds the other end of the standard input any more."""
    while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter wants at its end
        pass
    loop.call_soon_threadsafe(live.stop)
