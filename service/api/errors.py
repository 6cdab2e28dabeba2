"""Errors that the framework makes, in the one shape that all errors have."""

import logging
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service.errors import AnsweredError, MethodNotAllowed, NotFound, RunFailed
from service.transports.response import error_response

logger = logging.getLogger(__name__)

INTERNAL: Final = "internal_error"
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def translate(app: FastAPI) -> None:
    """Give every error of `app` the shape."""
    app.add_exception_handler(AnsweredError, from_answered)
    app.add_exception_handler(HTTPException, from_http)
    app.add_exception_handler(Exception, from_fault)


def respond(error: AnsweredError) -> Response:
    """The response that an error is."""
    answer = error_response(error)
    extra = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, extra, media_type=answer.content_type.decode())


async def from_answered(_: Request, error: Exception) -> Response:
    """An error of this service."""
    return respond(error if isinstance(error, AnsweredError) else RunFailed(str(error)))


async def from_http(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405, and whatever else it raises."""
    status = getattr(error, "status_code", 500)
    if status == MethodNotAllowed.status:
        allowed = allowed_methods(request)
        sentence = f"{request.method} is not what this path takes; expected {' or '.join(allowed)}"
        return respond(MethodNotAllowed(sentence, allow=", ".join(allowed)))
    if status == NotFound.status:
        return respond(NotFound("there is nothing at this path; see /docs"))
    answer = respond(RunFailed("the request could not be handled", code="http_error"))
    answer.status_code = status
    return answer


def allowed_methods(request: Request) -> list[str]:
    """What the path takes, of all its routes; Starlette tells the methods of the first."""
    routes = request.app.routes
    scopes = [{**request.scope, "method": method} for method in METHODS]
    return [scope["method"] for scope in scopes if any(one.matches(scope)[0] is Match.FULL for one in routes)]


async def from_fault(_: Request, error: Exception) -> Response:
    """A fault of our own; the log has it."""
    logger.error("a request could not be handled", exc_info=error)
    return respond(RunFailed("the service failed to handle this request", code=INTERNAL))
