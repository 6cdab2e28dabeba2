"""Heads of every family over HTTP: JSON and the Open Inference Protocol, alone and beside each other."""

import asyncio
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from service.families import FAMILIES
from tests.conftest import Running
from tests.families_made import HEADS
from tests.transports.infer import binary, outputs, post, tensor, wanted

ROWS = np.array([[2.0, -1.0, 0.5, 3.0], [0.1, 0.2, 3.0, -2.0]])
MEMBERS = np.array([[ROWS[0], ROWS[1], ROWS[0]], [ROWS[1], ROWS[1], ROWS[1]]])


def rows_of(name: str) -> Any:
    return MEMBERS if name.startswith("ensemble") else ROWS


def filled(values: Any) -> Any:
    """float32, with -inf in the place of null."""
    flat = [-np.inf if value is None else value for value in np.array(values, np.object_).ravel()]
    return np.array(flat, np.float32)


@pytest.mark.parametrize("name", HEADS)
def test_both_protocols_say_the_same(families: Running, name: str) -> None:
    given = rows_of(name)
    path = f"/v2/models/{name}/infer"
    infer = post(families, {"inputs": [tensor("logits", "FP64", given.shape, data=given.tolist())]}, path=path)
    found = outputs(infer)
    native = families.predict({"logits": given.tolist(), "outputs": list(found)}, name).json()
    for output, values in found.items():
        if output != "prediction":
            assert np.array_equal(filled(values), filled(native[output])), output
    if name.startswith("sigmoid"):
        assert [np.flatnonzero(row).tolist() for row in found["prediction"]] == native["prediction"]
    else:
        assert found["prediction"].tolist() == native["prediction"]
    assert ("mutual_information" in found) == name.startswith("ensemble")


@pytest.mark.parametrize("name", HEADS)
def test_metadata_describe_what_comes_and_what_goes(families: Running, name: str) -> None:
    described = families.client.get(f"/v2/models/{name}").json()
    given = rows_of(name)
    assert len(described["inputs"][0]["shape"]) == given.ndim
    answer = post(
        families,
        {
            "inputs": [tensor("logits", "FP64", given.shape, data=given.tolist())],
            "outputs": wanted(*(one["name"] for one in described["outputs"])),
        },
        path=f"/v2/models/{name}/infer",
    ).json()
    assert [(one["name"], one["datatype"]) for one in described["outputs"]] == [
        (one["name"], one["datatype"]) for one in answer["outputs"]
    ]
    assert [len(one["shape"]) for one in described["outputs"]] == [len(one["shape"]) for one in answer["outputs"]]
    about = families.client.get(f"/v1/models/{name}").json()
    assert about["family"] in FAMILIES
    assert about["use"].count(". ") == 2


def test_one_row_of_members_needs_no_batch_axis(families: Running) -> None:
    both = families.predict({"logits": MEMBERS.tolist()}, "ensemble-logits").json()["probabilities"]
    assert families.predict({"logits": MEMBERS[0].tolist()}, "ensemble-logits").json()["probabilities"] == both[0]
    path = "/v2/models/ensemble-logits/infer"
    one = outputs(post(families, {"inputs": [tensor("logits", "FP32", [3, 4], data=MEMBERS[0].tolist())]}, path=path))
    assert np.array_equal(one["probabilities"], np.array(both[0], np.float32))


WRONG: list[tuple[str, dict[str, Any], str, str, int | None]] = [
    ("ensemble-logits", {"logits": [1.0, 2.0]}, "wrong_shape", "expected [M][K] or [N][M][K]", None),
    (
        "ensemble-logits-weighted-a",
        {"logits": [[1.0, 2.0], [3.0, 4.0]]},
        "wrong_members",
        "rows have 2 members, the model averages 3",
        None,
    ),
    (
        "ensemble-logits",
        {"logits": [[[1, 2], [3, 4]], [[1, 2], [3, 1e39]]]},
        "bad_logit",
        "logits[1][1][1] is 1e+39",
        1,
    ),
    (
        "ensemble-logits",
        {"logits": [[1, 2], [3, 4]], "mask": [[True, True]]},
        "wrong_shape",
        "mask has the shape",
        None,
    ),
    ("softmax", {"logits": [1, 2], "outputs": ["mutual_information"]}, "unknown_output", "averages no members", None),
    ("sigmoid", {"logits": [1, 2], "alpha": 0.1}, "no_conformal", "was not fitted with scores", None),
]


@pytest.mark.parametrize(("name", "body", "code", "said", "row"), WRONG, ids=[one[3] for one in WRONG])
def test_what_a_family_does_not_take_is_refused(
    families: Running, name: str, body: dict[str, Any], code: str, said: str, row: int | None
) -> None:
    response = families.predict(body, name)
    assert response.status_code == 422, response.text
    assert (response.json()["code"], response.json().get("row")) == (code, row)
    assert said in response.json()["error"]


def test_wrong_members_are_refused_over_the_protocol(families: Running) -> None:
    for shape, said in (([4], "expected [M, K] or [N, M, K]"), ([2, 4], "rows have 2 members, the model averages 3")):
        data = np.zeros(shape).tolist()
        header = {"inputs": [tensor("logits", "FP32", shape, data=data)]}
        response = post(families, header, path="/v2/models/ensemble-logits-weighted-a/infer")
        assert response.status_code == 422
        assert said in response.json()["error"]


def test_a_mask_is_one_for_all_members_and_an_empty_row_is_named(families: Running) -> None:
    body = {"logits": MEMBERS.tolist(), "mask": [[True] * 4, [False] * 4], "outputs": ["probabilities", "prediction"]}
    found = families.predict(body, "ensemble-probabilities").json()
    assert found["probabilities"][1] == [0] * 4
    assert found["prediction"][1] is None
    assert found["warnings"][0]["rows"] == [1]


def requests(n: int) -> list[tuple[str, dict[str, Any]]]:
    """Requests of all kinds to all heads."""
    draw = np.random.default_rng(8)
    names = [name for name in HEADS if "affine" not in name]
    found = []
    for i in range(n):
        name = names[i % len(names)]
        k, rows = int(draw.integers(1, 40)), int(draw.integers(1, 5))
        shape = (rows, 3, k) if name.startswith("ensemble") else (rows, k)
        logits = (draw.normal(size=shape) * 10.0 ** draw.uniform(-2, 1)).astype(np.float32)
        body: dict[str, Any] = {"logits": logits.tolist(), "outputs": ["probabilities", "log_probabilities"]}
        if draw.random() < 0.5:
            body["mask"] = (draw.random((rows, k)) < 0.8).tolist()
        if draw.random() < 0.5:
            body["temperature"] = draw.uniform(0.2, 5, rows).tolist()
        if draw.random() < 0.3:
            body["outputs"] = ["probabilities"]
        if draw.random() < 0.2:
            body["prior"] = {"old": draw.uniform(0.1, 0.9, k).tolist()}
        found.append((name, body))
    return found


def test_who_asks_beside_others_gets_the_bits_that_it_gets_alone(families: Running) -> None:
    asked = requests(300)  # how they fare in batches stands in test_bitwise
    alone = [families.predict(body, name).content for name, body in asked]

    async def together() -> list[bytes]:
        limits, patient = httpx.Limits(max_connections=48), httpx.Timeout(60, pool=None)
        async with httpx.AsyncClient(base_url=families.url, limits=limits, timeout=patient) as client:
            posts = [client.post(f"/v1/models/{name}/predict", json=body) for name, body in asked]
            return [response.content for response in await asyncio.gather(*posts)]

    assert asyncio.run(together()) == alone


class Wrong(NamedTuple):
    """What is refused alike by both protocols: rows, the fields that say more of them, the code and the row."""

    code: str
    logits: Any
    more: dict[str, Any]
    model: str = "softmax"
    row: int | None = None


PAIR = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]]
EVERYWHERE = {
    "prior of 0": Wrong("bad_prior", PAIR, {"prior": {"old": [1, 0, 1]}}),
    "short prior": Wrong("bad_prior", PAIR, {"prior": {"old": [1, 1]}}),
    "negative prior": Wrong("bad_prior", PAIR, {"prior": {"old": [1, 1, -1]}}),
    "unknown prior": Wrong("bad_prior", PAIR, {"prior": {"new": [1, 1, 1]}}),
    "prior of a sigmoid": Wrong("bad_prior", PAIR, {"prior": {"old": [0.5, 0.5, 2]}}, "sigmoid"),
    "prior of a sparse head": Wrong("bad_prior", PAIR, {"prior": {"old": [1, 1, 1], "strength": -1}}, "entmax15"),
    "threshold": Wrong("invalid_value", PAIR, {"abstain_below": 1.5}),
    "temperature": Wrong("bad_temperature", PAIR, {"temperature": 0.0}, "sparsemax"),
    "information": Wrong("unknown_output", PAIR, {"outputs": ["mutual_information"]}),
    "members": Wrong("wrong_members", PAIR, {}, "ensemble-probabilities-weighted-a"),
    "no members": Wrong("wrong_shape", [1.0, 2.0], {}, "ensemble-logits"),
    "classes": Wrong("wrong_classes", PAIR, {}, "sigmoid-affine-a"),
    "mask": Wrong("wrong_shape", PAIR, {"mask": [[True, False]]}, "sigmoid"),
    "logit": Wrong("bad_logit", [PAIR[0], [0.0, 1e39, 1.0]], {}, "sigmoid", 1),
    "member's logit": Wrong("bad_logit", [PAIR, [PAIR[0], [0.0, 1e39, 1.0]]], {}, "ensemble-logits", 1),
}


def inferred(running: Running, wrong: Wrong, *, as_bytes: bool) -> httpx.Response:
    """The same over the Open Inference Protocol, tensors as JSON or as binary."""
    tensors = {"logits": np.array(wrong.logits, np.float64)}
    if "mask" in wrong.more:
        tensors["mask"] = np.array(wrong.more["mask"])
    kinds = {name: "BOOL" if values.dtype == np.bool_ else "FP64" for name, values in tensors.items()}
    header: dict[str, Any] = {
        "inputs": [
            binary(name, kinds[name], values.shape, values.nbytes)
            if as_bytes
            else tensor(name, kinds[name], values.shape, data=values.tolist())
            for name, values in tensors.items()
        ],
        "parameters": {name: value for name, value in wrong.more.items() if name not in ("mask", "outputs")},
    }
    if "outputs" in wrong.more:
        header["outputs"] = wanted(*wrong.more["outputs"], **({"binary_data": True} if as_bytes else {}))
    data = [values.tobytes() for values in tensors.values()] if as_bytes else []
    return post(running, header, *data, path=f"/v2/models/{wrong.model}/infer")


@pytest.mark.parametrize("wrong", EVERYWHERE.values(), ids=EVERYWHERE)
def test_what_is_wrong_has_one_code_in_json_and_in_binary(families: Running, wrong: Wrong) -> None:
    native = families.predict({"logits": wrong.logits, **wrong.more}, wrong.model)
    answers = [native, *(inferred(families, wrong, as_bytes=as_bytes) for as_bytes in (False, True))]
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert (answer.json()["code"], answer.json().get("row")) == (wrong.code, wrong.row), answer.text


@pytest.mark.parametrize("as_bytes", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize("output", ["loss", "gradient", "vjp", "metrics"])
def test_what_evaluate_answers_is_no_output_of_the_protocol(families: Running, output: str, as_bytes: bool) -> None:
    response = inferred(families, Wrong("unknown_output", PAIR, {"outputs": [output]}), as_bytes=as_bytes)
    assert (response.status_code, response.json()["code"]) == (422, "unknown_output")
    assert f"there is no output {output}; there are probabilities, " in response.json()["error"]
