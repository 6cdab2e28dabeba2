"""What a client may ask of a connection and of a call."""

import argparse
import re

import pytest

from service.commands.serve import run
from service.rpc.messages import INFERENCE, method_types
from tests.rpc.calls import Caller, calling
from tests.rpc.test_life import ONE, Code, failing


def test_metadata_that_are_too_large_are_refused() -> None:
    with calling(max_header_bytes=1024) as caller:
        error = failing(lambda: caller.infer(ONE, metadata=(("x-long", "x" * 5000),)))
        assert error.code() == Code.RESOURCE_EXHAUSTED
        assert caller.infer(ONE).message.model_name == "softmax"


def test_more_metadata_than_there_may_be_are_refused() -> None:
    with calling(max_headers=10) as caller:
        for method, message in (("ModelInfer", ONE), ("ServerLive", method_types(INFERENCE, "ServerLive")[0]())):
            call = caller.method(method)
            error = failing(lambda call=call, m=message: call(m, metadata=[("x-many", "1")] * 20, timeout=30))
            assert error.code() == Code.RESOURCE_EXHAUSTED
            assert re.fullmatch(r"the request has 2\d headers; expected at most 10 \(--max-headers\)", error.details())
            assert dict(error.trailing_metadata())["error-code"] == "headers_too_large"
            assert call(message, metadata=[("x-few", "1")] * 5, timeout=30)


def test_descriptors_are_counted_for_connections_over_grpc_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted(Exception):
        """The limit would be raised now."""

    def count(*given: int, **more: int) -> None:
        raise Counted(*given, more)

    monkeypatch.setattr("service.commands.serve.raise_limit", count)
    for grpc_port, n_transports in ((None, 1), (0, 2)):
        with pytest.raises(Counted) as raised:
            run(argparse.Namespace(max_connections=40, grpc=grpc_port))
        assert raised.value.args == (40, 1, {"n_transports": n_transports})


def test_there_are_no_more_connections_than_there_may_be() -> None:
    with calling(max_connections=1) as caller:
        assert caller.infer(ONE).message.model_name == "softmax"
        other = Caller(None, caller.port)
        with other.channel:
            assert failing(lambda: other.infer(ONE, timeout=2)).code() == Code.UNAVAILABLE
        assert caller.infer(ONE).message.model_name == "softmax"
