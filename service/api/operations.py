"""What operators ask: is it alive, is it ready, what does it serve."""

import asyncio
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from service.api.reports import has_report, read_report
from service.codec.predict.contract import ErrorAnswer
from service.readiness import State, check_ready
from service.repository import Repository


class Alive(BaseModel):
    """The process answers."""

    status: str = "alive"


class Ready(BaseModel):
    """Heads are warm, and the batcher takes rows."""

    status: str = "ready"
    stopped: dict[str, str] = Field(
        {}, description="`MODEL/VERSION` to why its head was taken out of service, or never came; the others go on."
    )


class ModelSummary(BaseModel):
    """One model at its highest version."""

    model: str
    version: str
    versions: list[str] = Field(description="All that are served, ascending.")
    family: str = Field(description="What is computed, such as `softmax`.")
    takes: str = Field(description="What a request brings: `logits`, or the `inputs` of an attached classifier.")
    classes: int | None = Field(description="K; null where any number is served.")
    method: str = Field(description="How it was calibrated, such as `temperature` or `vector`; `none` if it was not.")
    temperature: float
    provider: str = Field(description="Where it runs: cpu or cuda.")


class Models(BaseModel):
    """What is served, and what is not."""

    default: str = Field(description="The model behind /v1/predict.")
    models: list[ModelSummary]
    failures: dict[str, str] = Field(description="`MODEL/VERSION` to why its file does not load.")
    journal: bool = Field(description="Whether answers are kept until their labels come.")
    batching: dict[str, Any] = Field(
        description="Bounds in rows; runs expected to take longer than inline_s get a thread."
    )


class ModelDetails(ModelSummary):
    """Everything that a head file says of itself, and what a run of it costs here."""

    use: str = Field(description="When to use a head of this family, in three sentences.")
    inputs: list[str]
    metadata: dict[str, Any]
    measured_cost: dict[str, float] = Field(description="Seconds a run, and seconds an input number on top.")
    has_report: bool = Field(description="Whether a report of the fit lies beside the head.")


UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorAnswer, "description": "No such model or version."}}
UNKNOWN_REPORT: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorAnswer, "description": "No such model or version, or no report beside its head."}
}
UNREADY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer, "description": "Starting, draining or dead."}}


def operations(state: State) -> APIRouter:
    """The routes, over the running service."""
    router = APIRouter()

    @router.get("/healthz", tags=["operations"], summary="Alive?")
    async def healthz() -> Alive:
        return Alive()

    @router.get("/readyz", tags=["operations"], summary="Ready?", responses=UNREADY, response_model_exclude_unset=True)
    async def readyz() -> Ready:
        return ready(state)

    @router.get("/v1/models", tags=["models"], summary="What is served")
    async def models() -> Models:
        batcher = state.batcher
        bounds = {} if batcher is None else batcher.bounds()
        lines = [summary_of(state.repository, name) for name in state.repository.models]
        return Models(
            default=state.default_model,
            models=lines,
            failures=state.repository.public_failures(),
            journal=state.journal is not None,
            batching=bounds,
        )

    @router.get("/v1/models/{model}", tags=["models"], summary="A model's details", responses=UNKNOWN)
    async def story(model: str) -> ModelDetails:
        return await details_of(state.repository, model, None)

    @router.get(
        "/v1/models/{model}/versions/{version}", tags=["models"], summary="A version's details", responses=UNKNOWN
    )
    async def version_story(model: str, version: str) -> ModelDetails:
        return await details_of(state.repository, model, version)

    @router.get(
        "/v1/models/{model}/versions/{version}/report",
        tags=["models"],
        summary="The proof of a version's calibration",
        response_class=JSONResponse,
        responses=UNKNOWN_REPORT,
    )
    def report(model: str, version: str) -> Response:
        """The `report.json` that `calibrant fit` wrote beside the head: metrics, intervals, reliability, candidates."""
        found = state.repository.find(model, version)
        return Response(read_report(state.repository.root, found), media_type="application/json")

    return router


def ready(state: State) -> Ready:
    """The answer of /readyz, with what any process has taken out of service; raises what `check_ready` raises."""
    check_ready(state)
    stopped = state.telemetry.totals().stopped
    return Ready(status="ready", stopped=stopped) if stopped else Ready(status="ready")


def versions(repository: Repository, name: str) -> list[str]:
    """All versions of a model."""
    return [model.version for model in repository.models[name].values()]


def summary_of(repository: Repository, name: str) -> ModelSummary:
    return ModelSummary(**repository.find(name).summary(), versions=versions(repository, name))


async def details_of(repository: Repository, name: str, version: str | None) -> ModelDetails:
    model = repository.find(name, version)
    known = {**model.details(), "versions": versions(repository, name)}
    # a folder may be on a volume that takes its time
    return ModelDetails(**known, has_report=await asyncio.to_thread(has_report, repository.root, model))
