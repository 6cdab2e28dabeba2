"""The lock of a journal's folder: one live process at a time, which shows by its time that it goes on."""

import asyncio
import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

LOCK: Final = "live.lock"
BEAT_S: Final = 1.0
LONG: Final = 50  # tries of a tenth of a second: longer than one takes that ends


async def beat(folder: Path) -> None:
    """Show whoever watches this process (process/live.py) that its loop goes on, also while the store is away."""
    while True:
        with contextlib.suppress(OSError):
            os.utime(folder / LOCK)
        await asyncio.sleep(BEAT_S)


async def hold(folder: Path) -> int:
    """Wait until no other process has the folder, and hold it: the open file."""
    descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    n_tries = 0
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            n_tries += 1
            if n_tries == LONG:
                logger.warning("another live process has %s, this one waits; expected one service a folder", folder)
            await asyncio.sleep(0.1)
        else:
            return descriptor
