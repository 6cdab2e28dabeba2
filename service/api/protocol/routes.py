"""What clients of the Open Inference Protocol ask beside `infer`: health, metadata, and Triton's extensions.

The extensions: model configuration, statistics and model repository, as far as real tools call them.
"""

from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service import __version__
from service.api.bodies import asked, may_bring
from service.api.operations import UNKNOWN, UNREADY, State, check_ready
from service.api.protocol.configuration import configuration, tensors
from service.api.protocol.statistics import ModelStatistics, statistics
from service.codec.predict.contract import ErrorAnswer
from service.codec.predict.encode import encode_error
from service.errors import InvalidValue, NotReady
from service.repository import Model
from service.settings import Settings
from service.telemetry.counts import Telemetry, Totals
from service.transports.gate import Gate

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
]


class Serving(State, Protocol):
    """What of the running service these answers are made of."""

    settings: Settings
    telemetry: Telemetry
    gate: Gate


class ServerMetadata(BaseModel):
    """Who answers."""

    name: str = "calibrant"
    version: str = __version__
    extensions: list[str] = EXTENSIONS


class Health(BaseModel):
    """Of the server."""

    live: bool = True
    ready: bool


class UnreadyHealth(ErrorAnswer, Health):
    """Of a server that is not ready."""


class ModelReady(BaseModel):
    """Of a model."""

    name: str
    ready: bool = True


class TensorMetadata(BaseModel):
    """An input or an output; -1 is an axis of any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives; only required inputs are listed, `mask` and `temperature` may come as well."""

    name: str
    versions: list[str]
    platform: str = "onnxruntime_onnx"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelNames(BaseModel):
    """What is served."""

    models: list[str]


class Statistics(BaseModel):
    """Of each version."""

    model_stats: list[ModelStatistics]


class IndexQuery(BaseModel):
    """What to list."""

    model_config = ConfigDict(strict=True)

    ready: bool = Field(False, description="Only what is served.")


class IndexLine(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


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
    """Of the server."""
    router = APIRouter()

    @router.get("/v2", summary="Who answers")
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata()

    @router.get("/v2/health/live", summary="Live?")
    async def live() -> Health:
        return Health(ready=why_not(state) is None)

    @router.get("/v2/health/ready", summary="Ready?", response_model=Health, responses=UNHEALTHY)
    async def ready() -> Any:
        if (error := why_not(state)) is None:
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
        return counted(state, [m for versions in state.repository.models.values() for m in versions.values()])

    @router.get("/{model}", summary="What a model takes and gives")
    @router.get("/{model}/versions/{version}", summary="What a version takes and gives", name="version_metadata")
    async def model_metadata(model: str, version: str | None = None) -> ModelMetadata:
        return described(state, state.repository.find(model, version))

    @router.get("/{model}/ready", summary="Is a model ready?", responses=UNREADY)
    @router.get("/{model}/versions/{version}/ready", summary="Is a version ready?", responses=UNREADY)
    async def model_ready(model: str, version: str | None = None) -> ModelReady:
        found = state.repository.find(model, version)
        check_ready(state)
        return ModelReady(name=found.name)

    @router.get("/{model}/config", summary="A model's configuration, as Triton has it")
    @router.get("/{model}/versions/{version}/config", summary="A version's configuration, as Triton has it")
    async def config(model: str, version: str | None = None) -> dict[str, Any]:
        return configuration(state.repository.find(model, version), state.settings)

    @router.get("/{model}/stats", summary="Statistics of a model")
    @router.get("/{model}/versions/{version}/stats", summary="Statistics of a version")
    async def model_statistics(model: str, version: str | None = None) -> Statistics:
        found = state.repository.find(model, version)
        return counted(state, [found] if version else list(state.repository.models[model].values()))

    every.include_router(router)
    return every


def repository(state: Serving) -> APIRouter:
    """Of the files."""
    router = APIRouter(prefix="/v2/repository", responses=BAD)

    async def index_query(request: Request) -> IndexQuery:
        return await asked(request, state.gate, IndexQuery)

    async def load_query(request: Request) -> LoadQuery:
        return await asked(request, state.gate, LoadQuery)

    @router.post("/index", summary="What lies in the repository", openapi_extra=may_bring(IndexQuery))
    async def index(query: Annotated[IndexQuery, Depends(index_query)]) -> list[IndexLine]:
        return indexed(state, only_ready=query.ready)

    # described, judged, and not used
    may_load: Any = {"responses": UNKNOWN, "openapi_extra": may_bring(LoadQuery), "dependencies": [Depends(load_query)]}

    @router.post("/models/{model}/load", summary="Load a model's files again", **may_load)
    async def load(model: str) -> dict[str, str]:
        return await reload(state, model, served=True)

    @router.post("/models/{model}/unload", summary="Serve a model no more", **may_load)
    async def unload(model: str) -> dict[str, str]:
        return await reload(state, model, served=False)

    return router


def why_not(state: Serving) -> NotReady | None:
    """Why the service is not ready, if it is not."""
    try:
        check_ready(state)
    except NotReady as error:
        return error
    return None


def described(state: Serving, model: Model) -> ModelMetadata:
    """A model's metadata."""
    inputs, outputs = tensors(model)
    return ModelMetadata(
        name=model.name,
        versions=[other.version for other in state.repository.models[model.name].values()],
        inputs=[TensorMetadata(name=name, datatype=kind, shape=shape) for name, kind, shape in inputs],
        outputs=[TensorMetadata(name=name, datatype=kind, shape=shape) for name, kind, shape in outputs],
    )


def counted(state: Serving, every: list[Model]) -> Statistics:
    """The statistics of some models."""
    totals: Totals = state.telemetry.totals()
    return Statistics(model_stats=[statistics(model.name, model.version, totals) for model in every])


def indexed(state: Serving, *, only_ready: bool) -> list[IndexLine]:
    """The repository's index."""
    lines = [
        IndexLine(name=model.name, version=model.version, state="READY")
        for versions in state.repository.models.values()
        for model in versions.values()
    ]
    if only_ready:
        return lines
    there = {f"{line.name}/{line.version}" for line in lines}
    for key, why in state.repository.failures.items():
        if key not in there:
            name, _, version = key.rpartition("/")
            lines.append(IndexLine(name=name, version=version, state="UNAVAILABLE", reason=why))
    unloaded = [
        IndexLine(name=n, version="", state="UNAVAILABLE", reason="unloaded") for n in state.repository.unloaded
    ]
    return lines + unloaded


async def reload(state: Serving, model: str, *, served: bool) -> dict[str, str]:
    """Load or unload a model, in the only process there is."""
    if state.settings.workers > 1:
        raise InvalidValue(
            f"{state.settings.workers} workers serve the models: put a file into the models folder, or remove it, and "
            "all of them follow",
            code="several_workers",
        )
    await state.repository.reload(model, served=served)
    return {}
