"""The refit of a version: GET .../refit, and what people decide about it, POST .../refit, .../promote, .../dismiss."""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api import changes
from service.api.bodies import ODD, KeyName, body_schema, name_of, parameters, reader
from service.api.examples import REFIT
from service.codec.predict.contract import ErrorAnswer
from service.errors import Conflict, NotReady, PreconditionRequired, RunFailed, StaleTag
from service.journal.channel import TIMEOUT_S, Unreachable, ask
from service.journal.publication import WRITING_S
from service.journal.state import read_state
from service.live.proposal import Policy, Refit, describe
from service.readiness import State
from service.transports.gate import Gate

PATH: Final = "/v1/models/{model}/versions/{version}"
UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorAnswer, "description": "No such model or version."}
}
REFUSED: Final = (
    UNKNOWN
    | changes.REFUSED
    | {
        400: {"model": ErrorAnswer, "description": "Not JSON."},
        409: {"model": ErrorAnswer, "description": "It must not be, and the sentence says why."},
        413: {"model": ErrorAnswer, "description": "The body is too large."},
        422: {"model": ErrorAnswer, "description": "A value is wrong."},
        503: {"model": ErrorAnswer, "description": "The live process does not answer."},
    }
)
TAGGED: Final = REFUSED | {
    412: {"model": ErrorAnswer, "description": "The refit is no longer the one that was looked at."},
    428: {"model": ErrorAnswer, "description": "There is no If-Match with the ETag of the refit that was looked at."},
}
Tag = Annotated[str | None, Header(description="The ETag of the refit that was looked at.")]


class Approval(BaseModel):
    """Who decides."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: str | None = Field(
        None,
        min_length=1,
        max_length=256,
        examples=["ann"],
        description="Their name; with an API key it is that of the key.",
    )


class Promotion(Approval):
    """Who approves."""

    force: bool = Field(False, description="Promote even if the evidence has never reached 100.")


class Promoted(BaseModel):
    """What serves now."""

    version: str = Field(description="Of the new version.", examples=["2"])


class RefitPage(BaseModel):
    """A temperature that was fitted on labels, beside the one that serves."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [REFIT]})

    model: str
    version: str
    policy: str = Field(description="`off`, `propose` or `promote`, as --refit has it.")
    state: str = Field(description="`none`, `collecting`, `shadowing`, `earned`, `promoted`, `dismissed` or `off`.")
    since: float | None = Field(description="When it was proposed, seconds since 1970.")
    because: str | None = Field(description="`alarm` or `request`.")
    method: str
    temperature: dict[str, float | None] = Field(description="`served`, and `proposed` once there is a fit.")
    labels: dict[str, int] = Field(
        description="`seen` since it was proposed, `fitted` on, `judged` by, each before a fit has seen it, and "
        "`needed` for a fit to be promoted."
    )
    evidence: dict[str, float] = Field(
        description="`e` that the proposed one is better, its largest value `max_e`, and what is `needed`; "
        "`log_ratio`, the sum of the differences of log-likelihood."
    )
    nll: dict[str, Any] | None = Field(description="Of both, their difference, and a 95 % interval of that.")
    ece: dict[str, float] | None = Field(description="Of both, without what chance adds.")
    reliability: dict[str, Any] | None = Field(description="The bins of both.")
    refusal: str | None = Field(description="Why it must not be promoted, whatever the evidence.")
    command: str | None = Field(description="What to type, where the service cannot write its models folder.")
    back: dict[str, Any] | None = Field(description="The evidence that the version before was better.")
    history: list[dict[str, Any]]


def refit(state: State, folder: Path, policy: Policy, gate: Gate) -> APIRouter:
    """The routes, of the journal in `folder`."""
    router = APIRouter(prefix=PATH, tags=["labels"])

    @router.get(
        "/refit", summary="The temperature that labels ask for", responses=UNKNOWN | ODD, dependencies=[parameters()]
    )
    def page(model: str, version: str, response: Response) -> RefitPage:
        """What a shadow of the version at another temperature has shown; the ETag changes with what to approve."""
        found = answer(state, read_state(folder) or {}, model, version, policy)
        response.headers["ETag"] = f'"{found.pop("etag")}"'
        return RefitPage(**found)

    add_decisions(router, state, folder, gate)
    return router


def add_decisions(router: APIRouter, state: State, folder: Path, gate: Gate) -> None:
    """What people decide about it."""
    decision = reader(gate, Approval)
    may_change: Any = {"openapi_extra": body_schema(Approval), "dependencies": [changes.changes(changes.JSON)]}

    @router.post("/refit", status_code=202, summary="Propose a refit", responses=REFUSED, **may_change)
    async def propose(
        model: str, version: str, approval: Annotated[Approval, Depends(decision)], key: KeyName
    ) -> dict[str, str]:
        """Begin to shadow the version with its next label, without an alarm."""
        await tell(state, folder, model, version, {"do": "propose", "by": name_of(key, approval.by)})
        return {"state": "collecting"}

    @router.post(
        "/promote",
        summary="Promote the refit",
        responses=TAGGED,
        **may_change | {"openapi_extra": body_schema(Promotion)},
    )
    async def promote(
        model: str,
        version: str,
        approval: Annotated[Promotion, Depends(reader(gate, Promotion))],
        key: KeyName,
        if_match: Tag = None,
    ) -> Promoted:
        """Write a new version with the proposed temperature into the models folder, which serves it then."""
        by = name_of(key, approval.by)
        message = {"do": "promote", "by": by, "force": approval.force, "etag": tag_of(if_match)}
        return Promoted(version=(await tell(state, folder, model, version, message, WRITING_S))["version"])

    @router.post("/dismiss", summary="Dismiss the refit", responses=TAGGED, **may_change)
    async def dismiss(
        model: str, version: str, approval: Annotated[Approval, Depends(decision)], key: KeyName, if_match: Tag = None
    ) -> dict[str, str]:
        """Throw the shadow away; the alarm stays."""
        message = {"do": "dismiss", "by": name_of(key, approval.by), "etag": tag_of(if_match)}
        await tell(state, folder, model, version, message)
        return {"state": "dismissed"}


def answer(state: State, told: dict[str, Any], name: str, version: str, policy: Policy) -> dict[str, Any]:
    """The page of a version, and its `etag`.

    Raises:
        UnknownModel, UnknownVersion: there is none.
    """
    model = state.repository.find(name, version)
    found = told.get("models", {}).get(f"{model.name}/{model.version}", {}).get("refit")
    if found is None:
        found = describe(Refit(), model.signature.temperature, policy) | {"refusal": None, "command": None}
    history = [{"from_version": model.version, **event} for event in found["history"]]
    return {"model": model.name, "version": model.version, **found, "history": history}


def tag_of(given: str | None) -> str:
    """The ETag of an If-Match.

    Raises:
        PreconditionRequired: there is none.
    """
    if given is None:
        raise PreconditionRequired("the header If-Match is missing; expected the ETag of the refit that was looked at")
    return given.removeprefix("W/").strip('"')


async def tell(
    state: State, folder: Path, name: str, version: str, message: dict[str, Any], timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Have the live process do something about a version, and return what it answers.

    Raises:
        UnknownModel, UnknownVersion: there is none.
        NotReady: the live process does not answer, or its store is away.
        Conflict, StaleTag, RunFailed: it refuses, or fails; the sentence says why.
    """
    model = state.repository.find(name, version)
    try:
        found = await ask(folder, {**message, "model": f"{model.name}/{model.version}"}, timeout_s)
    except Unreachable as error:
        raise NotReady(f"{error}; nothing was changed") from error
    if "away" in found:
        raise NotReady("the store of the live process is away; nothing was changed")
    match found.get("refused"):
        case None:
            return found
        case "stale":
            raise StaleTag(found["message"])
        case "promotion_failed":
            raise RunFailed(found["message"], code="promotion_failed")
        case code:
            raise Conflict(found["message"], code=code)
