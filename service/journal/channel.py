"""How the server and the command line talk to the live process: a JSON object each way, over a socket in the folder.

Each message is its length, uint32, and that many bytes. What cannot be told in time is not told: the caller has
another way, or says so.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from struct import Struct
from typing import Any, Final

import orjson

from service.errors import CannotStart

logger = logging.getLogger(__name__)

NAME: Final = "live.sock"
MAX_PATH: Final = 100  # bytes; Linux takes 107
MAX_MESSAGE: Final = 64 * 2**20
LENGTH: Final = Struct("<I")
TIMEOUT_S: Final = 5.0
TURNS: Final = 10  # of the event loop, from a connection to its answer
# why a label is unknown that is kept all the same; any other one can never count
WAITS: Final = "no answer of this id was read yet, the label waits for one"

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Unreachable(Exception):
    """The live process did not answer."""


async def ask(folder: Path, message: dict[str, Any], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """What the live process answers.

    Raises:
        Unreachable: it is not there, or takes too long.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(folder / NAME)
            try:
                await send(writer, message)
                return await receive(reader)
            finally:
                writer.close()
    except (OSError, EOFError, TimeoutError) as error:
        raise Unreachable("the live process does not answer; see the log of calibrant serve") from error


async def send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    body = orjson.dumps(message)
    writer.write(LENGTH.pack(len(body)) + body)
    await writer.drain()


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message.

    Raises:
        EOFError: there is none.
    """
    (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if length > MAX_MESSAGE:
        raise EOFError
    found: dict[str, Any] = orjson.loads(await reader.readexactly(length))
    return found


async def listen(folder: Path, answer: Answer) -> asyncio.AbstractServer:
    """Answer whoever connects.

    Raises:
        CannotStart: the folder's path is too long for a socket.
    """
    path = folder / NAME
    if len(os.fsencode(path)) > MAX_PATH:
        raise CannotStart(
            f"the folder of --journal (CALIBRANT_JOURNAL) has a path of {len(os.fsencode(folder))} bytes; "
            f"expected at most {MAX_PATH - len(NAME) - 1}, for the socket in it: a relative path will do"
        )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await send(writer, await answer(await receive(reader)))
        except (EOFError, OSError):
            pass  # that was all
        except Exception:
            logger.exception("a message could not be answered")
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, path)
    path.chmod(0o600)
    return server


async def give_way() -> None:
    """Answer whoever waits at the socket: with one turn between two pieces of work a message waits for several."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
