"""What labels say of a version that serves: GET .../calibration, and the acknowledgement of its alarm."""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from service.api import changes
from service.api.bodies import ODD, KeyName, body_schema, name_of, parameters, reader
from service.codec.predict.contract import ErrorAnswer
from service.errors import InvalidValue, NotReady, UnknownGroup
from service.journal.channel import Unreachable, ask
from service.journal.state import read_state
from service.live.monitor import Monitor
from service.live.reference import Reference
from service.live.report import report
from service.readiness import State
from service.transports.gate import Gate

Told = dict[str, Any]
"""What the live process tells: `models`, by `MODEL/VERSION`."""


class Interval(BaseModel):
    """A value between two bounds that hold in 95 of 100 cases."""

    model_config = ConfigDict(extra="allow")

    value: float
    low: float
    high: float


class Watched(BaseModel):
    """The evidence of one monitor against its null."""

    model_config = ConfigDict(extra="allow")

    scope: str = Field(description="`model` is all of them together; `all`, `class 3`, `class bias`, `group NAME`.")
    null: str = Field(description="`as fitted`, or a bound such as `ece<=0.02`.")
    e: float = Field(description="The e-value now: what one who bet against the null has made of 1.")
    max_e: float = Field(description="Its largest value in this epoch.")
    p: float = Field(description="A p-value that holds at any time: 1 over the largest e-value.")
    warning: bool = Field(description="Whether the e-value has ever been 20.")
    warning_at: int | None = Field(None, description="The number of the label that raised the warning.")
    alarm: bool = Field(description="Whether it has ever been 100: by chance in at most 1 % of all epochs.")
    alarm_at: int | None = Field(description="The number of the label that raised the alarm.")
    since: int = Field(description="The number of the label since which the leading bet gains.")
    n: int = Field(description="Labels that were bet on.")


class Calibration(BaseModel):
    """Measures of labelled rows, the monitors, and what can be said before labels come."""

    model_config = ConfigDict(extra="allow")

    model: str
    version: str
    group: str | None = Field(description="Whose rows these are; null for all.")
    predictions: int = Field(description="Rows that were answered and journaled, of all groups.")
    labels: int = Field(description="Rows whose label was counted.")
    waiting: int = Field(description="Labels that wait until their answers are old enough, of all groups.")
    accuracy: float | None
    nll: float | None = Field(description="Over the labels that were possible.")
    impossible: int = Field(description="Labels with a probability of 0.")
    brier: float | None
    ece: Interval | None = Field(description="Over 15 bins of equal width; `debiased` is without what chance adds.")
    gap: Interval | None = Field(description="Mean confidence minus accuracy; the bounds hold at all times at once.")
    bins: list[dict[str, Any]]
    coverage: dict[str, float] | None = Field(description="Of the prediction sets.")
    lag_s: dict[str, float | None] = Field(description="Seconds between an answer and its label.")
    reference: str = Field(description="Where the curve is from: the `fit`, the first `live` labels, or `none` yet.")
    monitors: list[Watched]
    history: list[tuple[int, float]] = Field(
        [],
        description="Labels, and log10 of the largest e-value after them, in this epoch; at most 200. Not of groups.",
    )
    warnings: list[dict[str, Any]]
    shares: dict[str, Any] | None = Field(description="Class shares and expected accuracy of rows without labels.")
    refit: dict[str, Any] | None = Field(None, description="`state`, `e` and `refusal` of .../refit, if there is one.")


class Acknowledgement(BaseModel):
    """Who has seen the alarm."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: str | None = Field(
        None, min_length=1, max_length=256, description="Their name; with an API key it is that of the key."
    )


class Epoch(BaseModel):
    """A new epoch has begun: its evidence is 1."""

    epoch: int


UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {
    404: {"model": ErrorAnswer, "description": "No such model or version, or no labels of this group."}
}
REFUSED: Final[dict[int | str, dict[str, Any]]] = changes.REFUSED | {
    400: {"model": ErrorAnswer, "description": "Not JSON."},
    404: {"model": ErrorAnswer, "description": "No such model or version."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "A value is wrong."},
    503: {"model": ErrorAnswer, "description": "The live process does not answer."},
}
PATH: Final = "/v1/models/{model}/versions/{version}/calibration"


def calibration(state: State, folder: Path, gate: Gate) -> APIRouter:
    """The routes, of the journal in `folder`."""
    router = APIRouter(tags=["labels"])

    @router.get(
        PATH, summary="What labels say of a version", responses=UNKNOWN | ODD, dependencies=[parameters("group")]
    )
    def page(model: str, version: str, group: str | None = None) -> Calibration:
        """Measures of the labelled rows, evidence against "as right as when it was fitted", and warnings."""
        return Calibration(**answer(state, read_state(folder) or {}, model, version, group))

    @router.post(
        f"{PATH}/acknowledge",
        summary="Acknowledge the alarm",
        responses=REFUSED,
        openapi_extra=body_schema(Acknowledgement),
        dependencies=[changes.changes(changes.JSON)],
    )
    async def seen(
        model: str,
        version: str,
        acknowledgement: Annotated[Acknowledgement, Depends(reader(gate, Acknowledgement))],
        key: KeyName,
    ) -> Epoch:
        """Begin a new epoch with the next label: all evidence is 1 again, and the old one is kept with who saw it."""
        found = state.repository.find(model, version)
        by = name_of(key, acknowledgement.by)
        return Epoch(epoch=await acknowledge(folder, f"{found.name}/{found.version}", by))

    return router


async def acknowledge(folder: Path, name: str, by: str) -> int:
    """Begin a new epoch of `MODEL/VERSION`, and give its number.

    Raises:
        NotReady: the live process does not answer, or its store is away.
        InvalidValue: no label has come.
    """
    try:
        found = await ask(folder, {"do": "acknowledge", "model": name, "by": by})
    except Unreachable as error:
        raise NotReady(f"{error}; nothing was acknowledged") from error
    if "away" in found:
        raise NotReady("the store of the live process is away; nothing was acknowledged")
    if "error" in found:
        raise InvalidValue(f"{found['error']}; expected an alarm to acknowledge")
    return int(found["epoch"])


def answer(state: State, told: Told, name: str, version: str, group: str | None) -> dict[str, Any]:
    """The page of a version; before its first label all counts are 0.

    Raises:
        UnknownModel, UnknownVersion: there is none.
        UnknownGroup: no label of the group was counted.
    """
    model = state.repository.find(name, version)
    found = told.get("models", {}).get(f"{model.name}/{model.version}", {})
    if group is None:
        measured = found.get("report") or report(Monitor(Reference.from_metadata(model.head.metadata)))
    else:
        measured = found.get("groups", {}).get(group)
        if measured is None:
            there = ", ".join(sorted(found.get("groups", {}))) or "none yet"
            raise UnknownGroup(f"no label of this group was counted; groups with labels: {there}")
    counted = {key: found.get(key, 0) for key in ("predictions", "waiting", "conflicts")}
    return {
        "model": model.name,
        "version": model.version,
        "at_ns": told.get("at_ns"),
        **counted,
        "labelled": measured["labels"] / counted["predictions"] if counted["predictions"] and group is None else None,
        **measured,
        "shares": found.get("shares"),
        "refit": summary_of(found.get("refit")),
    }


def summary_of(refit: dict[str, Any] | None) -> dict[str, Any] | None:
    """What .../refit says in three words; none where nothing was proposed."""
    if refit is None:
        return None
    return {"state": refit["state"], "e": refit["evidence"]["e"], "refusal": refit["refusal"]}
