"""The clients that people have: tritonclient, sync and asyncio, in every form that it knows, and KServe's own."""

import asyncio
import json
import subprocess
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, Running

triton = pytest.importorskip("tritonclient.http")
triton_aio = pytest.importorskip("tritonclient.http.aio")

ROWS = np.random.default_rng(7).standard_normal((4, 9)).astype(np.float32)
MASK = np.random.default_rng(8).random((4, 9)) < 0.8
FORMS = pytest.mark.parametrize(
    "form",
    [
        {"sends_binary": sends, "takes_binary": takes, "coding": coding}
        for sends in (True, False)
        for takes in (True, False)
        for coding in (None, "gzip", "deflate")
    ],
    ids=lambda form: " ".join(map(str, form.values())),
)


def request(kind: Any, *, sends_binary: bool, takes_binary: bool, coding: str | None) -> dict[str, Any]:
    """The arguments of an infer, which both clients share."""
    logits = kind.InferInput("logits", ROWS.shape, "FP32").set_data_from_numpy(ROWS, binary_data=sends_binary)
    mask = kind.InferInput("mask", MASK.shape, "BOOL").set_data_from_numpy(MASK, binary_data=sends_binary)
    names = ("probabilities", "prediction", "entropy")
    return {
        "model_name": "softmax",
        "inputs": [logits, mask],
        "outputs": [kind.InferRequestedOutput(name, binary_data=takes_binary) for name in names],
        "request_id": "7",
        "timeout": 5_000_000,
        "priority": 1,
        "parameters": {"temperature": "1.5"},
        "request_compression_algorithm": coding,
        "response_compression_algorithm": coding,
    }


def assert_native(running: Running, result: Any) -> None:
    """The numbers are the native API's."""
    body = {"logits": ROWS.tolist(), "mask": MASK.tolist(), "temperature": 1.5}
    native = running.predict(body | {"outputs": ["probabilities", "prediction", "entropy"]}).json()
    assert result.get_response()["id"] == "7"
    for name, dtype in (("probabilities", np.float32), ("prediction", np.int64), ("entropy", np.float32)):
        values = result.as_numpy(name)
        assert values.dtype == dtype
        assert values.tobytes() == np.array(native[name], dtype).tobytes()


@FORMS
def test_tritonclient_gets_the_native_numbers(running: Running, form: dict[str, Any]) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        assert_native(running, client.infer(**request(triton, **form)))


@FORMS
def test_tritonclient_aio_gets_the_native_numbers(running: Running, form: dict[str, Any]) -> None:
    async def infer() -> Any:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
            return await client.infer(**request(triton_aio, **form))

    assert_native(running, asyncio.run(infer()))


def test_tritonclient_finds_what_it_asks_for(running: Running) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("softmax")
        assert not client.is_model_ready("nobody")
        assert client.get_server_metadata()["name"] == "calibrant"
        assert client.get_model_metadata("softmax", "1")["inputs"][0]["name"] == "logits"
        assert client.get_model_config("softmax")["max_batch_size"] > 0
        assert client.get_model_repository_index()[0]["state"] == "READY"
        assert client.get_inference_statistics("softmax")["model_stats"][0]["version"] == "1"
        assert client.get_inference_statistics()["model_stats"]
        client.load_model("softmax")


def test_tritonclient_asks_for_classes(running: Running) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        logits = triton.InferInput("logits", ROWS.shape, "FP32").set_data_from_numpy(ROWS)
        wanted = triton.InferRequestedOutput("probabilities", class_count=2)
        best = client.infer("softmax", [logits], outputs=[wanted]).as_numpy("probabilities")
    assert best.shape == (4, 2)
    assert [int(item.decode().split(":")[1]) for item in best[:, 0]] == ROWS.argmax(axis=1).tolist()


def test_tritonclient_reads_our_errors(running: Running) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        logits = triton.InferInput("logits", [1, 2], "INT32").set_data_from_numpy(np.zeros((1, 2), np.int32))
        with pytest.raises(triton.InferenceServerException, match="logits is INT32; expected FP32 or FP64") as raised:
            client.infer("softmax", [logits])
        assert raised.value.status() == "422"
        with pytest.raises(triton.InferenceServerException, match="there is no model of that name"):
            client.get_model_metadata("nobody")


KSERVE = ROOT / ".venv" / "kserve" / "bin" / "python"


@pytest.mark.skipif(not KSERVE.exists(), reason="needs `make kserve`")
def test_kserve_s_client_gets_the_native_numbers(running: Running) -> None:
    command = [str(KSERVE), str(ROOT / "tests" / "clients" / "kserve_rest.py"), running.url, "softmax"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    from_json, from_binary = map(json.loads, done.stdout.splitlines())
    native = running.predict({"logits": [[2.0, 1.0, 0.1], [0.3, -1.0, 4.0]]}).json()["probabilities"]
    assert np.array(from_json, np.float32).tolist() == np.array(native, np.float32).tolist()
    assert from_binary == from_json
