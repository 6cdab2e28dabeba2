"""The check before whatever changes something: no page of another origin may send it, and only as JSON.

A browser sends some requests to any address without asking that first, with the cookies or the network of who looks at
the page: those have the media type of a form or of plain text, and a page cannot hide its origin.
"""

from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers

from service.codec.predict.contract import ErrorAnswer
from service.errors import ForeignOrigin, UnsupportedMediaType

JSON = "application/json"
REFUSED: dict[int | str, dict[str, Any]] = {
    403: {"model": ErrorAnswer, "description": "A page of another origin sent it."},
    415: {"model": ErrorAnswer, "description": "Not JSON."},
}


def changes(*media_types: str) -> Any:
    """A dependency of a route, which is checked before its body is read.

    Args:
        media_types: what the body may be; none where there is none, or where any is taken.
    """

    async def check(request: Request) -> None:
        check_origin(request.headers)
        if media_types:
            check_media_type(request.headers, media_types)

    return Depends(check)


def check_origin(headers: Headers) -> None:
    """Refuse what a page of another origin sends: by what the browser says of it, else by the two addresses.

    A proxy may rewrite `Host`, and never `Sec-Fetch-Site`, which browsers send over HTTPS and to this machine.

    Raises:
        ForeignOrigin: it is another.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if site in ("same-origin", "none") or (site is None and origin is None):
        return
    if site is None and urlsplit(origin).netloc == headers.get("host"):
        return
    raise ForeignOrigin("a page of another origin sent this; expected one of this service, or no browser")


def check_media_type(headers: Headers, media_types: tuple[str, ...]) -> None:
    """Refuse a body of another type, and one without.

    Raises:
        UnsupportedMediaType: it is another.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() not in media_types:
        raise UnsupportedMediaType(
            f"the media type of the body is not supported; expected Content-Type: {' or '.join(media_types)}"
        )
