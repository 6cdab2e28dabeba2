"""OpenTelemetry traces: a span a request, linked to the span of its batch, sent over OTLP. Needs the extra `otel`.

W3C trace context comes in with a request and goes out with its answer. Endpoint, sampling and resource are configured
by OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.errors import AnsweredError
from service.telemetry.observer import Headers, Nobody, Response
from service.telemetry.request import Request
from service.telemetry.sender import Sender

logger = logging.getLogger(__name__)

CONTEXT: Final = frozenset({b"traceparent", b"tracestate"})
CLOSE_S: Final = 5.0
CLIENT_GONE: Final = 499  # the status that a span gets whose client left before the answer


class Tracer:
    """Makes spans; a thread of the SDK sends them."""

    def __init__(self, unsent: Callable[[int], None] = lambda _: None) -> None:
        """`unsent(n)` is called, from any thread, one at a time, with the number of spans that were not sent."""
        ours = Resource({"service.name": "calibrant", "service.version": __version__})
        self.provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self.provider.add_span_processor(Sender(OTLPSpanExporter(), unsent))
        self.tracer = self.provider.get_tracer("calibrant", __version__)
        self.propagator = TraceContextTextMapPropagator()

    def start_request(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """A span for a request, a child of what its headers name."""
        carrier = {key.decode(): value.decode("ascii", "replace") for key, value in headers if key in CONTEXT}
        return self.tracer.start_span(name, self.propagator.extract(carrier), SpanKind.SERVER)

    def trace_batch(self, spans: Sequence[Span], n_rows: int, took_s: float) -> None:
        """A span for a batch that ended just now, linked with its requests' both ways."""
        ended = time.time_ns()
        links = [Link(span.get_span_context()) for span in spans]
        attributes = {"calibrant.rows": n_rows, "calibrant.requests": len(spans)}
        batch = self.tracer.start_span(
            "batch", links=links, attributes=attributes, start_time=ended - int(1e9 * took_s)
        )
        for span in spans:
            span.add_link(batch.get_span_context())
        batch.end(ended)

    def close(self) -> None:
        """Send what is left, unless that takes too long: the collector may be away, and its name without an answer."""
        thread = threading.Thread(target=self.provider.shutdown, name="calibrant-traces-end", daemon=True)
        thread.start()
        thread.join(CLOSE_S)
        if thread.is_alive():
            logger.warning("the last traces could not be sent within %g s, they are dropped", CLOSE_S)


class Traces(Nobody):
    """The observer that makes spans; the mark of a request is its span."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def began(self, request: Request, headers: Headers) -> None:
        """Start the span of a request."""
        request.mark = self.tracer.start_request(request.verb, headers)

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:  # noqa: ARG002 - counts use it
        """Make the span of a batch, if one of its requests is sampled."""
        if sampled := [span for span in marks if span is not None and span.is_recording()]:
            self.tracer.trace_batch(sampled, n_rows, took_s)

    def answered(self, request: Request, arrays: Any, response: Response) -> None:  # noqa: ARG002 - as above
        """End the span, and name it in the answer."""
        response.headers = (*response.headers, end_span(request, response.status))

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:  # noqa: ARG002 - as above
        """End the span, and name it in the answer; what came no further than its headers has none."""
        if request is not None:
            response.headers = (*response.headers, end_span(request, response.status))

    def gone(self, request: Request) -> None:
        end_span(request, CLIENT_GONE)


def end_span(request: Request, status: int) -> tuple[bytes, bytes]:
    """End a request's span, and return the header that names it."""
    span: Span = request.mark
    attributes: dict[str, Any] = {"http.response.status_code": status}
    attributes["calibrant.request_id"] = request.request_id.decode()
    if request.model is not None:
        attributes |= {"calibrant.model": request.model.name, "calibrant.version": request.model.version}
    if request.query is not None:
        attributes["calibrant.rows"] = request.query.rows.n
    span.set_attributes(attributes)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    context = span.get_span_context()
    span.end()
    return b"traceparent", b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, int(context.trace_flags))
