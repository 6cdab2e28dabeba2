"""The OpenAPI document: true, in order, with examples that work."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.families import FAMILIES
from tests.conftest import Running
from tests.transports.infer import post, tensor

PREDICT = ("/v1/predict", "/v1/models/{model}/predict", "/v1/models/{model}/versions/{version}/predict")
EVALUATE = ("/v1/evaluate", "/v1/models/{model}/evaluate", "/v1/models/{model}/versions/{version}/evaluate")
HEADS = {"entmax": "entmax-1.25", "ensemble": "ensemble-logits"}  # others are called as their family


@pytest.fixture
def openapi(running: Running) -> Any:
    """The document."""
    return running.client.get("/openapi.json").json()


def references(node: Any) -> set[str]:
    """Every `$ref` below a node."""
    if isinstance(node, list):
        return set().union(*map(references, node))
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own.union(*map(references, node.values()))


def test_every_reference_leads_somewhere(openapi: Any) -> None:
    assert openapi["openapi"].startswith("3.")
    for reference in references(openapi):
        place = openapi
        for key in reference.removeprefix("#/").split("/"):
            place = place[key]


def operations(openapi: Any) -> list[tuple[str, Any]]:
    """Every operation, with its path."""
    return [(path, op) for path, methods in openapi["paths"].items() for op in methods.values()]


def test_no_component_is_there_for_nobody(openapi: Any) -> None:
    referred = {reference.rpartition("/")[2] for reference in references(openapi)}
    assert openapi["components"]["schemas"].keys() == referred


def test_every_error_that_is_described_has_the_one_shape(openapi: Any) -> None:
    for path, operation in operations(openapi):
        for code, response in operation["responses"].items():
            if code != "200":
                shape = openapi["components"]["schemas"][references(response).pop().rpartition("/")[2]]
                assert {"error", "code"} <= set(shape["required"]), (path, code)
    assert not re.search("HTTPValidationError|ValidationError", str(openapi))


def test_fastapi_judges_nothing_so_that_its_own_shape_of_errors_never_comes(openapi: Any) -> None:
    parameters = [p for _, operation in operations(openapi) for p in operation.get("parameters", [])]
    kinds = {
        kind["type"] for p in parameters if p["in"] != "header" for kind in p["schema"].get("anyOf", [p["schema"]])
    }
    assert kinds == {"string", "null"}  # any string is one
    assert {p["name"] for p in parameters if p["in"] == "header"} == {"Inference-Header-Content-Length"}  # the lanes'


def test_what_a_get_may_answer_is_described(run: Callable[..., Running], openapi: Any) -> None:
    running, heard = run(), set()
    for draining in (False, True):
        running.service.draining = draining
        for path, methods in openapi["paths"].items():
            for name in ("digits", "softmax", "nobody") if "get" in methods and path != "/metrics" else ():
                response = running.client.get(path.format(model=name, version=1))
                described = methods["get"]["responses"][str(response.status_code)]
                if found := references(described["content"]["application/json"]["schema"]):
                    shape = openapi["components"]["schemas"][found.pop().rpartition("/")[2]]
                    assert set(shape.get("required", ())) <= response.json().keys(), path
                heard.add((path, str(response.status_code)))
    gets = {path: methods["get"]["responses"] for path, methods in openapi["paths"].items() if "get" in methods}
    assert heard == {(path, code) for path, codes in gets.items() for code in codes if path != "/metrics"}


def test_every_operation_has_a_name_of_its_own_and_describes_its_parameters(openapi: Any) -> None:
    names = [op["operationId"] for _, op in operations(openapi)]
    assert len(set(names)) == len(names)
    for path, op in operations(openapi):
        assert re.findall(r"{(\w+)}", path) == [p["name"] for p in op.get("parameters", []) if p["in"] == "path"]
        assert op["responses"]


@pytest.mark.parametrize("path", PREDICT)
def test_predict_is_described_with_all_of_its_errors(openapi: Any, path: str) -> None:
    codes = {"200", "400", "401", "404", "413", "415", "422", "429", "500", "503", "504"}
    assert openapi["paths"][path]["post"]["responses"].keys() >= codes


def bodies(openapi: Any, path: str) -> dict[str, Any]:
    """The example requests of a path, by name."""
    content = openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return {name: example["value"] for name, example in content["examples"].items()}


@pytest.mark.parametrize("path", PREDICT + EVALUATE)
def test_the_examples_work_with_a_head_of_their_family(families: Running, openapi: Any, path: str) -> None:
    examples = bodies(openapi, path)
    named = {"digits"} if "{model}" in path else set()
    assert {name.partition("-")[0] for name in examples} == {*FAMILIES, "ensemble"} | named
    for name, body in examples.items():
        kind = name.partition("-")[0]
        if kind == "digits" or ("{model}" not in path and kind != "softmax"):
            continue  # the default model is one
        response = families.client.post(path.format(model=HEADS.get(kind, kind), version=1), json=body)
        assert response.status_code == 200, (name, response.text)
        default = "probabilities" if path in PREDICT else "vjp"
        assert {*body.get("outputs", [default])} <= response.json().keys(), name
        assert "warnings" not in response.json(), name


@pytest.mark.parametrize("path", [path for path in PREDICT + EVALUATE if "{model}" in path])
def test_the_first_examples_work_with_the_model_that_stands_in_the_path(
    running: Running, openapi: Any, path: str
) -> None:
    named = {p["name"]: p["example"] for p in openapi["paths"][path]["post"]["parameters"]}
    assert named["model"] == "digits"
    examples = bodies(openapi, path)
    assert next(iter(examples)).startswith("digits")
    for name, body in examples.items():
        if name.startswith("digits"):
            response = running.client.post(path.format(**named), json=body)
            assert response.status_code == 200, (name, response.text)
            assert {*body["outputs"]} <= response.json().keys(), name


def test_with_a_journal_an_example_of_digits_shows_groups(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    examples = bodies(running.client.get("/openapi.json").json(), PREDICT[1])
    assert running.predict(examples["digits-group"], "digits").status_code == 200


def test_the_examples_of_digits_show_a_mask_and_sets(running: Running, openapi: Any) -> None:
    def answer(name: str) -> Any:
        return running.predict(bodies(openapi, PREDICT[1])[name], "digits").json()

    assert answer("digits")["labels"] == "five"
    assert answer("digits-mask")["probabilities"][0][5] == 0
    assert set(answer("digits-allowed")["labels"]) <= {"three", "four", "seven", "eight", "nine"}
    assert [len(one) > 1 for one in answer("digits-alpha")["prediction_set"]["labels"]] == [False, True]


def test_who_predicts_finds_that_first_and_who_operates_last(run: Callable[..., Running], tmp_path: Path) -> None:
    document = run(journal=tmp_path).client.get("/openapi.json").json()
    tags = [tag["name"] for tag in document["tags"]]
    assert tags == ["predict", "evaluate", "labels", "models", "open inference protocol", "operations"]
    paths = list(document["paths"])
    for earlier, later in pairwise(
        ["/v1/predict", "/v1/evaluate", "/v1/labels", "/v1/models", "/v2/models/{model}/infer", "/v2", "/healthz"]
    ):
        assert paths.index(earlier) < paths.index(later)
    assert [op["tags"] for _, op in operations(document)] == sorted(
        ([*op["tags"]] for _, op in operations(document)), key=lambda names: tags.index(names[0])
    )


def test_the_examples_show_what_they_say(families: Running, openapi: Any) -> None:
    def answer(path: str, name: str, model: str) -> Any:
        return families.client.post(path.format(model=model), json=bodies(openapi, path)[name]).json()

    assert answer(PREDICT[1], "softmax-prior", "softmax")["prediction"] == 1
    assert answer(PREDICT[1], "sparsemax", "sparsemax")["probabilities"] == pytest.approx([0.55, 0.45, 0])
    assert answer(PREDICT[1], "sigmoid", "sigmoid")["prediction"] == [[0, 2, 3], [3]]
    assert answer(PREDICT[1], "ensemble", "ensemble-logits")["probabilities"][0][2] == 0
    assert answer(EVALUATE[1], "sparsemax", "sparsemax")["metrics"]["n_impossible"] == 1
    jacobian = np.array(answer(EVALUATE[1], "softmax-jacobian", "softmax")["vjp"])
    assert np.allclose(jacobian, jacobian.T)
    assert np.allclose(jacobian.sum(axis=1), 0)


@pytest.mark.parametrize(("path", "shape"), [(PREDICT[0], "PredictAnswer"), (EVALUATE[0], "EvaluateAnswer")])
def test_an_example_answer_is_that_to_an_example_of_its_path(
    families: Running, openapi: Any, path: str, shape: str
) -> None:
    body = bodies(openapi, path)["softmax"]
    (example,) = openapi["components"]["schemas"][shape]["examples"]
    answer = families.client.post(path, json=body).json()
    assert answer.keys() == example.keys()
    for key, value in answer.items():
        assert value == (example[key] if isinstance(value, str) else pytest.approx(example[key], rel=1e-7)), key


def test_an_answer_has_no_key_that_is_not_described(running: Running, openapi: Any) -> None:
    schemas = openapi["components"]["schemas"]
    every = schemas["PredictRequest"]["properties"]["outputs"]["items"]["enum"]
    outputs = [name for name in every if name != "mutual_information"]  # of heads that average members
    answer = running.predict({"logits": [[1, 2], [None, None]], "outputs": outputs, "top_k": 1, "id": "x"}).json()
    described = schemas["PredictAnswer"]["properties"].keys()
    assert answer.keys() <= described
    assert described - answer.keys() == {"labels", "prediction_set", "mutual_information"}
    error = running.predict({"logits": [1, 1e39]}).json()
    assert error.keys() == schemas["ErrorAnswer"]["properties"].keys()


def test_who_asks_for_more_classes_than_there_are_gets_at_most_so_many_as_is_described(
    running: Running, openapi: Any
) -> None:
    schemas = openapi["components"]["schemas"]
    assert "at most so many" in schemas["PredictRequest"]["properties"]["top_k"]["description"]
    assert "at most so many" in schemas["InferOutputParameters"]["properties"]["classification"]["description"]
    top = running.predict({"logits": [1, 2, 3], "mask": [True, False, True], "top_k": 9}).json()["top"]
    assert top["classes"] == [2, 0]
    wanted = [{"name": "probabilities", "parameters": {"classification": 9}}]
    logits = tensor("logits", "FP32", [1, 3], data=[1, 2, 3])
    assert post(running, {"inputs": [logits], "outputs": wanted}).json()["outputs"][0]["shape"] == [1, 3]


def test_with_keys_the_page_asks_for_one_where_one_is_wanted(run: Callable[..., Running], openapi: Any) -> None:
    assert "securitySchemes" not in openapi["components"]
    guarded = run(api_keys="sesame")
    described = guarded.client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            status = guarded.client.request(method, path).status_code
            assert ("security" in operation) == (status == 401), path
            assert status != 401 or "401" in operation["responses"], path
