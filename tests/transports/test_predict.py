"""POST /predict: what is answered, the same on every transport to the byte."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from service.transports.endpoints import PREDICT, Target, find_target, remembered_target
from tests.conftest import Running

REQUESTS: list[Any] = [
    {"logits": [2.0, 1.0, 0.1]},
    {"logits": [[2.0, 1.0, 0.1]]},
    {"logits": [7]},
    {"logits": [[1, 2], [3, 4]], "mask": [[True, False], [False, False]], "outputs": ["log_probabilities"]},
    {"logits": [[1, 2], [3, 4]], "temperature": [0.5, 4], "outputs": ["entropy", "confidence", "logsumexp"]},
    {"logits": [[1, None, 2], [None, None, None]], "outputs": ["prediction", "probabilities"], "top_k": 2},
    {"logits": [[[1, 2], [3, 4]]], "axis": [-2, -1], "id": "é\n"},
    {"logits": [0.2, 0.8], "id": "probabilities"},
    {"logits": [0.1] * 3000, "outputs": ["log_probabilities"]},
    {"logits": [[1, 2]], "allowed": [0]},
    {"logits": [[1], [2, 3]]},
    {"logits": "no"},
    b"",
    b"{",
]


def answer(running: Running, **body: Any) -> Any:
    """The answer to a request that is right."""
    response = running.predict(body)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("body", REQUESTS, ids=lambda body: str(body)[:50])
def test_every_transport_answers_with_the_same_bytes(everywhere: list[Running], body: Any) -> None:
    fast, *others = (running.predict(body, headers={"x-request-id": "a"}) for running in everywhere)
    mute = {"date", "server-timing"}
    for other in others:
        assert fast.content == other.content
        assert fast.status_code == other.status_code
        assert [(k, v) for k, v in fast.headers.multi_items() if k not in mute] == [
            (k, v) for k, v in other.headers.multi_items() if k not in mute
        ]


def test_the_first_request_of_the_readme_has_its_answer(running: Running) -> None:
    body = answer(running, logits=[2.0, 1.0, 0.1])
    assert list(body) == ["model", "version", "method", "temperature", "probabilities"]
    assert (body["model"], body["version"], body["method"], body["temperature"]) == ("softmax", "1", "none", 1.0)
    assert np.allclose(body["probabilities"], [0.6590011, 0.2424330, 0.0985659], atol=1e-7)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/predict",
        "/v1/models/softmax/predict",
        "/v1/models/softmax/versions/1/predict",
        "/v1/models/soft%6dax/predict",
    ],
)
def test_every_path_to_the_model_gives_the_same_answer(running: Running, path: str) -> None:
    assert running.client.post(path, json={"logits": [1, 2]}).content == running.predict({"logits": [1, 2]}).content


@pytest.mark.parametrize("logits", [[1, 2, 3], [[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]], ids=str)
def test_the_answer_has_the_rank_of_the_logits(running: Running, logits: Any) -> None:
    body = answer(running, logits=logits, outputs=["probabilities", "prediction", "confidence", "entropy", "logsumexp"])
    assert np.shape(body["probabilities"]) == np.shape(logits)
    for output in ("prediction", "confidence", "entropy", "logsumexp"):
        assert np.shape(body[output]) == np.shape(logits)[:-1]


def test_only_what_was_asked_for_is_answered_in_the_order_asked(running: Running) -> None:
    asked = ["entropy", "log_probabilities", "prediction"]
    assert list(answer(running, logits=[1, 2], outputs=asked))[4:] == asked


def test_one_class_is_certain(running: Running) -> None:
    body = answer(running, logits=[-1000], outputs=["probabilities", "log_probabilities", "prediction", "entropy"])
    assert [body[k] for k in ("probabilities", "log_probabilities", "prediction", "entropy")] == [[1.0], [0.0], 0, 0.0]


def test_a_masked_class_is_exactly_zero_whatever_stands_there(running: Running) -> None:
    for junk in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e39", b"null", b"7"):
        sent = b'{"logits":[1,%s,2],"mask":[true,false,true],"outputs":["probabilities","log_probabilities"]}' % junk
        assert running.predict(sent).json() == running.predict(sent.replace(junk, b"0", 1)).json()
        assert running.predict(sent).json()["probabilities"][1] == 0
        assert running.predict(sent).json()["log_probabilities"][1] is None


def test_null_is_a_class_without_a_score(running: Running) -> None:
    body = answer(running, logits=[1, None], outputs=["probabilities", "log_probabilities"])
    assert (body["probabilities"], body["log_probabilities"]) == ([1.0, 0.0], [0.0, None])
    assert "warnings" not in body


@pytest.mark.parametrize(
    "empty",
    [{"mask": [[False, False], [True, True]]}, {"logits": [[None, None], [1, 2]]}, {"allowed": [[], [0, 1]]}],
    ids=str,
)
def test_a_row_with_no_class_left_is_zeros_and_nulls_beside_its_neighbours(running: Running, empty: Any) -> None:
    outputs = ["probabilities", "log_probabilities", "prediction", "confidence", "entropy", "logsumexp"]
    body = answer(running, **{"logits": [[3, 4], [1, 2]], "outputs": outputs, "top_k": 1, **empty})
    alone = answer(running, logits=[1, 2], outputs=outputs, top_k=1)
    assert [body[o][0] for o in outputs] == [[0, 0], [None, None], None, 0, 0, None]
    assert body["top"]["classes"] == [[], [1]]
    assert [body[o][1] for o in outputs] == [alone[o] for o in outputs]
    (warning,) = body["warnings"]
    assert (warning["code"], warning["rows"]) == ("no_class_allowed", [0])


def test_logits_that_look_like_probabilities_are_answered_with_a_warning(running: Running) -> None:
    (warning,) = answer(running, logits=[[0.25, 0.75], [1, 0]])["warnings"]
    assert (warning["code"], warning["rows"]) == ("looks_like_probabilities", [0, 1])
    for other in ([[0.25, 0.75], [1, 1]], [[-0.25, 1.25]], [[1]]):
        assert "warnings" not in answer(running, logits=other)


@pytest.mark.parametrize("temperature", [0.5, 2, 1e-3, [3, 0.25]], ids=str)
def test_a_temperature_divides_the_logits_and_is_said(running: Running, temperature: Any) -> None:
    logits = np.array([[1.0, 2.0, 4.0], [0.5, -0.5, 0.0]])
    body = answer(running, logits=logits.tolist(), temperature=temperature, outputs=["log_probabilities"])
    z = logits / np.reshape(temperature, (-1, 1))
    expected = z - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True)) - z.max(1, keepdims=True)
    assert np.allclose(body["log_probabilities"], expected, atol=4e-6, rtol=1e-6)
    assert body["temperature"] == temperature


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-300, 1e300, 1.7976931348623157e308])
def test_no_temperature_brings_a_nan(running: Running, temperature: float) -> None:
    outputs = ["probabilities", "log_probabilities", "entropy", "prediction", "confidence"]
    body = answer(running, logits=[3.4e38, 1, -3.4e38], temperature=temperature, outputs=outputs)
    assert abs(sum(body["probabilities"]) - 1) < 1e-6
    assert body["prediction"] == 0
    assert body["entropy"] is not None


def test_one_mask_serves_all_rows(running: Running) -> None:
    each = answer(running, logits=[[1, 2], [3, 4]], mask=[[True, False], [True, False]])
    assert answer(running, logits=[[1, 2], [3, 4]], mask=[True, False]) == each
    assert answer(running, logits=[[1, 2], [3, 4]], allowed=[0]) == each
    assert answer(running, logits=[[1, 2], [3, 4]], allowed=[[0], [0, 0]]) == each


def test_the_best_classes_come_first_and_none_that_may_not_be_chosen(running: Running) -> None:
    top = answer(running, logits=[[1, 5, 3, 5], [4, 3, 2, 1]], mask=[[True] * 4, [False, True, False, False]], top_k=3)[
        "top"
    ]
    assert top["classes"] == [[1, 3, 2], [1]]
    assert top["probabilities"][1] == [1.0]
    assert answer(running, logits=[1, 2], top_k=2**40)["top"]["classes"] == [1, 0]


def test_a_distribution_may_lie_over_several_axes(running: Running) -> None:
    deep = [[[1, 2, 3], [4, 5, 6]], [[6, 5, 4], [3, 2, 1]]]
    outputs = ["probabilities", "prediction", "logsumexp"]
    body = answer(running, logits=deep, axis=[-2, -1], outputs=outputs, mask=[[True, True, True], [True, True, False]])
    flat = answer(running, logits=np.reshape(deep, (2, 6)).tolist(), outputs=outputs, mask=[True] * 5 + [False])
    assert np.array_equal(np.reshape(body["probabilities"], (2, 6)), flat["probabilities"])
    assert np.shape(body["probabilities"]) == (2, 2, 3)
    assert (body["prediction"], body["logsumexp"]) == (flat["prediction"], flat["logsumexp"])
    single = answer(running, logits=deep[0], axis=[-1, -2])
    assert np.shape(single["probabilities"]) == (2, 3)


def test_an_id_is_echoed(running: Running) -> None:
    for id_ in ("", "a", "ü" * 256, '"\\\n\u2028😀\u0000'):
        assert answer(running, logits=[1], id=id_)["id"] == id_


def test_a_request_id_is_the_clients_where_it_is_a_good_one(running: Running) -> None:
    assert running.predict({"logits": [1]}, headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "x" * 129):
        assert running.predict({"logits": [1]}, headers={"x-request-id": bad}).headers["x-request-id"] != bad
    made = {running.predict({"logits": [1]}).headers["x-request-id"] for _ in range(5)}
    assert len(made) == 5


def test_a_prediction_says_what_took_how_long(running: Running) -> None:
    timing = running.predict({"logits": [1]}).headers["server-timing"]
    number = r";dur=\d+\.\d{3}"
    assert re.fullmatch(f"decode{number}, queue{number}, run{number}, encode{number}", timing)


def test_long_paths_do_not_fill_the_memory() -> None:
    n = remembered_target.cache_info().currsize
    path = b"/v1/models/%s/predict" % (b"a" * 1000)
    assert find_target(path) == Target(PREDICT, "a" * 1000, None)
    assert remembered_target.cache_info().currsize == n


def test_a_query_in_the_address_does_not_hurt(running: Running) -> None:
    assert running.client.post("/v1/predict?verbose=1", json={"logits": [1]}).status_code == 200


def test_a_body_in_chunks_is_read(running: Running) -> None:
    chunks = (part.encode() for part in json.dumps({"logits": [1.5, 2.5]}))
    assert running.client.post("/v1/predict", content=chunks).content == running.predict({"logits": [1.5, 2.5]}).content


def test_a_body_that_waits_to_be_asked_for_is_asked_for(running: Running) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n"
    answered = running.raw(head + b'content-length: 14\r\n\r\n{"logits":[1]}', close=False)
    assert answered.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_requests_in_one_breath_are_answered_in_order(running: Running) -> None:
    requests = b""
    for i in range(20):
        body = b'{"logits":[1,2],"id":"%d"}' % i
        path = b"/v1/predict" if i % 5 else b"/healthz"
        method = b"POST" if i % 5 else b"GET"
        requests += b"%s %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (method, path, len(body), body)
    requests += b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answered = running.raw(requests, close=False)
    assert answered.count(b"HTTP/1.1 200 OK") == 21
    assert re.findall(rb'"id":"(\d+)"|"(alive)"', answered) == [
        (b"%d" % i, b"") if i % 5 else (b"", b"alive") for i in range(20)
    ] + [(b"", b"alive")]


def test_http_1_0_is_answered_and_closed(running: Running) -> None:
    body = b'{"logits":[1]}'
    answered = running.raw(
        b"POST /v1/predict HTTP/1.0\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body), close=False
    )
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"probabilities":[1.0]' in answered


def test_rows_together_or_alone_get_the_same_digits(running: Running) -> None:
    random = np.random.default_rng(7)
    logits, mask = random.standard_normal((90, 7)) * 9, random.random((90, 7)) < 0.9
    temperature = random.uniform(0.1, 5, 90)
    outputs = ["probabilities", "log_probabilities", "entropy", "logsumexp", "prediction"]

    def asked(some: slice) -> Any:
        values = {"logits": logits[some], "mask": mask[some], "temperature": temperature[some]}
        return answer(running, outputs=outputs, top_k=2, **{key: value.tolist() for key, value in values.items()})

    whole = asked(slice(None))
    with ThreadPoolExecutor(8) as threads:  # so that the parts share batches
        parts = list(threads.map(lambda i: asked(slice(i, i + i % 3 + 1)), range(90)))
    for i, part in enumerate(parts):
        some = slice(i, i + i % 3 + 1)
        assert [part[output] for output in outputs] == [whole[output][some] for output in outputs]
        assert part["top"] == {key: value[some] for key, value in whole["top"].items()}


@pytest.mark.parametrize("k", [10, 1000, 100_000])
def test_a_row_of_any_width_adds_up_to_one(running: Running, k: int) -> None:
    logits = (np.random.default_rng(k).standard_normal(k) * 5).tolist()
    body = answer(running, logits=logits, mask=[i % 3 != 0 for i in range(k)])
    assert abs(sum(body["probabilities"]) - 1) < 1e-6
    assert set(body["probabilities"][::3]) == {0}


def test_many_clients_at_once_each_get_their_own_answer(running: Running) -> None:
    def ask(i: int) -> None:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            for j in range(20):
                body = client.post("/v1/predict", json={"logits": [i, j, 0.5], "id": f"{i}-{j}"}).json()
                assert body["id"] == f"{i}-{j}"
                assert np.log(body["probabilities"][0] / body["probabilities"][1]) == pytest.approx(i - j, abs=1e-4)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(16)))
