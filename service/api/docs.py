"""`/docs`: the OpenAPI document, to be read and tried; its files are installed, none comes from elsewhere."""

from importlib.resources import files
from typing import Final

from fastapi import APIRouter, Response

from service.errors import NotFound

OWN: Final = files("service") / "api"
SWAGGER: Final = files("fastapi_swagger") / "resources"
FILES: Final = {
    "docs.css": (OWN, "text/css"),
    "swagger-ui-bundle.js": (SWAGGER, "text/javascript"),
    "swagger-ui.css": (SWAGGER, "text/css"),
    "favicon-32x32.png": (SWAGGER, "image/png"),
}


def docs() -> APIRouter:
    """The page and the files that it loads."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def page() -> Response:
        return Response((OWN / "docs.html").read_bytes(), media_type="text/html")

    @router.get("/docs/{name}")
    def file(name: str) -> Response:
        if name not in FILES:
            raise NotFound("there is no such file among the docs")
        folder, media_type = FILES[name]
        return Response((folder / name).read_bytes(), media_type=media_type)

    return router
