"""Traces: what a collector receives for a few requests."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.api.bodies import held, until
from tests.conftest import TRANSPORTS, serving
from tests.rpc.calls import calling, request

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(HTTPServer):
    """A stand-in for an OTLP collector."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        super().__init__(("127.0.0.1", 0), Receiver)


class Receiver(BaseHTTPRequestHandler):
    """Takes spans."""

    server: Collector

    def do_POST(self) -> None:
        """Keep them."""
        assert self.path == "/v1/traces"
        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for some in sent.resource_spans:
            self.server.resources.append({a.key: a.value.string_value for a in some.resource.attributes})
            for scope in some.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """One that listens, and that the environment names."""
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    """A span's."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_requests_have_spans_that_are_linked_with_their_batch(collector: Collector, transport: str) -> None:
    with serving(traces=True, fast_http=TRANSPORTS[transport]) as running:
        first = running.predict({"logits": [1, 2]}, headers={"traceparent": PARENT})
        refused = running.predict({"logits": []})
        assert (first.status_code, refused.status_code) == (200, 422)
    spans = {span.name + str(attributes(span).get("http.response.status_code", "")): span for span in collector.spans}
    assert spans.keys() == {"predict200", "predict422", "batch"}
    request, batch = spans["predict200"], spans["batch"]
    assert request.trace_id.hex() == PARENT.split("-")[1]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert first.headers["traceparent"] == f"00-{request.trace_id.hex()}-{request.span_id.hex()}-01"
    assert [link.span_id for link in request.links] == [batch.span_id]
    assert [link.span_id for link in batch.links] == [request.span_id]
    said = attributes(request)
    assert said["calibrant.request_id"] == first.headers["x-request-id"]
    assert (said["calibrant.model"], said["calibrant.version"], said["calibrant.rows"]) == ("softmax", "1", 1)
    assert attributes(batch) == {"calibrant.rows": 1, "calibrant.requests": 1}
    assert request.start_time_unix_nano <= batch.start_time_unix_nano < batch.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "calibrant"


def by_status(collector: Collector) -> dict[int, Any]:
    """The spans of requests, by the status that they name."""
    return {attributes(span)["http.response.status_code"]: span for span in collector.spans if span.name != "batch"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_the_gate_refuses_has_no_span(collector: Collector, transport: str) -> None:
    with serving(traces=True, fast_http=TRANSPORTS[transport], max_body_bytes=10) as running:
        answer = running.predict({"logits": [1, 2, 3]})
        assert answer.status_code == 413
        assert "traceparent" not in answer.headers
    assert collector.spans == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_span_of_a_client_that_left_ends_with_the_status_499(collector: Collector, transport: str) -> None:
    with serving(traces=True, fast_http=TRANSPORTS[transport]) as running, held(running) as hold:
        with socket.create_connection(("127.0.0.1", running.port)) as leaving:
            leaving.sendall(b'POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 14\r\n\r\n{"logits":[1]}')
            hold.wait()
        batcher = running.service.batcher
        assert batcher is not None
        until(lambda: all(entry.done is None for queue in batcher.queues.values() for entry in queue.unanswered()))
        hold.go.set()
    spans = by_status(collector)
    assert spans.keys() == {499}
    assert attributes(spans[499])["calibrant.model"] == "softmax"


def test_a_span_says_no_more_than_is_known_and_a_fault_of_the_service_is_an_error(collector: Collector) -> None:
    with serving(traces=True) as running:
        assert running.predict({"logits": [1, 2]}, model="nobody").status_code == 404
        assert running.predict({"logits": [1, "x"]}).status_code == 422
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("service.codec.predict.encode.encode_plain", lambda *_: 1 / 0)
            assert running.predict({"logits": [1, 2]}).status_code == 500
    spans = by_status(collector)
    assert spans.keys() == {404, 422, 500}
    named = {
        status: {key for key in attributes(span) if key.startswith("calibrant.")} for status, span in spans.items()
    }
    assert named == {
        404: {"calibrant.request_id"},
        422: {"calibrant.request_id", "calibrant.model", "calibrant.version"},
        500: {"calibrant.request_id", "calibrant.model", "calibrant.version", "calibrant.rows"},
    }
    assert {status: span.status.code for status, span in spans.items()} == {404: 0, 422: 0, 500: 2}  # 2 is ERROR


def test_a_request_over_grpc_has_a_span_of_the_same_kind(collector: Collector) -> None:
    with calling(traces=True) as caller:
        answer = caller.infer(request(("logits", "FP32", [[1, 2]])), metadata=(("traceparent", PARENT),))
    spans = {span.name: span for span in collector.spans}
    assert spans.keys() == {"infer", "batch"}
    span = spans["infer"]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == tuple(PARENT.split("-")[1:3])
    assert answer.trailing["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    assert [link.span_id for link in spans["batch"].links] == [span.span_id]
    assert attributes(span)["calibrant.request_id"] == answer.trailing["x-request-id"]


def test_requests_of_one_batch_are_linked_with_one_span(collector: Collector) -> None:
    with serving(traces=True) as running, held(running) as hold:
        threads = [threading.Thread(target=running.predict, args=({"logits": [i, 1]},)) for i in range(4)]
        threads[0].start()
        hold.wait()
        for thread in threads[1:]:
            thread.start()
        batcher = running.service.batcher
        while batcher is None or batcher.n_waiting < 3:
            pass
        hold.go.set()
        for thread in threads:
            thread.join()
    batches = [span for span in collector.spans if span.name == "batch"]
    assert sorted(len(span.links) for span in batches) == [1, 3]


def test_an_unsampled_parent_stays_unsampled(collector: Collector) -> None:
    with serving(traces=True) as running:
        answer = running.predict({"logits": [1]}, headers={"traceparent": PARENT[:-2] + "00"})
    assert answer.headers["traceparent"].split("-")[1] == PARENT.split("-")[1]
    assert answer.headers["traceparent"].endswith("-00")
    assert [span.name for span in collector.spans] == []


def test_without_traces_nothing_of_opentelemetry_s_sdk_is_loaded() -> None:
    code = "import sys, service.app; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
