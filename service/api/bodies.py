"""The JSON objects that routes of FastAPI take: read and judged as predict's are, and refused in the same words.

FastAPI would read a body of any size, and answer with pydantic's sentences.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from service.codec import wording
from service.codec.objects import parse_object
from service.codec.predict.contract import ErrorAnswer
from service.errors import BodyTooLarge, InvalidValue, NotJSON
from service.transports.asgi import KEY, Gone, read_body
from service.transports.gate import Gate

ODD: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": ErrorAnswer, "description": "The query has an unknown parameter."}
}
MAX_OBJECT_BYTES: Final = 2**16  # a few names and flags; 64 KB parse to a few MB, which no budget has to meter
Body = TypeVar("Body", bound=BaseModel)


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """What the OpenAPI page says of a body; one of a `kind` that has only defaults may be left out."""
    schema = kind.model_json_schema()
    required = {"required": True} if "required" in schema else {}
    return {"requestBody": required | {"content": {"application/json": {"schema": schema}}}}


def reader(gate: Gate, kind: type[Body]) -> Callable[[Request], Awaitable[Body]]:
    """A dependency that reads a body of `kind`."""

    async def read(request: Request) -> Body:
        return await read_object(request, gate, kind)

    return read


async def key_name(request: Request) -> str | None:
    """The name of the request's key, where keys are wanted."""
    key = request.scope[KEY]
    return None if key is None else str(key.name)


KeyName = Annotated[str | None, Depends(key_name)]


def name_of(key: str | None, given: str | None) -> str:
    """The name that something is done under: that of the key, or without keys the one that is given.

    Raises:
        InvalidValue: there is neither.
    """
    name = key or given
    if name is None:
        raise InvalidValue("by is missing; expected the name of who does it")
    return name


def parameters(*known: str) -> Any:
    """A dependency of a route: InvalidValue for a parameter in the query that it does not know."""

    async def check(request: Request) -> None:
        for name in request.query_params:
            if name not in known:
                expected = " or ".join(known) or "none"
                raise InvalidValue(f"the parameter {name[:40]!r} is unknown; expected {expected}", code="unknown_key")

    return Depends(check)


async def read_object(request: Request, gate: Gate, kind: type[Body]) -> Body:
    """What the body says, or the defaults of `kind` without one; whatever type it claims, as tritonclient claims none.

    Raises:
        BodyTooLarge, NotJSON, InvalidValue: the sentence says what was wrong and what was expected.
    """
    try:
        if gate.max_body_bytes < MAX_OBJECT_BYTES:
            body = await read_body(request.receive, request.scope[KEY], gate.max_body_bytes, gate.too_large)
        else:
            body = await read_body(request.receive, request.scope[KEY], MAX_OBJECT_BYTES, too_large)
    except Gone:  # nobody is there to hear it
        raise NotJSON("the body ended early; expected a JSON object") from None
    try:
        return kind.model_validate(parse_object(body, "an object") if body.strip() else {})
    except ValidationError as error:
        raise refusal(error, kind) from None


def too_large() -> BodyTooLarge:
    """The error for an object that is larger than these routes take."""
    return BodyTooLarge(f"the body is too large for this path; expected at most {MAX_OBJECT_BYTES} bytes")


def refusal(error: ValidationError, kind: type[BaseModel]) -> InvalidValue:
    """The error for what pydantic found first."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        known = ", ".join(kind.model_fields)
        return InvalidValue(f"the key {str(first['loc'][0])[:40]!r} is unknown; expected {known}", code="unknown_key")
    return InvalidValue(wording.sentence(error))
