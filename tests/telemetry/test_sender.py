"""Spans that do not get to the collector: counted, and told of once."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.telemetry import sender
from service.telemetry.sender import MAX_WAITING, Sender, Watched, read_max_waiting

SENT, FAILED = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
SPANS: Any = [None] * 3


class Exporter(SpanExporter):
    """Ends as the test says."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    def export(self, spans: Sequence[Any]) -> Any:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


def test_what_is_not_sent_is_counted_and_told_of_once_until_something_is_sent(caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    unsent: list[int] = []
    watched = Watched(Exporter(FAILED, OSError("away"), SENT, SENT, OSError("away")), unsent.append)
    assert [watched.export(SPANS) for _ in range(5)] == [FAILED, FAILED, SENT, SENT, FAILED]
    assert unsent == [3, 3, 3]
    assert [record.getMessage() for record in caplog.records] == [
        "spans cannot be sent, and are dropped: the collector has not taken them; see OTEL_EXPORTER_OTLP_ENDPOINT",
        "spans are sent again",
        "spans cannot be sent, and are dropped: OSError('away'); see OTEL_EXPORTER_OTLP_ENDPOINT",
    ]


def test_an_exporter_that_stands_still_is_told_of_and_what_finds_no_room_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go, now = threading.Event(), threading.Event(), [100.0]

    class Standing(Exporter):
        def export(self, spans: Sequence[Any]) -> Any:
            begun.set()
            assert go.wait(10)
            return SENT

    monkeypatch.setattr(sender, "clock", lambda: now[0])
    unsent: list[int] = []
    watched = Watched(Standing(), unsent.append)
    for _ in SPANS:
        watched.wait(4)
    thread = threading.Thread(target=watched.export, args=(SPANS,))
    thread.start()
    assert begun.wait(10)
    for _ in range(6):
        watched.wait(4)
    assert (watched.n_waiting, unsent, caplog.records) == (4, [1, 1], [])
    now[0] += sender.STUCK_S + 1
    watched.wait(4)
    watched.wait(4)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "the collector has not answered for 16 s, or its name has no answer" in line
    go.set()
    thread.join()
    assert (watched.busy_since, unsent) == (0.0, [1] * 4)


@pytest.mark.parametrize(("given", "expected"), [("7", 7), ("0", MAX_WAITING), ("x", MAX_WAITING), ("", MAX_WAITING)])
def test_as_many_spans_may_wait_as_the_variable_of_opentelemetry_says(
    given: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", given)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    assert read_max_waiting() == expected
    processor = Sender(Exporter(), print)
    assert processor.max_waiting == expected
    processor.shutdown()  # type: ignore[no-untyped-call]
