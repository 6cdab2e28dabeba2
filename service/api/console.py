"""The console: a page of static files, which asks the service's own API for everything that it shows."""

import hashlib
from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from service.errors import NotFound

MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
FOLDER: Final = files("service") / "console"
FOLDERS: Final = ("", "charts/", "playground/")


def list_files() -> frozenset[str]:
    """The names that can be asked for: what lies in the package, and nothing else."""
    return frozenset(
        folder + file.name
        for folder in FOLDERS
        for file in (FOLDER / folder if folder else FOLDER).iterdir()
        if file.name.endswith(tuple(MEDIA_TYPES))
    )


def console() -> APIRouter:
    """The routes. They are open, as `/docs` is: the files hold nothing; what the page asks for may want a key."""
    router = APIRouter(include_in_schema=False)
    names = list_files()

    @router.get("/")
    async def root(request: Request) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise NotFound("there is nothing at this path; see /docs, or open /console/ in a browser")
        return RedirectResponse("console/")

    @router.get("/console")
    async def folder() -> Response:
        return RedirectResponse("console/")

    @router.get("/console/{name:path}")
    def file(name: str, request: Request) -> Response:
        name = name or "index.html"
        if name not in names:
            raise NotFound("there is no such file in the console")
        content = (FOLDER / name).read_bytes()
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        headers = HEADERS | {"ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=MEDIA_TYPES[name[name.rindex(".") :]])

    return router
