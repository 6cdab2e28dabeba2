"""Bodies of labels, one JSON object or one in each line, to labels: what they may cost, and what is wrong with them.

What the labels are for is not known here; `labels.py` has the routes.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Protocol, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.codec import wording
from service.codec.depth import check_depth
from service.errors import BodyTooLarge, InvalidValue, NotJSON
from service.transports.asgi import KEY, Gone, read_body
from service.transports.budget import METERED_FROM, Budget, json_cost
from service.transports.gate import Gate

MOST: Final = 10_000
MAX_LINE_BYTES: Final = 2**16  # of a label: with every character as an escape of JSON it has 16 KB
MOST_S: Final = 9e9  # seconds since 1970, whose nanoseconds are within int64
NDJSON: Final = "application/x-ndjson"
LINES: Final = (NDJSON, "application/jsonl")
LINE: Final = re.compile(rb"\S[^\r\n]*")  # one that is not blank
# Measured as peaks of whole requests whose labels are all unknown: 1.9 KB a label with what is answered of it, and up
# to 7.4 bytes a byte of text, 4 of them where one character of a string is beyond the first 65,536.
LABEL_COST: Final = 2000
TEXT_COST: Final = 8
Result = TypeVar("Result")
INLINE_BYTES: Final = 2**16  # what is read here and now; more would hold the loop for longer than a millisecond


class Label(BaseModel):
    """What a row was."""

    model_config = ConfigDict(extra="forbid", strict=True)

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


ONE: Final = TypeAdapter(Label)
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


class Bounds(Protocol):
    """What of the running service bounds the bodies."""

    gate: Gate
    budget: Budget


@asynccontextmanager
async def labels_of(request: Request, bounds: Bounds) -> AsyncIterator[Sequence[Label]]:
    """The labels of a body, and as long as they are used the room in memory that they take.

    Raises:
        BodyTooLarge, QueueFull, NotJSON, InvalidValue: the sentence says what was wrong and what was expected.
    """
    gate, budget = bounds.gate, bounds.budget
    try:
        body = await read_body(request.receive, request.scope[KEY], gate.max_body_bytes, gate.too_large)
    except Gone:  # nobody is there to hear it
        raise NotJSON("the body ended early; expected labels") from None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    lines = media_type in LINES
    taken = await read_in(cost, body, lines) if len(body) >= METERED_FROM else 0
    budget.take(taken)
    try:
        yield await read_in(parse, body, lines)
    finally:
        budget.give(taken)


async def read_in(work: Callable[..., Result], body: bytes, lines: bool) -> Result:
    """Do work on a body, in a thread if it is a large one."""
    if len(body) < INLINE_BYTES:
        return work(body, lines=lines)
    return await asyncio.to_thread(work, body, lines=lines)


def cost(body: bytes, *, lines: bool) -> int:
    """Bytes that a body takes at most, from here to its answer: its labels, or what is no labels and is parsed once."""
    if lines:  # each is parsed alone, and none before all are counted
        return TEXT_COST * len(body) + LABEL_COST * min(MOST, body.count(b"{"))
    return max(json_cost(body), TEXT_COST * len(body) + LABEL_COST * min(MOST, body.count(b"{")))


def parse(body: bytes, *, lines: bool) -> Sequence[Label]:
    """The labels in a JSON object, or one in each of its lines; none is read behind one that is wrong."""
    given = read_lines(body) if lines else read_list(body)
    try:
        return [label_of(one, f"labels[{i}]") for i, one in enumerate(given)]
    except (InvalidValue, NotJSON):
        check_depth(body)  # only here: labels are never so deep, and counting takes as long as parsing them
        raise


def read_list(body: bytes) -> list[Any]:
    """The list in a JSON object that has nothing else."""
    document = loads(body, "the body", EXPECTED["body"])
    if not isinstance(document, dict):
        raise InvalidValue(f"the body {wording.value_text(document)}; expected {EXPECTED['body']}")
    for key in document:
        if key != "labels":
            raise InvalidValue(f"the key {key[:40]!r} is unknown; expected labels")
    if "labels" not in document:
        raise InvalidValue(f"labels is missing; expected {EXPECTED['labels']}")
    found = document["labels"]
    if not isinstance(found, list):
        raise InvalidValue(f"labels {wording.value_text(found)}; expected {EXPECTED['labels']}")
    if len(found) > MOST:
        raise InvalidValue(f"labels {wording.length_text(found)}; expected {EXPECTED['labels']}")
    return found


def read_lines(body: bytes) -> Iterator[Any]:
    """What is in each line; blank ones are passed over. Not a list of lines: that takes 11 times what they do."""
    for n, _ in enumerate(LINE.finditer(body), 1):
        if n > MOST:
            raise BodyTooLarge(f"more than {MOST} labels came at once; expected at most {MOST}")
    for i, match in enumerate(LINE.finditer(body)):
        n_bytes = match.end() - match.start()
        if n_bytes > MAX_LINE_BYTES:
            raise BodyTooLarge(f"labels[{i}] has {n_bytes} bytes; expected at most {MAX_LINE_BYTES}")
        yield loads(match[0], f"labels[{i}]", EXPECTED["labels[]"])


def loads(document: bytes, place: str, expected: str) -> Any:
    """What is in a document; pydantic's own parser takes five times the memory for lists that are empty."""
    try:
        return orjson.loads(document)
    except orjson.JSONDecodeError:
        check_depth(document)
        raise NotJSON(f"{place} is not JSON; expected {expected}") from None


def label_of(given: Any, place: str) -> Label:
    """The label that a document is."""
    try:
        if isinstance(given, dict) and len(given) > len(Label.model_fields):  # each would be an error of its own
            raise unknown_key(next(key for key in given if key not in Label.model_fields), place)
        return ONE.validate_python(given)
    except ValidationError as error:
        raise refusal(error, place) from None


def unknown_key(key: str, place: str) -> InvalidValue:
    """The error for a key that no label has."""
    return InvalidValue(f"the key {key[:40]!r} of {place} is unknown; expected {', '.join(Label.model_fields)}")


def refusal(error: ValidationError, place: str) -> InvalidValue:
    """The error for what pydantic found first in a label; `place` is where it stands."""
    errors = error.errors(include_url=False)
    first = errors[0]
    if first["type"] == "extra_forbidden":
        return unknown_key(str(first["loc"][0]), place)
    expected = EXPECTED["labels[]"]
    if first["loc"]:
        name = first["loc"][0]
        place, expected = f"{place}.{name}", EXPECTED[str(name)]
    if first["type"] == "missing":
        return InvalidValue(f"{place} is missing; expected {expected}")
    last = [one for one in errors if one["loc"][:1] == first["loc"][:1]][-1]  # a label may be wrong in two ways
    found = (wording.length_text if last["type"] in wording.COUNTED else wording.value_text)(last["input"])
    return InvalidValue(f"{place} {found}; expected {expected}")
