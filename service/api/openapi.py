"""The OpenAPI page: what FastAPI knows of its own routes, and what the transports answer before it.

`/docs` shows it with files that are installed, none of them from elsewhere.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api.examples import EVALUATE, PREDICT, Example
from service.codec.evaluate.contract import EvaluateAnswer, EvaluateRequest
from service.codec.infer.contract import InferAnswer, InferRequest
from service.codec.predict.contract import ErrorAnswer, PredictAnswer, PredictRequest
from service.errors import NotFound
from service.transports.asgi import is_guarded

VALIDATION_ERROR: Final = "HTTPValidationError"  # FastAPI's own shape of errors
COMPONENT: Final = "#/components/schemas/{model}"
ERRORS: Final = {
    400: "The body is not JSON.",
    401: "No key, or a wrong one.",
    404: "No such model or version.",
    413: "The body is too large.",
    415: "Not application/json, or compressed.",
    422: "JSON, but not a request that can be answered: says what was wrong and what was expected.",
    429: "The queue is full; Retry-After says when to come back.",
    500: "The service's own fault.",
    503: "Not ready, or draining.",
    504: "The deadline passed.",
}
INFER_ERRORS: Final = ERRORS | {
    400: "The header is not JSON, or the bytes are not framed or compressed as the headers say.",
    413: "The body is too large, or unpacks to more than is read.",
    415: "Neither application/json nor application/octet-stream, or compressed with neither gzip nor deflate.",
}
OCTETS: Final = {"schema": {"type": "string", "format": "binary", "description": "The header, and binary data."}}


class EndpointPage(NamedTuple):
    """Paths that the transports answer, which FastAPI knows nothing of."""

    tag: str
    paths: Mapping[str, str]
    request: str
    answer: str
    errors: Mapping[int, str]
    binary: bool = False
    examples: Mapping[str, Example] = {}


ENDPOINT_PAGES: Final = (
    EndpointPage(
        "predict",
        {
            "/v1/predict": "Predict with the default model",
            "/v1/models/{model}/predict": "Predict with a model's highest version",
            "/v1/models/{model}/versions/{version}/predict": "Predict with one version",
        },
        "PredictRequest",
        "PredictAnswer",
        ERRORS,
        examples=PREDICT,
    ),
    EndpointPage(
        "evaluate",
        {
            "/v1/evaluate": "Evaluate with the default model",
            "/v1/models/{model}/evaluate": "Evaluate with a model's highest version",
            "/v1/models/{model}/versions/{version}/evaluate": "Evaluate with one version",
        },
        "EvaluateRequest",
        "EvaluateAnswer",
        ERRORS,
        examples=EVALUATE,
    ),
    EndpointPage(
        "open inference protocol",
        {
            "/v2/models/{model}/infer": "Infer with a model's highest version",
            "/v2/models/{model}/versions/{version}/infer": "Infer with one version",
        },
        "InferRequest",
        "InferAnswer",
        INFER_ERRORS,
        binary=True,
    ),
)
MODELS: Final = (
    (PredictRequest, "validation"),
    (PredictAnswer, "serialization"),
    (EvaluateRequest, "validation"),
    (EvaluateAnswer, "serialization"),
    (InferRequest, "validation"),
    (InferAnswer, "serialization"),
    (ErrorAnswer, "serialization"),
)
LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 0},
    "description": "How many bytes of the body are the JSON header; binary data follow it.",
}
FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def describe(app: FastAPI, *, guarded: bool = False) -> None:
    """Let `app` describe the whole service, and serve `/docs`; a guarded one says that it wants a key, and where."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schema = add_endpoints(drop_validation_errors(schema))
            app.openapi_schema = add_keys(schema) if guarded else schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own documented way to extend it
    app.include_router(docs(app.title))


def drop_validation_errors(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document without the 422 that FastAPI puts wherever a path has parameters: it judges none here."""
    for methods in schema["paths"].values():
        for described in methods.values():
            if VALIDATION_ERROR in references(described["responses"].get("422")):
                del described["responses"]["422"]
    components, there = schema["components"]["schemas"], references(schema["paths"])
    while more := references([components[name] for name in there]) - there:
        there |= more
    schema["components"]["schemas"] = {name: component for name, component in components.items() if name in there}
    return schema


def references(node: Any) -> set[str]:
    """The components that are referred to below a node."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    own = node.get("$ref")
    return references(list(node.values())) | ({own.rpartition("/")[2]} if isinstance(own, str) else set())


def add_endpoints(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with the transports' paths added."""
    _, definitions = models_json_schema(MODELS, ref_template=COMPONENT)
    schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
    for page in ENDPOINT_PAGES:
        for path, summary in page.paths.items():
            schema["paths"][path] = {"post": operation(page, path, summary)}
    return schema


def add_keys(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document in which the guarded paths want a key, and say so to who has none."""
    unauthorized = {"description": ERRORS[401], "content": content("ErrorAnswer")}
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        if is_guarded(path.encode()):
            for described in methods.values():
                described["security"] = [{"key": []}]
                described["responses"].setdefault("401", unauthorized)
    return schema


def operation(page: EndpointPage, path: str, summary: str) -> dict[str, Any]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    body = content(page.request, binary=page.binary)
    if page.examples:
        body["application/json"]["examples"] = {name: example._asdict() for name, example in page.examples.items()}
    errors = {str(code): {"description": why, "content": content("ErrorAnswer")} for code, why in page.errors.items()}
    return {
        "tags": [page.tag],
        "summary": summary,
        "operationId": "_".join([path.rpartition("/")[2], *names]),
        "parameters": [*parameters, LENGTH] if page.binary else parameters,
        "requestBody": {"required": True, "content": body},
        "responses": {
            "200": {"description": "What was asked for.", "content": content(page.answer, binary=page.binary)},
            **errors,
        },
    }


def content(model: str, *, binary: bool = False) -> dict[str, Any]:
    """A JSON body of a model, or that with binary data behind it."""
    json = {"application/json": {"schema": {"$ref": COMPONENT.format(model=model)}}}
    return json | {"application/octet-stream": OCTETS} if binary else json


def docs(title: str) -> APIRouter:
    """`/docs` and the files that it loads."""
    router = APIRouter(include_in_schema=False)
    shipped = files("fastapi_swagger") / "resources"

    @router.get("/docs")
    async def page() -> Response:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=title,
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon-32x32.png",
        )

    @router.get("/docs/{name}")
    async def file(name: str) -> Response:
        if name not in FILES:
            raise NotFound("there is no such file among the docs")
        return Response((shipped / name).read_bytes(), media_type=FILES[name])

    return router
