"""The labels of answers: POST /v1/labels, as JSON or NDJSON, and DELETE /v1/labels/{id}.

Once this answers 202 a label is not lost: the live process has it in its store, or it lies in a segment that the live
process will read.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Protocol

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.api.any_text import ANY_TEXT
from service.api.changes import JSON, REFUSED, changes
from service.codec import wording
from service.codec.predict.contract import ErrorAnswer
from service.errors import BodyTooLarge, InvalidValue, NotJSON, NotReady
from service.journal.channel import WAITS, Unreachable, ask
from service.journal.packing import hash_id
from service.transports.asgi import Gone, read_body
from service.transports.gate import Gate

MOST: Final = 10_000
NDJSON: Final = "application/x-ndjson"
MOST_S: Final = 9e9  # seconds since 1970, whose nanoseconds are within int64
LINES: Final = (NDJSON, "application/jsonl")
AWAY_S: Final = 1.0  # for which a live process that did not answer is not asked again


# an id comes once: a cache of strings, 16,384 of them, would be filled with what is not asked for again
STRICT: Final = ConfigDict(extra="forbid", strict=True, cache_strings="keys")


class Label(BaseModel):
    """What a row was."""

    model_config = STRICT

    id: str = Field(
        min_length=1, max_length=256, description="Of the request: the id in its body, or its X-Request-Id."
    )
    row: int = Field(0, ge=0, lt=2**31, description="Which row of the request.")
    label: Annotated[int, Field(ge=0, lt=2**31)] | Annotated[str, Field(max_length=1024)] = Field(
        description="The class: its index, or its label."
    )
    at: float | None = Field(
        None, gt=0, lt=MOST_S, description="When it was known, seconds since 1970; now, if not given."
    )
    replace: bool = Field(False, description="Take it even where another label is kept for the row.")


class LabelsRequest(BaseModel):
    """Labels, in any order; those of one row may come again."""

    model_config = STRICT

    labels: list[Label] = Field(max_length=MOST)


class Unknown(BaseModel):
    """A label without a row."""

    id: str
    row: int
    reason: str = Field(description="What is not known: the id, which the label waits for; the row; or the class.")
    waits: bool = Field(description="Whether it is kept until its answer is read; others never count.")


class Conflict(BaseModel):
    """A label of a row that has another."""

    id: str
    row: int
    kept: int = Field(description="The label that the row has, which is kept.")


class LabelsAnswer(BaseModel):
    """What became of them."""

    accepted: int = Field(description="Labels that are kept, those that had come before among them.")
    pending: int = Field(description="Labels that wait: their answer was not read yet, or never will be.")
    unknown: list[Unknown]
    conflicts: list[Conflict]


class Deleted(BaseModel):
    """What was deleted."""

    requests: int = Field(description="How many requests had this id.")
    waiting: int = Field(description="How many of its labels still waited for an answer.")


class Keeps(Protocol):
    """What of the journal is needed here."""

    id_key: bytes

    async def keep_labels(self, body: bytes) -> None:
        """Write labels for the live process to find."""


ONE: Final = TypeAdapter(Label)
REFUSALS: Final[dict[int | str, dict[str, Any]]] = REFUSED | {
    400: {"model": ErrorAnswer, "description": "Not JSON."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "A value is wrong."},
    503: {"model": ErrorAnswer, "description": "Neither the live process nor the disk takes them."},
}
BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"labels": {"type": "array", "maxItems": MOST, "items": Label.model_json_schema()}},
                    "required": ["labels"],
                }
            },
            NDJSON: {"schema": {"type": "string", "description": "A label a line."}},
        },
    }
}


def labels(folder: Path, journal: Keeps, gate: Gate) -> APIRouter:
    """The routes, of the journal in `folder`."""
    router = APIRouter(prefix="/v1/labels", tags=["labels"])
    desk = Desk(folder, journal)

    @router.post(
        "",
        status_code=202,
        summary="Tell what rows were",
        responses=REFUSALS,
        openapi_extra=BODY,
        dependencies=[changes(JSON, *LINES)],
    )
    async def add(request: Request) -> LabelsAnswer:
        return await desk.add(await read_labels(request, gate))

    @router.delete(
        f"/{{id:{ANY_TEXT}}}",
        summary="Delete what is kept of a request",
        responses={code: REFUSALS[code] for code in (403, 503)},
        dependencies=[changes()],
    )
    async def delete(id: str) -> Deleted:  # noqa: A002 - the name in the path
        return await desk.delete(id)

    return router


class Desk:
    """Hands labels to the live process, or where that does not answer to the disk."""

    def __init__(self, folder: Path, journal: Keeps) -> None:
        self.folder = folder
        self.journal = journal
        self.away_until = 0.0

    async def add(self, given: Sequence[Label]) -> LabelsAnswer:
        """Keep labels.

        Raises:
            NotReady: nobody takes them.
        """
        rows = self.rows(given)
        found = await self.ask({"do": "labels", "labels": rows})
        if found is None:
            await self.journal.keep_labels(orjson.dumps(rows))
            return LabelsAnswer(accepted=0, pending=len(given), unknown=[], conflicts=[])
        return LabelsAnswer(
            accepted=found["accepted"],
            pending=found["pending"],
            unknown=[
                Unknown(id=given[i].id, row=given[i].row, reason=why, waits=why == WAITS) for i, why in found["unknown"]
            ],
            conflicts=[Conflict(id=given[i].id, row=given[i].row, kept=kept) for i, kept in found["conflicts"]],
        )

    def rows(self, given: Sequence[Label]) -> list[list[Any]]:
        """Labels as the live process takes them: id, row, label, nanoseconds since 1970, whether one is replaced."""
        return [
            [self.key(one.id), one.row, one.label, None if one.at is None else round(1e9 * one.at), one.replace]
            for one in given
        ]

    async def delete(self, key: str) -> Deleted:
        """Delete what is kept under an id.

        Raises:
            NotReady: the live process does not answer.
        """
        found = await self.ask({"do": "forget", "id": self.key(key)})
        if found is None:
            raise NotReady("the live process does not answer, nothing was deleted; try again in a moment")
        return Deleted(requests=found["requests"], waiting=found["waiting"])

    async def ask(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """What the live process answers; none where it does not, or its store is away."""
        if time.monotonic() < self.away_until:
            return None
        try:
            found = await ask(self.folder, message)
        except Unreachable:
            found = {"away": True}
        if "away" in found:
            self.away_until = time.monotonic() + AWAY_S
            return None
        return found

    def key(self, given: str) -> str:
        """What the journal has for an id."""
        return hash_id(given.encode(), self.journal.id_key).decode() if self.journal.id_key else given


async def read_labels(request: Request, gate: Gate) -> Sequence[Label]:
    """The labels of a body.

    Raises:
        BodyTooLarge, NotJSON, InvalidValue: the sentence says what was wrong and what was expected.
    """
    try:
        body = await read_body(request.receive, gate.max_body_bytes, gate.too_large)
    except Gone:  # nobody is there to hear it
        raise NotJSON("the body ended early; expected labels") from None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return await asyncio.to_thread(parse, body, lines=media_type in LINES)


def parse(body: bytes, *, lines: bool) -> Sequence[Label]:
    """The labels in a JSON object, or one in each of its lines."""
    try:
        if lines:
            return list(parse_lines(body))
        return LabelsRequest.model_validate_json(body).labels
    except ValidationError as error:
        raise refusal(error) from None


def parse_lines(body: bytes) -> Iterator[Label]:
    """A label a line; empty lines are passed over."""
    found = [line for line in body.splitlines() if line.strip()]
    if len(found) > MOST:
        raise BodyTooLarge(f"{len(found)} labels came at once; expected at most {MOST}")
    for i, line in enumerate(found):
        try:
            yield ONE.validate_json(line)
        except ValidationError as error:
            raise refusal(error, f"labels[{i}]") from None


def refusal(error: ValidationError, place: str = "") -> NotJSON | InvalidValue:
    """The error for what pydantic found first; `place` is where a document of one label stands."""
    errors = error.errors(include_url=False)
    first, where = errors[0], words(errors[0]["loc"])
    expected = EXPECTED["labels[]" if place else "body"]
    if first["type"] == "json_invalid":
        return NotJSON(f"{place or 'the body'} is not JSON; expected {expected}")
    for part in where:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    if first["type"] == "extra_forbidden":
        known = Label.model_fields if place else LabelsRequest.model_fields
        of = f" of {place}" if place else ""
        return InvalidValue(f"the key {str(first['loc'][-1])[:40]!r}{of} is unknown; expected {', '.join(known)}")
    if where and isinstance(where[-1], int):
        expected = EXPECTED["labels[]"]
    elif where:
        expected = EXPECTED[where[-1]]
    if first["type"] == "missing":
        return InvalidValue(f"{place} is missing; expected {expected}")
    last = [one for one in errors if words(one["loc"]) == where][-1]  # a label may be wrong in two ways
    found = (wording.length_text if last["type"] in wording.COUNTED else wording.value_text)(last["input"])
    return InvalidValue(f"{place or 'the body'} {found}; expected {expected}")


def words(location: tuple[Any, ...]) -> list[Any]:
    """The indices and the known keys of a place; the other words are those of pydantic."""
    return [part for part in location if isinstance(part, int) or part in EXPECTED]


EXPECTED: Final = {
    "body": "an object with the list labels",
    "labels": f"a list of at most {MOST} labels",
    "labels[]": "an object of id, row and label",
    "id": "a string of 1 to 256 characters",
    "row": "a whole number from 0 on",
    "label": "the index of a class from 0 on, or its label",
    "at": f"seconds since 1970, above 0 and below {MOST_S:.0f}",
    "replace": "true or false",
}
