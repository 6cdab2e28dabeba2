"""The answers of the Open Inference Protocol beside `infer`, over HTTP and gRPC alike."""

from typing import Literal, Protocol

from pydantic import BaseModel

from service import __version__
from service.api.absent import NO_METRICS
from service.api.protocol.configuration import tensors
from service.api.protocol.statistics import ModelStatistics, statistics
from service.codec.predict.contract import ErrorAnswer
from service.errors import InvalidValue, NotFound, NotReady
from service.model import Model
from service.readiness import State, check_ready
from service.settings import Settings
from service.telemetry.counts import Totals
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
    gate: Gate


class ServerMetadata(BaseModel):
    """Who answers."""

    name: str = "calibrant"
    version: str = __version__
    extensions: list[str] = EXTENSIONS


class Live(BaseModel):
    """Of a server that answers at all."""

    live: bool = True


class Health(Live):
    """Of a server that answers, and may be ready."""

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


class IndexLine(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""


def readiness_error(state: Serving) -> NotReady | None:
    """Why the service is not ready, if it is not."""
    try:
        check_ready(state)
    except NotReady as error:
        return error
    return None


def metadata_of(state: Serving, model: Model) -> ModelMetadata:
    inputs, outputs = tensors(model.signature)
    return ModelMetadata(
        name=model.name,
        versions=[other.version for other in state.repository.models[model.name].values()],
        inputs=[TensorMetadata(name=name, datatype=kind, shape=shape) for name, kind, shape in inputs],
        outputs=[TensorMetadata(name=name, datatype=kind, shape=shape) for name, kind, shape in outputs],
    )


def statistics_of(state: Serving, every: list[Model]) -> Statistics:
    """The statistics of some models.

    Raises:
        NotFound: nothing is counted.
    """
    if not state.settings.metrics:
        raise NotFound(NO_METRICS)
    totals: Totals = state.telemetry.totals()
    return Statistics(model_stats=[statistics(model.name, model.version, totals) for model in every])


def index_of(state: Serving, *, only_ready: bool) -> list[IndexLine]:
    lines = [
        IndexLine(name=model.name, version=model.version, state="READY" if not why else "UNAVAILABLE", reason=why)
        for versions in state.repository.models.values()
        for model in versions.values()
        if not ((why := model.head.stopped) and only_ready)
    ]
    if only_ready:
        return lines
    there = {f"{line.name}/{line.version}" for line in lines}
    for key, why in state.repository.public_failures().items():
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
