"""The OpenAPI page: what FastAPI knows of its own routes, and the predict paths, which the lanes answer before it.

`/docs` shows it with files that are installed, none of them from elsewhere.
"""

from importlib.resources import files
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from service.codec.contract import ErrorAnswer, PredictAnswer, PredictRequest
from service.errors import NotFound

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
PATHS: Final = {
    "/v1/predict": "Predict with the default model",
    "/v1/models/{model}/predict": "Predict with a model's highest version",
    "/v1/models/{model}/versions/{version}/predict": "Predict with one version",
}
FILES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}


def describe(app: FastAPI) -> None:
    """Let `app` describe the whole service, and serve `/docs`."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = with_predict(schema)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own documented way to extend it
    app.include_router(docs(app.title))


def with_predict(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI document with the predict paths added."""
    models = [(PredictRequest, "validation"), (PredictAnswer, "serialization"), (ErrorAnswer, "serialization")]
    _, definitions = models_json_schema(models, ref_template=COMPONENT)  # type: ignore[arg-type]  # a list of pairs it is
    schema.setdefault("components", {}).setdefault("schemas", {}).update(definitions["$defs"])
    for path, summary in PATHS.items():
        schema["paths"][path] = {"post": operation(path, summary)}
    return schema


def operation(path: str, summary: str) -> dict[str, Any]:
    """One predict path."""
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    return {
        "tags": ["predict"],
        "summary": summary,
        "operationId": "_".join(["predict", *names]),
        "parameters": [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names],
        "requestBody": {"required": True, "content": content("PredictRequest")},
        "responses": {
            "200": {"description": "One key per output.", "content": content("PredictAnswer")},
            **{str(code): {"description": why, "content": content("ErrorAnswer")} for code, why in ERRORS.items()},
        },
    }


def content(model: str) -> dict[str, Any]:
    """A JSON body of a model."""
    return {"application/json": {"schema": {"$ref": COMPONENT.format(model=model)}}}


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
