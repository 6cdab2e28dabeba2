"""Infer, by hand: what comes in any form gets the native answer, bit for bit, in the form that was asked for."""

import gzip
import json
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.families import SOFTMAX
from service.families.outputs import outputs_of
from tests.api.bodies import held
from tests.conftest import Running
from tests.heads_made import head, put
from tests.transports.infer import FP32, PATH, binary, framed, outputs, post, tensor, wanted

OUTPUTS = outputs_of(SOFTMAX, False)

RANDOM = np.random.default_rng(4)
ROWS = (3 * RANDOM.standard_normal((3, 5))).astype(np.float32)
MASK = np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)


def native(running: Running, **body: Any) -> dict[str, Any]:
    """The native answer, as arrays; no prediction is -1 in the protocol."""
    answer = running.predict({"outputs": list(OUTPUTS), **body}).json()
    kinds = {"prediction": np.int64}
    empty = {"prediction": -1, "log_probabilities": -np.inf, "logsumexp": -np.inf}

    def filled(value: Any, name: str) -> Any:
        if isinstance(value, list):
            return [filled(item, name) for item in value]
        return empty[name] if value is None else value

    return {name: np.array(filled(answer[name], name), kinds.get(name, np.float32)) for name in OUTPUTS}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """To the last bit, dtype and shape included."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].dtype == values.dtype, name
        assert found[name].shape == values.shape, name
        assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("as_binary", [False, True], ids=["JSON out", "binary out"])
@pytest.mark.parametrize("form", ["flat", "nested", "binary", "unaligned"])
def test_the_answer_is_the_native_one_to_the_last_bit(running: Running, form: str, as_binary: bool) -> None:
    expected = native(running, logits=ROWS.tolist(), mask=MASK.tolist(), temperature=[0.5, 1.5, 1.0])
    column = np.array([0.5, 1.5, 1.0])
    asks = {"outputs": wanted(*OUTPUTS, binary_data=as_binary)}
    if form in ("flat", "nested"):
        data = [a.tolist() if form == "nested" else a.reshape(-1).tolist() for a in (ROWS, MASK, column)]
        inputs = [
            tensor("logits", "FP32", [3, 5], data=data[0]),
            tensor("mask", "BOOL", [3, 5], data=data[1]),
            tensor("temperature", "FP64", [3], data=data[2]),
        ]
        response = post(running, {"inputs": inputs, **asks})
    else:
        inputs = [
            binary("logits", "FP32", [3, 5], 60),
            binary("mask", "BOOL", [3, 5], 15),
            binary("temperature", "FP64", [3, 1], 24),
        ]
        header = json.dumps({"inputs": inputs, **asks}).encode()
        header = header.ljust(-(-len(header) // 8) * 8 + (form == "unaligned"))
        response = post(running, header, ROWS.tobytes(), MASK.tobytes(), column.tobytes())
    assert_same(outputs(response), expected)


@pytest.mark.parametrize(("datatype", "dtype"), [("FP16", np.float16), ("BF16", None), ("FP64", np.float64)])
def test_other_floats_come_in_binary(running: Running, datatype: str, dtype: Any) -> None:
    if dtype is None:
        half = (ROWS.view(np.uint32) >> 16).astype(np.uint16)
        values, data = (half.astype(np.uint32) << 16).view(np.float32), half.tobytes()
    else:
        values, data = ROWS.astype(dtype), ROWS.astype(dtype).tobytes()
    response = post(running, {"inputs": [binary("logits", datatype, [3, 5], len(data))]}, data)
    assert_same(outputs(response), native(running, logits=values.astype(np.float64).tolist()))


def test_without_outputs_all_that_the_metadata_lists_come(running: Running) -> None:
    response = post(running, {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])]})
    metadata = running.client.get("/v2/models/softmax").json()
    said = response.json()["outputs"]
    assert [o["name"] for o in said] == [o["name"] for o in metadata["outputs"]]
    assert [o["datatype"] for o in said] == [o["datatype"] for o in metadata["outputs"]]
    assert [len(o["shape"]) for o in said] == [len(o["shape"]) for o in metadata["outputs"]]
    assert all("parameters" not in output for output in said)  # perf_analyzer stumbles over them


def test_an_output_overrides_what_the_request_says_of_binary_data(running: Running) -> None:
    asks: dict[str, Any] = {
        "parameters": {"binary_data_output": True},
        "outputs": wanted("confidence", "probabilities"),
    }
    asks["outputs"][0]["parameters"] = {"binary_data": False}
    response = post(running, {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])], **asks})
    length = int(response.headers["inference-header-content-length"])
    first, second = json.loads(response.content[:length])["outputs"]
    assert "data" in first
    assert second["parameters"] == {"binary_data_size": 8}
    assert len(response.content) == length + 8


def test_one_row_needs_no_batch_axis(running: Running) -> None:
    found = outputs(post(running, {"inputs": [tensor("logits", "FP32", [5], data=ROWS[0].tolist())]}))
    assert found["probabilities"].shape == (5,)
    assert found["prediction"].shape == (1,)


def test_the_id_comes_back_only_if_one_came(running: Running) -> None:
    ask = {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])]}
    assert "id" not in post(running, ask).json()
    assert post(running, {**ask, "id": "forty-two"}).json()["id"] == "forty-two"
    assert post(running, {**ask, "id": ""}).json()["id"] == ""


@pytest.mark.parametrize("value", [0.5, 2, "0.5", "2e0"])
def test_a_temperature_may_be_a_parameter_as_a_number_or_as_a_string(running: Running, value: Any) -> None:
    ask = {"inputs": [tensor("logits", "FP32", [3, 5], data=ROWS.tolist())], "parameters": {"temperature": value}}
    response = post(running, ask)
    assert response.json()["parameters"] == {"method": "none", "temperature": float(value)}
    assert_same(outputs(response), native(running, logits=ROWS.tolist(), temperature=float(value)))


def test_one_temperature_is_for_all_rows(running: Running) -> None:
    inputs = [tensor("logits", "FP32", [3, 5], data=ROWS.tolist()), tensor("temperature", "FP32", [1], data=[0.7])]
    expected = native(running, logits=ROWS.tolist(), temperature=float(np.float32(0.7)))
    assert_same(outputs(post(running, {"inputs": inputs})), expected)


def test_what_the_calibration_has_to_say_stands_in_the_parameters(running: Running) -> None:
    inputs = [
        tensor("logits", "FP32", [2, 2], data=[0.25, 0.75, 1, 0]),
        tensor("mask", "BOOL", [2, 2], data=[True, True, False, False]),
    ]
    said = post(running, {"inputs": inputs}).json()["parameters"]
    assert said == {"method": "none", "temperature": 1.0, "no_class_allowed": "1", "looks_like_probabilities": True}


def test_null_is_a_class_without_a_score_both_ways(running: Running) -> None:
    ask = {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, None])], "outputs": wanted("log_probabilities")}
    assert post(running, ask).json()["outputs"][0]["data"] == [0.0, None]


def test_no_rows_get_an_answer_of_no_rows(running: Running) -> None:
    for response in (
        post(running, {"inputs": [tensor("logits", "FP32", [0, 5], data=[])]}),
        post(running, {"inputs": [binary("logits", "FP32", [0, 5], 0), binary("mask", "BOOL", [0, 5], 0)]}),
        post(
            running, {"inputs": [tensor("logits", "FP32", [0, 5], data=[])], "parameters": {"binary_data_output": True}}
        ),
    ):
        found = outputs(response)
        assert found["probabilities"].shape == (0, 5)
        assert found["prediction"].shape == (0,)


def test_a_body_without_a_header_is_the_only_input(running: Running) -> None:
    response = post(running, b"", ROWS[0].tobytes())
    assert_same(outputs(response), native(running, logits=[ROWS[0].tolist()]))


def test_timeout_and_priority_are_the_schedule_policy(running: Running) -> None:
    ask: dict[str, Any] = {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])]}
    assert post(running, {**ask, "parameters": {"timeout": 0, "priority": 1}}).status_code == 200
    with held(running) as hold:
        response = post(running, {**ask, "parameters": {"timeout": 1000}})
        hold.wait()
    assert response.status_code == 504
    assert isinstance(response.json()["error"], str)


def test_classification_gives_value_index_and_label(run: Callable[..., Running], tmp_path: Path) -> None:
    put(tmp_path / "models", "pets", 1, head(tmp_path / "head.onnx", labels=("cat", "dog", "eel")))
    service = run(models=tmp_path / "models", default_model="pets")
    inputs = [
        tensor("logits", "FP32", [2, 3], data=[0, 2, 1, 5, 5, 5]),
        tensor("mask", "BOOL", [2, 3], data=[True, True, True, False, True, True]),
    ]
    path = "/v2/models/pets/infer"
    plain = outputs(post(service, {"inputs": inputs, "outputs": wanted("probabilities")}, path=path))["probabilities"]
    for as_binary in (False, True):
        asks = wanted("probabilities", classification=3, binary_data=as_binary)
        found = outputs(post(service, {"inputs": inputs, "outputs": asks}, path=path))["probabilities"]
        assert found.tolist() == [
            [f"{plain[0, 1]!s}:1:dog", f"{plain[0, 2]!s}:2:eel", f"{plain[0, 0]!s}:0:cat"],
            ["0.5:1:dog", "0.5:2:eel", "0.0:0:cat"],
        ]
    some = outputs(
        post(service, {"inputs": inputs, "outputs": wanted("log_probabilities", classification=1)}, path=path)
    )
    assert some["log_probabilities"].shape == (2, 1)


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("coding", PACKERS)
def test_bodies_come_and_answers_go_packed(running: Running, coding: str) -> None:
    asks = {"inputs": [binary("logits", "FP32", [3, 5], 60)], "parameters": {"binary_data_output": True}}
    body, headers = framed(asks, ROWS.tobytes())
    headers |= {"content-encoding": coding, "accept-encoding": coding}
    response = running.client.post(PATH, content=PACKERS[coding](body), headers=headers)
    assert response.headers.get("content-encoding", "identity") == coding
    assert_same(outputs(response), native(running, logits=ROWS.tolist()))


def test_an_unwrapped_deflate_is_read_too(running: Running) -> None:
    stream = zlib.compressobj(wbits=-15)
    body = json.dumps({"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])]}).encode()
    packed = stream.compress(body) + stream.flush()
    assert running.client.post(PATH, content=packed, headers={"content-encoding": "deflate"}).status_code == 200


def test_what_http_libraries_accept_unasked_is_not_packed(running: Running) -> None:
    ask = {"inputs": [tensor("logits", "FP32", [1, 2], data=[0, 1])]}
    assert "content-encoding" not in post(running, ask, accept_encoding="gzip, deflate, br").headers
    assert post(running, ask, accept_encoding="gzip, identity;q=0").headers["content-encoding"] == "gzip"
    assert post(running, ask, accept_encoding="deflate;q=0.5").headers["content-encoding"] == "deflate"


def test_metadata_is_never_packed(running: Running) -> None:
    response = running.client.get("/v2/models/softmax", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), max_size=4)
)
def test_every_transport_gives_the_same_bytes(everywhere: list[Running], rows: list[list[float]]) -> None:
    data = np.array(rows, FP32).tobytes()
    ask = {
        "inputs": [binary("logits", "FP32", [len(rows), 3], len(data))],
        "outputs": wanted(*OUTPUTS, binary_data=True),
    }
    body, headers = framed(ask, data)
    fast, *others = (one.client.post(PATH, content=body, headers=headers) for one in everywhere)
    assert fast.status_code == 200
    for other in others:
        assert (other.status_code, other.content) == (200, fast.content)
        for name in ("content-type", "content-length", "inference-header-content-length"):
            assert other.headers[name] == fast.headers[name]


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", np.float32), ("FP64", np.float64)])
@pytest.mark.parametrize("shape", [[1], [1, 1]])
def test_one_binary_temperature_is_the_parameter(
    running: Running, datatype: str, dtype: type[np.floating[Any]], shape: list[int]
) -> None:
    logits = tensor("logits", "FP32", [2, 3], data=[0, 1, 2, 3, 5, 8])
    value = dtype(0.7)
    column = binary("temperature", datatype, shape, value.nbytes)
    came = post(running, {"inputs": [logits, column]}, value.tobytes()).json()
    same = post(running, {"inputs": [logits], "parameters": {"temperature": float(value)}}).json()
    assert came["parameters"]["temperature"] == float(value)
    assert came["outputs"] == same["outputs"]


def test_large_binary_requests_at_a_time_are_each_run_by_themselves(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bits that they get in JSON, which queues with what else has come."""
    monkeypatch.setattr(running.service.batcher, "inline_s", 1.0)  # whatever runs take here and now
    logits = RANDOM.standard_normal((8, 64, 1000)).astype(np.float32)
    mask = RANDOM.random((8, 64, 1000)) < 0.8
    inputs = [binary("logits", "FP32", [64, 1000], 256_000), binary("mask", "BOOL", [64, 1000], 64_000)]

    def ask(i: int, *, as_binary: bool) -> httpx.Response:
        asks = {"inputs": inputs, "outputs": wanted("probabilities", binary_data=as_binary)}
        return post(running, asks, logits[i].tobytes(), mask[i].tobytes())

    with ThreadPoolExecutor(8) as threads:
        binaries, texts = (list(threads.map(partial(ask, as_binary=way), range(8))) for way in (True, False))
    assert all("queue;dur=0.000" in answer.headers["server-timing"] for answer in binaries)
    assert any("queue;dur=0.000" not in answer.headers["server-timing"] for answer in texts)
    for in_binary, in_text in zip(binaries, texts, strict=True):
        assert_same(outputs(in_binary), outputs(in_text))
