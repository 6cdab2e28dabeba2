"""Spans on their way to the collector: those that do not get there are counted, and the log says so once."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

clock: Final = time.monotonic
STUCK_S: Final = 15.0  # beyond the 10 s that OpenTelemetry gives a collector, in which a name is not looked for
MAX_WAITING: Final = 2048  # spans, OpenTelemetry's own default


class Sender(BatchSpanProcessor):
    """OpenTelemetry's processor, with a look at what becomes of the spans."""

    def __init__(self, exporter: SpanExporter, unsent: Callable[[int], None]) -> None:
        """Send with `exporter`; `unsent(n)` is called with the number of spans that it has not sent."""
        self.max_waiting = read_max_waiting()
        self.watched = Watched(exporter, unsent)
        super().__init__(self.watched, max_queue_size=self.max_waiting)

    def on_end(self, span: ReadableSpan) -> None:
        """Let it wait to be sent; where no more may wait, the oldest goes for it."""
        if span.context is not None and span.context.trace_flags.sampled:
            self.watched.wait(self.max_waiting)
        super().on_end(span)


class Watched(SpanExporter):
    """An exporter, and the only place that knows how many spans wait for it."""

    def __init__(self, exporter: SpanExporter, unsent: Callable[[int], None]) -> None:
        self.exporter = exporter
        self.unsent = unsent
        self.lock = threading.Lock()
        self.n_waiting = 0
        self.busy_since = 0.0  # 0 where it is not
        self.failing = False

    def wait(self, most: int) -> None:
        """A span more waits, of at most so many."""
        with self.lock:
            if self.n_waiting < most:
                self.n_waiting += 1
            else:
                self.unsent(1)
            stuck_s = clock() - self.busy_since if self.busy_since else 0.0
        if stuck_s > STUCK_S:
            self.fail(f"the collector has not answered for {stuck_s:.0f} s, or its name has no answer")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, on the thread of the SDK."""
        with self.lock:
            self.n_waiting = max(0, self.n_waiting - len(spans))
            self.busy_since = clock()
        try:
            result, why = self.exporter.export(spans), "the collector has not taken them"
        except Exception as error:  # the SDK would log each with its traceback
            result, why = SpanExportResult.FAILURE, repr(error)
        with self.lock:
            self.busy_since = 0.0
            if result is not SpanExportResult.SUCCESS:
                self.unsent(len(spans))
        if result is not SpanExportResult.SUCCESS:
            self.fail(why)
        elif self.failing:
            self.failing = False
            logger.info("spans are sent again")
        return result

    def fail(self, why: str) -> None:
        """Say that spans are lost, once until some are sent again."""
        if not self.failing:
            self.failing = True
            logger.warning("spans cannot be sent, and are dropped: %s; see OTEL_EXPORTER_OTLP_ENDPOINT", why)

    def shutdown(self) -> None:
        """Send nothing more."""
        self.exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self.exporter.force_flush(timeout_millis)


def read_max_waiting() -> int:
    """How many spans may wait, by OpenTelemetry's own variable; its default where that is no number above 0."""
    given = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return int(given) if given.isascii() and given.isdecimal() and int(given) else MAX_WAITING
