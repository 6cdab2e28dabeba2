"""What clients of the Open Inference Protocol ask beside `infer`: health, metadata, and Triton's extensions.

The extensions: model configuration, statistics and model repository, as far as real tools call them.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.bodies import body_schema, read_object
from service.api.changes import REFUSED, changes
from service.api.operations import UNKNOWN, UNREADY
from service.api.protocol.answers import (
    Health,
    IndexLine,
    Live,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ServerMetadata,
    Serving,
    Statistics,
    UnreadyHealth,
    index_of,
    metadata_of,
    readiness_error,
    reload,
    statistics_of,
)
from service.api.protocol.configuration import configuration
from service.codec.errors import encode_error
from service.codec.predict.contract import ErrorAnswer
from service.readiness import check_ready


class IndexQuery(BaseModel):
    """What to list."""

    model_config = ConfigDict(strict=True)

    ready: bool = Field(False, description="Only what is served.")


class LoadQuery(BaseModel):
    """Parameters are taken and not used."""

    model_config = ConfigDict(strict=True)

    parameters: dict[str, Any] = {}


BAD: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body is not JSON."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "JSON, but not a request that can be answered."},
}
UNHEALTHY: dict[int | str, dict[str, Any]] = {503: UNREADY[503] | {"model": UnreadyHealth}}


def protocol(state: Serving) -> APIRouter:
    """The routes, over the running service."""
    router = APIRouter(tags=["open inference protocol"])
    router.include_router(health(state))
    router.include_router(models(state))
    router.include_router(repository(state))
    return router


def health(state: Serving) -> APIRouter:
    router = APIRouter()

    @router.get("/v2", summary="Who answers")
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata()

    @router.get("/v2/health/live", summary="Live?")
    async def live() -> Live:
        return Live()

    @router.get("/v2/health/ready", summary="Ready?", response_model=Health, responses=UNHEALTHY)
    async def ready() -> Any:
        if (error := readiness_error(state)) is None:
            return Health(ready=True)
        body = encode_error(error)[:-1] + b',"live":true,"ready":false}'
        return Response(body, error.status, error.headers, "application/json")

    return router


def models(state: Serving) -> APIRouter:
    """Of the models, all of them, or each with and without a version in its path."""
    every = APIRouter(prefix="/v2/models")
    router = APIRouter(responses=UNKNOWN)

    @every.get("", summary="What is served")
    async def names() -> ModelNames:
        return ModelNames(models=list(state.repository.models))

    @every.get("/stats", summary="Statistics of every model")
    async def all_statistics() -> Statistics:
        return statistics_of(state, [m for versions in state.repository.models.values() for m in versions.values()])

    @router.get("/{model}", summary="What a model takes and gives")
    @router.get("/{model}/versions/{version}", summary="What a version takes and gives", name="version_metadata")
    async def model_metadata(model: str, version: str | None = None) -> ModelMetadata:
        return metadata_of(state, state.repository.find(model, version))

    @router.get("/{model}/ready", summary="Is a model ready?", responses=UNREADY)
    @router.get("/{model}/versions/{version}/ready", summary="Is a version ready?", responses=UNREADY)
    async def model_ready(model: str, version: str | None = None) -> ModelReady:
        found = state.repository.find(model, version)
        check_ready(state, found.head)
        return ModelReady(name=found.name)

    @router.get("/{model}/config", summary="A model's configuration, as Triton has it")
    @router.get("/{model}/versions/{version}/config", summary="A version's configuration, as Triton has it")
    async def config(model: str, version: str | None = None) -> dict[str, Any]:
        return configuration(state.repository.find(model, version), state.settings)

    @router.get("/{model}/stats", summary="Statistics of a model")
    @router.get("/{model}/versions/{version}/stats", summary="Statistics of a version")
    async def model_statistics(model: str, version: str | None = None) -> Statistics:
        found = state.repository.find(model, version)
        return statistics_of(state, [found] if version else list(state.repository.models[model].values()))

    every.include_router(router)
    return every


def repository(state: Serving) -> APIRouter:
    router = APIRouter(prefix="/v2/repository", responses=BAD)

    async def index_query(request: Request) -> IndexQuery:
        return await read_object(request, state.gate, IndexQuery)

    async def load_query(request: Request) -> LoadQuery:
        return await read_object(request, state.gate, LoadQuery)

    @router.post("/index", summary="What lies in the repository", openapi_extra=body_schema(IndexQuery))
    async def index(query: Annotated[IndexQuery, Depends(index_query)]) -> list[IndexLine]:
        return index_of(state, only_ready=query.ready)

    # described, judged, and not used
    may_load: Any = {
        "responses": UNKNOWN | {403: REFUSED[403]},
        "openapi_extra": body_schema(LoadQuery),
        "dependencies": [
            changes(),
            Depends(load_query),
        ],  # any media type, as tritonclient names none
    }

    @router.post("/models/{model}/load", summary="Load a model's files again", **may_load)
    async def load(model: str) -> dict[str, str]:
        return await reload(state, model, served=True)

    @router.post("/models/{model}/unload", summary="Serve a model no more", **may_load)
    async def unload(model: str) -> dict[str, str]:
        return await reload(state, model, served=False)

    return router
