"""The OpenAPI document: what FastAPI knows of its own routes, and what the transports answer before it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.api.docs import docs
from service.api.examples import EVALUATE, EVALUATE_DIGITS, PREDICT, PREDICT_DIGITS, PREDICT_JOURNALED, Example
from service.codec.evaluate.contract import EvaluateAnswer, EvaluateRequest
from service.codec.infer.contract import InferAnswer, InferRequest
from service.codec.predict.contract import ErrorAnswer, PredictAnswer, PredictRequest
from service.transports.scopes import find_scope

VALIDATION_ERROR: Final = "HTTPValidationError"  # FastAPI's own shape of errors
COMPONENT: Final = "#/components/schemas/{model}"
TAGS: Final = {
    "predict": "Probabilities of rows.",
    "evaluate": "Losses, gradients and metrics of rows, and products with the Jacobian.",
    "labels": "What rows were, and what that says of the calibration: with `calibrant serve --journal FOLDER`.",
    "models": "What is served.",
    "open inference protocol": "The same rows for clients of KServe and Triton.",
    "operations": "Health and counts.",
}  # in the order of the page
ERRORS: Final = {
    400: "The body is not JSON.",
    401: "No key, or a wrong one.",
    403: "A key without the scope that is needed.",
    404: "No such model or version.",
    413: "The body is too large.",
    415: "Not application/json, or compressed.",
    422: "JSON, but not a request that can be answered: says what was wrong and what was expected.",
    429: "The queue is full, or the key asks for too many rows a second; Retry-After says when to come back.",
    500: "The service's own fault.",
    503: "Not ready, or draining.",
    504: "The deadline passed: `timeout_ms`, `timeout` or `--default-timeout-ms`.",
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
    examples: Mapping[str, Example] = {}  # that any model of their family answers
    named: Mapping[str, Example] = {}  # that a model of this name answers: for paths that name one
    journaled: Mapping[str, Example] = {}  # that it answers as well where a journal is kept


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
        named=PREDICT_DIGITS,
        journaled=PREDICT_JOURNALED,
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
        named=EVALUATE_DIGITS,
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


def describe(app: FastAPI, models: Callable[[], Mapping[str, Mapping[Any, Any]]], *, guarded: bool = False) -> None:
    """Let `app` describe the whole service, and serve `/docs`; a guarded one says that it wants a key, and where.

    Args:
        app: of FastAPI.
        models: what is served now, names to versions: the first is the example of a path that names a model.
        guarded: whether a key is wanted.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schema = order(add_endpoints(drop_validation_errors(schema)))
            for name, versions in list(models().items())[:1]:
                add_names(schema, {"model": name, "version": str(max(versions))})
            app.openapi_schema = add_keys(schema) if guarded else schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own documented way to extend it
    app.include_router(docs())


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
    journal = "/v1/labels" in schema["paths"]
    added = {
        path: {"post": operation(page, path, summary, journal=journal)}
        for page in ENDPOINT_PAGES
        for path, summary in page.paths.items()
    }
    schema["paths"] = added | schema["paths"]
    return schema


def order(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document in the order of `TAGS`, with those that have paths."""
    tags = list(TAGS)

    def place(item: tuple[str, Any]) -> int:
        return min(tags.index(described["tags"][0]) for described in item[1].values())

    schema["paths"] = dict(sorted(schema["paths"].items(), key=place))
    used = {tags[place(item)] for item in schema["paths"].items()}
    schema["tags"] = [{"name": name, "description": what} for name, what in TAGS.items() if name in used]
    return schema


def add_names(schema: dict[str, Any], names: Mapping[str, str]) -> None:
    """Give the parameters of paths a value that works."""
    for methods in schema["paths"].values():
        for described in methods.values():
            for parameter in described.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in names:
                    parameter["example"] = names[parameter["name"]]


def add_keys(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document in which paths want a key with a scope, and say so to who has none."""
    refusals = {str(code): {"description": ERRORS[code], "content": content("ErrorAnswer")} for code in (401, 403)}
    schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for method, described in methods.items():
            if scope := find_scope(method.upper(), path):
                described["security"] = [{"key": [scope]}]
                described["responses"] = refusals | described["responses"]
    return schema


def operation(page: EndpointPage, path: str, summary: str, *, journal: bool) -> dict[str, Any]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    body = content(page.request, binary=page.binary)
    if page.examples:
        named = {**page.named, **(page.journaled if journal else {})}
        examples = {**(named if "model" in names else {}), **page.examples}
        body["application/json"]["examples"] = {name: example._asdict() for name, example in examples.items()}
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
