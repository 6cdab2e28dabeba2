"""The gRPC server by itself: a port that is taken, a fault of our own, and answers that nobody waits for."""

import asyncio
import logging
import socket

import grpc
import pytest

from service.app import create_app
from service.errors import CannotStart
from service.rpc.server import Pending, serve_rpc
from service.settings import Settings
from service.transports.response import Response
from tests.conftest import ROOT
from tests.rpc.calls import calling


def test_a_port_that_somebody_took_meanwhile_stops_the_start() -> None:
    async def start(port: int) -> None:
        async with serve_rpc(create_app(Settings(models=ROOT / "models", watch=False, grpc=port))):
            pytest.fail("it listens")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1:{port}: take another port with --grpc"):
            asyncio.run(start(port))


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
        answered, left = Pending(), Pending()
        for status in (200, 503):
            answered.reply(Response(status, b""))
        assert (await answered.answer).status == 200
        left.answer.cancel()
        left.reply(Response(200, b""))
        assert left.answer.cancelled()
        left.abandon()  # before anything had begun

    asyncio.run(test())
