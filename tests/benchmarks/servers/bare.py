"""The ceiling: an ASGI app that reads the body and answers as many bytes as the query says, under uvicorn.

No endpoint in Python can be faster there: it decodes, computes and encodes nothing.
"""

from functools import cache
from typing import Any

Message = dict[str, Any]


@cache
def answer(query: bytes) -> tuple[Message, Message]:
    """The messages of an answer of `query` bytes."""
    n = int(query or b"0")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % n)]
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    return start, {"type": "http.response.body", "body": b" " * n}


async def app(scope: Message, receive: Any, send: Any) -> None:
    """One ASGI connection."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    b"".join(parts)
    start, body = answer(scope["query_string"])
    await send(start)
    await send(body)


async def live(receive: Any, send: Any) -> None:
    """Start up, and shut down, with nothing to do."""
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
