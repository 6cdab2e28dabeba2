"""Calls whose values the classifier refuses, among calls that it answers, and strings, over HTTP."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from service.heads.attach import attach
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.conftest import serving
from tests.engine.test_refusal import embedding_head
from tests.heads import classifiers
from tests.transports.infer import outputs, post, tensor

N_CALLS = 800
N_WORDS = 10


async def call(port: int, ids: list[list[int]], ready: asyncio.Barrier) -> tuple[int, Any]:
    """One call over a connection of its own, sent when all others are connected too."""
    body = json.dumps({"inputs": {"ids": ids}}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await ready.wait()
    writer.write(b"POST /v1/models/words/predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n")
    writer.write(b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    head, _, answer = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), json.loads(answer)


async def call_all(port: int, calls: list[list[list[int]]]) -> list[tuple[int, Any]]:
    ready = asyncio.Barrier(len(calls))
    async with asyncio.timeout(60):
        return await asyncio.gather(*(call(port, ids, ready) for ids in calls))


def test_an_eighth_of_many_calls_is_refused_and_their_neighbours_are_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """422 with the row, 200 with the numbers of a run by themselves, and nothing counted as the service's fault."""
    place = tmp_path / "words" / "1" / "model.onnx"
    place.parent.mkdir(parents=True)
    head = embedding_head(place)
    rng = np.random.default_rng(0)
    calls = [rng.integers(0, N_WORDS, (1 + i % 3, 4)).tolist() for i in range(N_CALLS)]
    for i in range(0, N_CALLS, 8):
        calls[i][-1][i % 4] = 300
    with serving(models=tmp_path) as running:
        answers = asyncio.run(call_all(running.port, calls))
        metrics = running.client.get("/metrics").text
    assert [status for status, _ in answers] == [422 if i % 8 == 0 else 200 for i in range(N_CALLS)]
    for i, (_, answer) in enumerate(answers):
        if i % 8:
            ids = np.array(calls[i])
            expected = head.run({"ids": ids}, 1)["probabilities"]
            np.testing.assert_allclose(answer["probabilities"], expected, rtol=0, atol=1e-6)
        else:
            row = len(calls[i]) - 1
            assert answer["code"] == "bad_input"
            assert answer["row"] == row
            assert answer["error"].startswith(f"row {row}: the classifier refuses the values of its inputs")
    counted = [line.split() for line in metrics.splitlines() if line.startswith("calibrant_requests_total{")]
    assert sum(float(n) for labels, n in counted if 'code="5' in labels) == 0
    assert sum(float(n) for labels, n in counted if 'code="422"' in labels) == N_CALLS / 8
    assert len([record for record in caplog.records if "refuses the values" in record.getMessage()]) == 1


def test_a_classifier_whose_logits_are_probabilities_is_warned_of_and_counted(tmp_path: Path) -> None:
    """As logits in a request are, where one got behind a softmax all the same; in a batch that is cut, too."""
    for name, output in (("twice", "probabilities"), ("once", "wide")):
        place = tmp_path / name / "1" / "model.onnx"
        place.parent.mkdir(parents=True)
        write(attach(classifiers.ending_in_softmax(), output, Stages(), Metadata()), place)
    x = np.random.default_rng(0).normal(size=(9, 6)).tolist()
    with serving(models=tmp_path, default_model="once", max_batch_rows=4) as running:
        answers = {name: running.predict({"inputs": {"x": x}}, name).json() for name in ("twice", "once")}
        header = {"inputs": [tensor("x", "FP32", [1, 6], data=x[0])]}
        said = post(running, header, path="/v2/models/twice/infer").json()["parameters"]
        metrics = running.client.get("/metrics").text
    assert "warnings" not in answers["once"]
    (warning,) = answers["twice"]["warnings"]
    assert (warning["code"], warning["rows"]) == ("looks_like_probabilities", [*range(9)])
    assert said["looks_like_probabilities"] is True
    counted = [line for line in metrics.splitlines() if "looks_like_probabilities" in line and 'model="twice"' in line]
    assert [line.split()[-1] for line in counted if "_total" in line] == ["2.0"]


def test_strings_are_answered_in_json_and_as_bytes(tmp_path: Path) -> None:
    """A classifier that knows two words, over both protocols."""
    node = helper.make_node(
        "LabelEncoder", ["text"], ["score"], domain="ai.onnx.ml", keys_strings=["gut", "böse"],
        values_floats=[2.0, -2.0], default_float=0.0,
    )  # fmt: skip
    nodes = [
        node,
        helper.make_node("Sub", ["score", "score"], ["zero"]),
        helper.make_node("Concat", ["zero", "score"], ["logits"], axis=1),
    ]
    inputs: list[classifiers.Value] = [("text", TensorProto.STRING, ["n", 1])]
    others = [helper.make_opsetid("ai.onnx.ml", 3)]
    model = classifiers.made(nodes, inputs, [("logits", 1, ["n", 2])], others=others)
    place = tmp_path / "texts" / "1" / "model.onnx"
    place.parent.mkdir(parents=True)
    write(attach(model, "logits", Stages(), Metadata()), place)
    logits = np.array([[0, 2], [0, -2], [0, 0]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    words = ["gut", "böse", "neu"]
    with serving(models=tmp_path) as running:
        answer = running.predict({"inputs": {"text": [[word] for word in words]}}, "texts")
        np.testing.assert_allclose(answer.json()["probabilities"], expected, atol=1e-6)
        header = {"inputs": [tensor("text", "BYTES", [3, 1], data=words)]}
        found = outputs(post(running, header, path="/v2/models/texts/infer"))
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
        about = running.client.get("/v2/models/texts").json()
    assert about["inputs"][0] == {"name": "text", "datatype": "BYTES", "shape": [-1, 1]}
