"""Triton's gRPC client, sync, asyncio and streaming, against a service: `python triton_grpc.py ADDRESS`.

Runs in an environment with tritonclient[grpc], whose protobuf is older than the service's. Prints a JSON
object a line: how it asked, and the outputs as hexadecimal bytes.
"""

import asyncio
import json
import queue
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

ROWS = np.random.default_rng(7).standard_normal((4, 9)).astype(np.float32)
MASK = np.random.default_rng(8).random((4, 9)) < 0.8
OUTPUTS = ("probabilities", "prediction", "entropy")
COMPILED = Path(__file__).parents[2] / "service" / "rpc" / "messages.desc"


def request() -> dict[str, Any]:
    """The arguments of an infer, which all ways of asking share."""
    logits = triton.InferInput("logits", ROWS.shape, "FP32").set_data_from_numpy(ROWS)
    mask = triton.InferInput("mask", MASK.shape, "BOOL").set_data_from_numpy(MASK)
    return {
        "model_name": "softmax",
        "inputs": [logits, mask],
        "outputs": [triton.InferRequestedOutput(name) for name in OUTPUTS],
        "request_id": "7",
        "priority": 1,
        "timeout": 5_000_000,
        "parameters": {"temperature": "1.5"},
    }


def say(how: str, result: Any, names: tuple[str, ...] = OUTPUTS) -> None:
    """A line."""
    assert result.get_response().id == "7"
    sys.stdout.write(json.dumps({"how": how} | {name: result.as_numpy(name).tobytes().hex() for name in names}) + "\n")


def sync(client: triton.InferenceServerClient) -> None:
    """One after the other, by callback, and over a stream."""
    for coding in (None, "gzip", "deflate"):
        say(f"sync {coding}", client.infer(**request(), compression_algorithm=coding))
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer(**request(), callback=lambda result, error: answers.put((result, error)))
    say("callback", answers.get(timeout=30)[0])
    for coding in (None, "gzip", "deflate"):
        client.start_stream(lambda result, error: answers.put((result, error)), compression_algorithm=coding)
        client.async_stream_infer(**request())
        client.async_stream_infer(**(request() | {"model_name": "nobody"}))
        client.async_stream_infer(**request())
        said = [answers.get(timeout=30) for _ in range(3)]
        client.stop_stream()
        assert [error is None for _, error in said] == [True, False, True]
        assert said[1][1].message().startswith("there is no model of that name")
        say(f"stream {coding}", said[0][0])
        say(f"stream {coding}, after a mistake", said[2][0])


def operations(client: triton.InferenceServerClient) -> None:
    """All that it can ask beside."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("softmax")
    assert client.is_model_ready("softmax", "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "calibrant"
    assert client.get_model_metadata("softmax", "1").inputs[0].name == "logits"
    assert client.get_model_metadata("softmax", as_json=True)["inputs"][0]["datatype"] == "FP32"
    assert client.get_model_config("softmax").config.max_batch_size > 0
    assert client.get_model_repository_index().models[0].state == "READY"
    assert client.get_inference_statistics("softmax").model_stats[0].version == "1"
    assert client.get_inference_statistics().model_stats
    client.load_model("softmax")
    wanted = triton.InferRequestedOutput("probabilities", class_count=2)
    best = client.infer(**(request() | {"outputs": [wanted], "parameters": {}})).as_numpy("probabilities")
    assert best.shape == (4, 2)
    assert [int(item.decode().split(":")[1]) for item in best[:, 0]] == np.where(MASK, ROWS, -9).argmax(axis=1).tolist()
    logits = triton.InferInput("logits", [1, 2], "INT32").set_data_from_numpy(np.zeros((1, 2), np.int32))
    refused = None
    try:
        client.infer("softmax", [logits])
    except InferenceServerException as error:
        refused = error.status(), error.message()
    assert refused == ("StatusCode.INVALID_ARGUMENT", "logits is INT32; expected FP32 or FP64 or FP16 or BF16")


async def aio(address: str) -> None:
    """With asyncio, one after the other and over a stream."""
    async with triton_aio.InferenceServerClient(address) as client:
        for coding in (None, "gzip", "deflate"):
            say(f"aio {coding}", await client.infer(**request(), compression_algorithm=coding))

        async def asked() -> AsyncIterator[dict[str, Any]]:
            for _ in range(2):
                yield request()

        async for result, error in client.stream_infer(asked()):
            assert error is None
            say("aio stream", result)


def numbers() -> None:
    """Our messages have Triton's names, numbers and types."""
    theirs: dict[str, Any] = {}
    for module in (service_pb2, model_config_pb2):
        for file in FileDescriptorSet(file=[{"name": "x"}]).file:
            module.DESCRIPTOR.CopyToProto(file)
            theirs |= listed(file)
    ours, _ = FileDescriptorSet.FromString(COMPILED.read_bytes()).file
    mine = listed(ours)
    assert len(mine) > 150
    assert {name: theirs.get(name) for name in mine} == mine


def listed(file: Any) -> dict[str, Any]:
    """Every field, enumerator and method of a file by its name."""
    found: dict[str, Any] = {}

    def enumerated(enum: Any, at: str) -> None:
        found.update({f"{at}{enum.name}.{value.name}": value.number for value in enum.value})

    def walk(message: Any, at: str) -> None:
        place = f"{at}{message.name}."
        found.update({place + f.name: (f.number, f.type, f.label, f.type_name) for f in message.field})
        for enum in message.enum_type:
            enumerated(enum, place)
        for nested in message.nested_type:
            walk(nested, place)

    for message in file.message_type:
        walk(message, "")
    for enum in file.enum_type:
        enumerated(enum, "")
    for service in file.service:
        found.update({m.name: (m.input_type, m.output_type, m.client_streaming) for m in service.method})
    return found


numbers()
with triton.InferenceServerClient(sys.argv[1]) as one:
    operations(one)
    sync(one)
asyncio.run(aio(sys.argv[1]))
