"""Read the journal of `calibrant serve`, and count the labels that come; serve starts this process itself.

`calibrant live label FILE` sends the labels of a .csv or .parquet to a running service: columns id and label, and where
there are any row, at (seconds since 1970) and replace; it ends with 1 where another label than one of these is kept.
`calibrant live status` shows what labels say of each version.

`calibrant live propose MODEL/VERSION` asks for another temperature, fitted on the labels that come; `promote` makes the
next version of it, `dismiss` throws it away. `calibrant live acknowledge MODEL/VERSION` ends an alarm.
"""

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from service.commands.labels import send_file
from service.commands.live_refit import decide
from service.commands.live_status import show
from service.commands.options import add_settings
from service.errors import CannotStart, UsedWrongly
from service.journal.answers import Heads
from service.journal.database import Database
from service.journal.live import STORE, Live, Options, hold
from service.journal.policy import parse_policy
from service.journal.publication import Place
from service.journal.segments import make_folder
from service.journal.state import NAME, read_state
from service.process.live import PASSED_ON
from service.settings import Settings, load
from service.telemetry import logs

DECISIONS: Final = ("propose", "promote", "dismiss", "acknowledge")
ACTIONS: Final = ("work", "label", "status", *DECISIONS)
NICE: Final = 10  # answers go first: what waits in segments is not lost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings of the journal, as `serve` has them, and what to do."""
    # checked by `run`: argparse would take the value of a mistyped option for an action, and complain of that
    actions = f"{{{','.join(ACTIONS)}}}"
    parser.add_argument("action", nargs="?", metavar=actions, default="work", help="what to do (default: %(default)s)")
    parser.add_argument(
        "target",
        nargs="?",
        help="of label: the table with the labels; of the others: MODEL/VERSION, which status can do without",
    )
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="of label: the service (default: %(default)s)")
    parser.add_argument("--api-key", default="", metavar="KEY", help="of label: a key of the service")
    parser.add_argument(
        "--by",
        default="",
        metavar="NAME",
        help="of propose, promote, dismiss, acknowledge: who (default: the user)",
    )
    parser.add_argument("--force", action="store_true", help="of promote: although the evidence never was 100")
    parser.add_argument("--back", action="store_true", help="of promote: put the version back that this one replaced")
    parser.add_argument("--etag", help="of promote and dismiss: only if the refit is still the one of this tag")
    parser.add_argument("--follow", action="store_true", help="end when the standard input does, as serve wants it")
    add_settings(parser, PASSED_ON)


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal, or the end of the standard input; or show what was told last."""
    given = vars(arguments)
    action, target, follow, url, key = (given.pop(name) for name in ("action", "target", "follow", "url", "api_key"))
    by, options = given.pop("by"), {name: given.pop(name) for name in ("force", "back", "etag")}
    if action not in ACTIONS:
        raise UsedWrongly(f"{action!r} is not something to do; expected {', '.join(ACTIONS)}")
    if action == "label":
        return send_labels(target, url, key)
    settings = load(**given)
    logs.configure(settings.log_level, settings.log_format)
    if settings.journal is None:
        raise UsedWrongly("there is no journal; expected --journal FOLDER (CALIBRANT_JOURNAL), as serve has it")
    if action == "status":
        show_status(settings.journal, target)
        return 0
    if action in DECISIONS:
        place = Place(settings.journal, settings.models, settings.default_model)
        decide(action, target, place, by, options)
        return 0
    make_folder(settings.journal)
    if follow:
        os.nice(NICE)
    asyncio.run(work(settings, settings.journal, follow=follow))
    return 0


def send_labels(file: str | None, url: str, key: str) -> int:
    """Send the labels of a file, and print what became of them; 1 where some were in contradiction."""
    if file is None:
        raise UsedWrongly("label wants a file; expected calibrant live label FILE")
    counts, told = send_file(Path(file), url, key)
    if told:
        print("\n".join(told), file=sys.stderr)  # noqa: T201 - the terminal is where this belongs
    words = "{accepted} labels accepted, {pending} pending, {unknown} unknown, {conflicts} conflicts"
    print(words.format(**{name: counts[name] for name in ("accepted", "pending", "unknown", "conflicts")}))  # noqa: T201 - as above
    return int(counts["conflicts"] > 0)


def show_status(folder: Path, name: str | None) -> None:
    """Print what the live process told last, of all versions or of the one of a name.

    Raises:
        UsedWrongly: it has never told anything, or nothing of that version; or it is not for this user to read.
    """
    try:
        told = read_state(folder)
    except OSError as error:
        raise UsedWrongly(
            f"{folder} cannot be read ({error.strerror}); expected the folder of a journal, and the user of the service"
        ) from error
    if told is None:
        raise UsedWrongly(f"there is no {NAME} in {folder}; expected the journal of a service that runs, or has run")
    models = told.get("models", {})
    if name is not None and name not in models:
        there = ", ".join(sorted(models)) or "a version that has answered"
        raise UsedWrongly(f"no answer of {name} was read yet; expected {there}")
    show(told if name is None else told | {"models": {name: models[name]}})


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
    loop.add_signal_handler(signal.SIGTERM, live.stop)
    # Ctrl-C reaches the server and this process at once: what the server writes last is still to be read
    loop.add_signal_handler(signal.SIGINT, (lambda: None) if follow else live.stop)
    if follow:
        threading.Thread(target=wait_for_end, args=(loop, live), daemon=True).start()
    try:
        await live.run()
    finally:
        os.close(held)


def database_of(settings: Settings, folder: Path) -> Callable[[], Database]:
    """Opens the database of the settings.

    Raises:
        CannotStart: the extra that it needs is not installed.
    """
    address = settings.journal_store
    if not address:
        return lambda: Database(folder / STORE)
    try:
        from service.journal.postgres import Postgres
    except ImportError as error:
        raise CannotStart(
            f"--journal-store needs the extra postgres, {error.name} is missing: pip install 'calibrant[postgres]'"
        ) from error
    return lambda: Postgres(address)


def wait_for_end(loop: asyncio.AbstractEventLoop, live: Live) -> None:
    """Stop when nobody holds the other end of the standard input any more."""
    while os.read(0, 1024):  # not sys.stdin, whose lock the interpreter wants at its end
        pass
    loop.call_soon_threadsafe(live.stop)
