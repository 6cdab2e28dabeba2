"""Files that are read again while the service runs: API keys, certificates."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from service.errors import CannotStart

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # between two looks; events of the kernel would miss network file systems and links


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
