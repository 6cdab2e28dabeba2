"""What clients ask beside ModelInfer: each answer is that of the same question over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from service.rpc.messages import HEALTH, INFERENCE
from tests.conftest import ROOT
from tests.heads_made import head, put
from tests.rpc.calls import Caller, calling, request


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    """The shipped models."""
    with calling() as found:
        yield found


def over_http(caller: Caller, path: str) -> Any:
    """The JSON of a GET."""
    assert caller.running
    return caller.running.client.get(path).json()


def plain(message: Any) -> Any:
    """A message as the JSON that it was made of; integers of 64 bits are strings in protobuf's."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def numbers(value: Any) -> Any:
    """All integers as strings."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else value


def test_the_server_is_live_and_ready_and_says_who_it_is(caller: Caller) -> None:
    assert caller.call("ServerLive").live
    assert caller.call("ServerReady").ready
    assert plain(caller.call("ServerMetadata")) == over_http(caller, "/v2")


@pytest.mark.parametrize("version", ["", "1"])
def test_metadata_is_that_over_http(caller: Caller, version: str) -> None:
    said = plain(caller.call("ModelMetadata", name="digits", version=version))
    assert numbers(said) == numbers(over_http(caller, "/v2/models/digits"))


@pytest.mark.parametrize("name", ["digits", "softmax"])
def test_the_configuration_is_that_over_http(caller: Caller, name: str) -> None:
    said = numbers(plain(caller.call("ModelConfig", name=name))["config"])
    expected = numbers(over_http(caller, f"/v2/models/{name}/config"))
    assert said.keys() == expected.keys()
    assert [tensor["dims"] for tensor in said["output"]] == [tensor["dims"] for tensor in expected["output"]]
    assert all(said[key] == expected[key] for key in expected if key not in ("output", "dynamic_batching"))


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("softmax", "", True), ("softmax", "1", True), ("softmax", "7", False), ("x", "", False)],
)
def test_a_model_is_ready_or_not(caller: Caller, name: str, version: str, ready: bool) -> None:
    assert caller.call("ModelReady", name=name, version=version).ready is ready


def test_statistics_are_those_over_http(caller: Caller) -> None:
    assert caller.infer(request(("logits", "FP32", [[1, 2], [3, 4]])))
    one = numbers(plain(caller.call("ModelStatistics", name="softmax")))
    assert one == numbers(over_http(caller, "/v2/models/softmax/stats"))
    assert one["model_stats"][0]["inference_count"] == "2"
    every = plain(caller.call("ModelStatistics"))["model_stats"]
    assert [line["name"] for line in every] == ["digits", "softmax"]


@pytest.mark.parametrize("service", ["", INFERENCE])
def test_grpc_s_own_health_check_serves(caller: Caller, service: str) -> None:
    answer = caller.call("Check", HEALTH, service=service)
    assert plain(answer) == {"status": "SERVING"}


def test_the_health_of_what_is_not_there_is_not_found(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        caller.call("Check", HEALTH, service="other")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_models_are_unloaded_and_loaded_on_demand(tmp_path: Path) -> None:
    put(tmp_path, "softmax", 1, ROOT / "models/softmax/1/model.onnx")
    message = request(("logits", "FP32", [[1, 2]]))
    with calling(models=tmp_path) as caller:
        caller.call("RepositoryModelUnload", model_name="softmax")
        with pytest.raises(grpc.RpcError, match="the default model softmax is not there"):
            caller.infer(message)
        assert [line.state for line in caller.call("RepositoryIndex").models] == ["UNAVAILABLE"]
        assert not caller.call("RepositoryIndex", ready=True).models
        put(tmp_path, "softmax", 2, head(tmp_path / "warm.onnx", 2.0))
        caller.call("RepositoryModelLoad", model_name="softmax")
        assert caller.infer(message).message.model_version == "2"
        assert [(line.version, line.state) for line in caller.call("RepositoryIndex", ready=True).models] == [
            ("1", "READY"),
            ("2", "READY"),
        ]
        with pytest.raises(grpc.RpcError, match="there are no files of a model of that name"):
            caller.call("RepositoryModelLoad", model_name="nobody")
        (tmp_path / "bad" / "1").mkdir(parents=True)
        (tmp_path / "bad" / "1" / "model.onnx").write_bytes(b"nothing")
        with pytest.raises(grpc.RpcError, match=r"it does not load: bad/1/model\.onnx is not an ONNX model"):
            caller.call("RepositoryModelLoad", model_name="bad")
