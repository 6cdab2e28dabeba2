"""The gRPC server by itself: a port that is taken, a fault of our own, and answers that nobody waits for."""

import asyncio
import logging
import socket
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest

from service.app import create_app
from service.errors import CannotStart, UsedWrongly
from service.rpc.call import Pending
from service.rpc.messages import INFERENCE, method_types
from service.rpc.server import serve_rpc
from service.settings import Settings
from service.transports import renewal
from service.transports.budget import Budget
from service.transports.response import Response
from tests.api.bodies import until
from tests.certificates import Authority
from tests.conftest import ROOT
from tests.rpc.calls import OPTIONS, calling, request
from tests.transports.test_keys import line

ONE = request(("logits", "FP32", [[1, 2]]))


def test_a_port_that_somebody_took_meanwhile_stops_the_start() -> None:
    async def start(port: int) -> None:
        async with serve_rpc(create_app(Settings(models=ROOT / "models", watch=False, grpc=port))):
            pytest.fail("it listens")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1:{port}: take another port with --grpc"):
            asyncio.run(start(port))


def test_under_another_server_this_port_wants_keys_too() -> None:
    with pytest.raises(UsedWrongly, match=r"without API keys everybody who reaches 0.0.0.0 may ask"):
        create_app(Settings(models=ROOT / "models", watch=False, grpc=0, host="0.0.0.0", load_timeout_s=0))


def test_a_fault_of_our_own_is_an_internal_error_and_a_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with calling() as caller:
        with monkeypatch.context() as patch:
            patch.setattr("service.rpc.operations.metadata_of", lambda *_: 1 / 0)
            with pytest.raises(grpc.RpcError) as raised:
                caller.call("ModelMetadata", name="softmax")
        assert caller.call("ModelMetadata", name="softmax").name == "softmax"
    error = raised.value
    assert isinstance(error, grpc.Call)
    assert error.code() == grpc.StatusCode.INTERNAL
    assert error.details() == "the service failed to handle this request"
    trailing = dict(error.trailing_metadata())
    assert trailing["error-code"] == "internal_error"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "a call could not be handled"
    assert record.request_id == trailing["x-request-id"]  # type: ignore[attr-defined]  # of request_extra
    assert "ZeroDivisionError" in caplog.text


def test_only_the_first_answer_counts_and_none_where_nobody_waits() -> None:
    async def test() -> None:
        answered, left = Pending(Budget(0)), Pending(Budget(0))
        for status in (200, 503):
            answered.reply(Response(status, b""))
        assert (await answered.answer).status == 200
        left.answer.cancel()
        left.reply(Response(200, b""))
        assert left.answer.cancelled()
        left.end()  # before anything had begun

    asyncio.run(test())


# --- keys


def bearer(key: str) -> Any:
    """The metadata of a key."""
    return (("authorization", f"Bearer {key}"),)


def test_a_key_opens_its_own_scope(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("".join(line(scope, scope, scope) for scope in ("predict", "observe", "admin")))
    calls: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "predict": [("ModelInfer", {})],
        "observe": [("ServerMetadata", {}), ("ModelMetadata", {"name": "softmax"}), ("RepositoryIndex", {})],
        "admin": [("RepositoryModelLoad", {"model_name": "softmax"})],
    }
    with calling(api_keys_file=path) as caller:
        for key in calls:
            for scope, methods in calls.items():
                for method, fields in methods:
                    message = ONE if method == "ModelInfer" else method_types(INFERENCE, method)[0](**fields)
                    call = partial(caller.method(method), message, timeout=30, metadata=bearer(key))
                    if key == scope:
                        assert call()
                        continue
                    with pytest.raises(grpc.RpcError) as raised:
                        call()
                    error: Any = raised.value
                    assert error.code() == grpc.StatusCode.PERMISSION_DENIED
                    assert dict(error.trailing_metadata())["error-code"] == "scope"


def test_a_key_that_is_revoked_stops_within_a_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)
    path = tmp_path / "keys"
    path.write_text(line("ci", "secret"))
    messages: Queue[Any] = Queue()
    with calling(api_keys_file=path) as caller:
        assert caller.running
        answers = caller.stream()(iter(messages.get, None), metadata=bearer("secret"), timeout=30)
        messages.put(ONE)
        assert next(answers).infer_response.model_name == "softmax"
        path.write_text("")
        found = caller.running.service.gate.keys.find
        until(lambda: found(b"Bearer secret") is None)
        messages.put(ONE)
        assert next(answers).error_message.startswith("the key is missing or wrong")
        messages.put(None)
        assert list(answers) == []


# --- TLS


def test_over_tls_calls_are_answered_and_a_renewed_certificate_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)
    first, second = Authority(), Authority()

    def shown(authority: Authority) -> bool:
        """Whether a call is answered over a new connection that trusts this authority alone."""
        trust = grpc.ssl_channel_credentials(authority.ca.cert_pem.bytes())
        with grpc.secure_channel(f"127.0.0.1:{caller.port}", trust, options=OPTIONS) as channel:
            caller.channel = channel
            try:
                return bool(caller.infer(ONE).message.model_name == "softmax")
            except grpc.RpcError:
                return False

    with calling(**first.write(tmp_path)) as caller:
        plain = caller.channel
        assert shown(first)
        assert not shown(second)
        second.write(tmp_path)
        until(lambda: shown(second))
        assert not shown(first)
        caller.channel = plain
        with pytest.raises(grpc.RpcError):
            caller.infer(ONE)


def test_what_is_refused_before_it_runs_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(line("slow", "slow", "predict", "1e-7"))
    with calling(api_keys_file=path, max_queue_rows=1) as caller:
        infer = partial(caller.method("ModelInfer"), timeout=30, metadata=bearer("slow"))
        for message, code in (
            (request(("logits", "FP32", [[1, 2]] * 2)), "too_many_rows"),
            (ONE, ""),
            (ONE, "rate_exceeded"),
        ):
            try:
                infer(message)
                found = ""
            except grpc.RpcError as error:
                found = dict(error.trailing_metadata())["error-code"]
            assert found == code
