"""Errors to bytes."""

from typing import Any

import orjson

from service.errors import AnsweredError


def encode_error(error: AnsweredError) -> bytes:
    """The one shape of every error."""
    document: dict[str, Any] = {"error": str(error), "code": error.code}
    if error.row is not None:
        document["row"] = error.row
    if error.class_ is not None:
        document["class"] = error.class_
    return orjson.dumps(document)
