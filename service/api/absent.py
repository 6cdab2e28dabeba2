"""Paths of what the service was started without: each answers 404 with a sentence that names the option."""

from typing import Final, NoReturn

from fastapi import APIRouter

from service.api.any_text import ANY_TEXT
from service.errors import NotFound

VERSION: Final = "/v1/models/{model}/versions/{version}"
OF_JOURNAL: Final = (
    "/v1/labels",
    f"/v1/labels/{{id:{ANY_TEXT}}}",
    f"{VERSION}/calibration",
    f"{VERSION}/calibration/acknowledge",
    f"{VERSION}/refit",
    f"{VERSION}/promote",
    f"{VERSION}/dismiss",
)
NO_JOURNAL: Final = "nothing is kept for labels; expected a service that was started with --journal FOLDER"
NO_METRICS: Final = "nothing is counted; expected a service that was started without --no-metrics (CALIBRANT_METRICS)"


def absent(sentence: str, *paths: str) -> APIRouter:
    """Routes that OpenAPI does not list, for each method that one of them could have."""
    router = APIRouter(include_in_schema=False)

    async def refuse() -> NoReturn:
        raise NotFound(sentence)

    for path in paths:
        router.add_api_route(path, refuse, methods=["GET", "POST", "DELETE"], response_model=None)
    return router
