"""Files that are read again while the service runs: API keys, certificates."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from service.errors import CannotStart
from service.transports.tls import Pair

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks; events of the kernel would miss network file systems and links


class LastRead:
    """What the files held that were read last: a worker starts with it where they are broken by then.

    It reaches the worker by the pipe that starts it: a key of TLS stands in no environment, title or file of ours.
    """

    def __init__(self, keys: bytes | None = None, pair: Pair | None = None) -> None:
        self.keys = keys
        self.pair = pair

    def __repr__(self) -> str:
        return "<LastRead>"


async def follow(read: Callable[[], bool], what: str) -> None:
    """Read again and again until cancelled; while that fails, what was read last holds, and the log says so.

    Args:
        read: whether anything has changed; raises CannotStart with a sentence. It is called in a thread.
        what: for the log.
    """
    complaint = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            if await asyncio.to_thread(read):
                logger.info("%s changed, and were read again", what)
            complaint = ""
        except CannotStart as error:
            if str(error) != complaint:
                complaint = str(error)
                logger.error("%s; what was read before still holds", complaint)  # noqa: TRY400 - it says it all
