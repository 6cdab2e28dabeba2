"""The labels of answers: POST /v1/labels, as JSON or NDJSON, and DELETE /v1/labels/{id}.

Once this answers 202 a label is not lost: the live process has it in its store, or it lies in a segment that the live
process will read.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.api.any_text import ANY_TEXT
from service.api.changes import JSON, REFUSED, changes
from service.api.label_bodies import LINES, MOST, NDJSON, Bounds, Label, labels_of
from service.codec.predict.contract import ErrorAnswer
from service.errors import NotReady
from service.journal.channel import WAITS, Unreachable, ask
from service.journal.packing import hash_id

AWAY_S: Final = 1.0  # for which a live process that did not answer is not asked again


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


REFUSALS: Final[dict[int | str, dict[str, Any]]] = REFUSED | {
    400: {"model": ErrorAnswer, "description": "Not JSON."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    422: {"model": ErrorAnswer, "description": "A value is wrong."},
    429: {"model": ErrorAnswer, "description": "The memory for requests is taken."},
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


def labels(folder: Path, journal: Keeps, bounds: Bounds) -> APIRouter:
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
        async with labels_of(request, bounds) as given:
            return await desk.add(given)

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
