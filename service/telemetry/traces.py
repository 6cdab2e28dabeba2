"""OpenTelemetry traces: a span a request, linked to the span of its batch, sent over OTLP. Needs the extra `otel`.

W3C trace context comes in with a request and goes out with its answer. Endpoint, sampling and resource are configured
by OpenTelemetry's own variables, `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__

CONTEXT: Final = frozenset({b"traceparent", b"tracestate"})


class Tracer:
    """Makes spans; a thread of the SDK sends them."""

    def __init__(self) -> None:
        ours = Resource({"service.name": "calibrant", "service.version": __version__})
        self.provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer("calibrant", __version__)
        self.propagator = TraceContextTextMapPropagator()

    def request(self, name: str, headers: Iterable[tuple[bytes, bytes]]) -> Span:
        """A span for a request, a child of what its headers name."""
        carrier = {key.decode(): value.decode("ascii", "replace") for key, value in headers if key in CONTEXT}
        return self.tracer.start_span(name, self.propagator.extract(carrier), SpanKind.SERVER)

    def batch(self, spans: Sequence[Span], n_rows: int, took_s: float) -> None:
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
        """Send what is left."""
        self.provider.shutdown()


class Watching:
    """A batcher's observer that also makes spans; beside the one that counts."""

    def __init__(self, tracer: Tracer, counting: Any) -> None:
        self.tracer = tracer
        self.counting = counting

    def ran(self, runner: Any, tags: Sequence[Any], n_rows: int, took_s: float) -> None:
        """A batch ran."""
        self.counting.ran(runner, tags, n_rows, took_s)
        if sampled := [tag for tag in tags if tag is not None and tag.is_recording()]:
            self.tracer.batch(sampled, n_rows, took_s)


def ended(span: Span, status: int, attributes: dict[str, Any]) -> tuple[bytes, bytes]:
    """End a request's span, and return the header that names it."""
    span.set_attributes({"http.response.status_code": status} | attributes)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
    context = span.get_span_context()
    span.end()
    return b"traceparent", b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, int(context.trace_flags))
