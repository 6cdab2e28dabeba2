"""What operators ask: is it alive, is it ready, what does it serve."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.codec.predict.contract import ErrorAnswer
from service.readiness import State, check_ready
from service.repository import Repository


class Alive(BaseModel):
    """The process answers."""

    status: str = "alive"


class Ready(BaseModel):
    """Heads are warm, and the batcher takes rows."""

    status: str = "ready"


class ModelSummary(BaseModel):
    """One model at its highest version."""

    model: str
    version: str
    versions: list[str] = Field(description="All that are served, ascending.")
    family: str = Field(description="What is computed, such as `softmax`.")
    takes: str = Field(description="What a request brings: `logits`, or the `inputs` of an attached classifier.")
    classes: int | None = Field(description="K; null where any number is served.")
    temperature: float
    provider: str = Field(description="Where it runs: cpu or cuda.")


class Models(BaseModel):
    """What is served, and what is not."""

    default: str = Field(description="The model behind /v1/predict.")
    models: list[ModelSummary]
    failures: dict[str, str] = Field(description="`MODEL/VERSION` to why its file does not load.")
    batching: dict[str, Any] = Field(
        description="Bounds in rows; runs expected to take longer than inline_s get a thread."
    )


class ModelDetails(ModelSummary):
    """Everything that a head file says of itself, and what a run of it costs here."""

    use: str = Field(description="When to use a head of this family, in three sentences.")
    inputs: list[str]
    metadata: dict[str, Any]
    measured_cost: dict[str, float] = Field(description="Seconds a run, and seconds an input number on top.")


UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "No such model or version."}}
UNREADY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer, "description": "Starting, draining or dead."}}


def operations(state: State) -> APIRouter:
    """The routes, over the running service."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz", summary="Alive?")
    async def healthz() -> Alive:
        return Alive()

    @router.get("/readyz", summary="Ready?", responses=UNREADY)
    async def readyz() -> Ready:
        check_ready(state)
        return Ready()

    @router.get("/v1/models", summary="What is served")
    async def models() -> Models:
        batcher = state.batcher
        bounds = {} if batcher is None else batcher.bounds()
        lines = [summary_of(state.repository, name) for name in state.repository.models]
        return Models(
            default=state.default_model, models=lines, failures=dict(state.repository.failures), batching=bounds
        )

    @router.get("/v1/models/{model}", summary="A model's details", responses=UNKNOWN)
    async def story(model: str) -> ModelDetails:
        return details_of(state.repository, model, None)

    @router.get("/v1/models/{model}/versions/{version}", summary="A version's details", responses=UNKNOWN)
    async def version_story(model: str, version: str) -> ModelDetails:
        return details_of(state.repository, model, version)

    return router


def versions(repository: Repository, name: str) -> list[str]:
    """All versions of a model."""
    return [model.version for model in repository.models[name].values()]


def summary_of(repository: Repository, name: str) -> ModelSummary:
    return ModelSummary(**repository.find(name).summary(), versions=versions(repository, name))


def details_of(repository: Repository, name: str, version: str | None) -> ModelDetails:
    return ModelDetails(**repository.find(name, version).details(), versions=versions(repository, name))
