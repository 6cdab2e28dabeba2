"""GET /metrics: the counts of all workers, as Prometheus reads them."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from service import __version__
from service.readiness import State, is_ready
from service.repository import Model
from service.telemetry.counts import Histogram, Telemetry, Totals

MODEL: Final = ("model", "version")
SECONDS: Final = {
    "decode": "Seconds from the body to rows.",
    "queue": "Seconds that a request waited for its batch.",
    "run": "Seconds that the batch of a request ran.",
    "encode": "Seconds from arrays to the answer.",
}
# said as 0 before they come first: a rate needs something to start from
CODES: Final = (200, 429, 500, 503, 504)
REASONS: Final = ("deadline_passed", "internal_error", "not_ready", "queue_full", "run_failed")
WARNINGS: Final = ("looks_like_probabilities", "no_class_allowed", "unknown_group")


class Collector:
    """Turns totals and the state of the service into metric families, when asked."""

    def __init__(self, state: State, telemetry: Telemetry, max_queue_rows: int) -> None:
        self.state = state
        self.telemetry = telemetry
        self.max_queue_rows = max_queue_rows

    def collect(self) -> Iterator[Metric]:
        """Every family there is."""
        totals = self.telemetry.totals()
        yield from counters(totals)
        yield from histograms(totals)
        yield from self.gauges(totals)
        models = [model for versions in self.state.repository.models.values() for model in versions.values()]
        yield from calibration(models)
        yield from processes(totals.pids)

    def gauges(self, totals: Totals) -> Iterator[Metric]:
        """What is so now."""
        state = self.state
        for name, what, value in (
            ("queue_rows", "Rows that wait for a batch.", totals.n_waiting),
            ("queue_max_rows", "Rows that may wait, in all processes together.", self.max_queue_rows),
            ("ready", "1 where /readyz answers 200.", is_ready(state)),
            ("draining", "1 from SIGTERM on.", state.draining),
            (
                "dead_batchers",
                "Processes whose batcher has died: they answer 503 until restarted.",
                totals.n_dead_batchers,
            ),
            (
                "failed_versions",
                "Versions whose newest file does not load; /v1/models says why.",
                len(state.repository.failures),
            ),
        ):
            yield GaugeMetricFamily(f"calibrant_{name}", what, value=value)


def calibration(models: Iterable[Model]) -> Iterator[Metric]:
    """What is served, and how it was calibrated."""
    info = InfoMetricFamily("calibrant_model", "What is served, where it runs and how it was calibrated.")
    temperature = GaugeMetricFamily("calibrant_model_temperature", "The temperature inside the head.", labels=MODEL)
    measured = GaugeMetricFamily(
        "calibrant_model_measured",
        "Metrics on held-out rows when the calibrator was fitted, after calibration.",
        labels=[*MODEL, "metric"],
    )
    for model in models:
        metadata = model.head.metadata
        said = {
            "model": model.name,
            "version": model.version,
            "provider": model.head.provider,
            "calibrator": str(metadata.calibrator.get("method", "none")),
            "calibrator_version": metadata.package_version,
            "created": metadata.created or "",
            "service_version": __version__,
        }
        info.add_metric([], said)
        temperature.add_metric([model.name, model.version], model.temperature)
        for metric, value in metadata.metrics.get("after", {}).items():
            measured.add_metric([model.name, model.version, metric], value)
    return iter((info, temperature, measured))


def processes(pids: Iterable[int]) -> Iterator[Metric]:
    """Memory, processor time, files and start of each process, under the names that all exporters use."""
    families: dict[str, Metric] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            samples = [sample._replace(labels={"pid": str(pid)}) for sample in family.samples]
            family.samples = []
            families.setdefault(family.name, family).samples += samples
    return iter(families.values())


def counters(totals: Totals) -> Iterator[Metric]:
    """What only grows."""
    requests = CounterMetricFamily("calibrant_requests", "Requests answered.", labels=[*MODEL, "code"])
    rows = CounterMetricFamily("calibrant_rows", "Rows answered.", labels=MODEL)
    batches = CounterMetricFamily("calibrant_batches", "Batches run.", labels=MODEL)
    rejected = CounterMetricFamily(
        "calibrant_rejected", "Requests refused, by the code of the error.", labels=["reason"]
    )
    warned = CounterMetricFamily(
        "calibrant_warnings", "Answers that carried a warning, by its code.", labels=[*MODEL, "code"]
    )
    for key, tally in totals.tallies.items():
        for code, n in sorted((dict.fromkeys(CODES, 0) | tally.codes).items()):
            requests.add_metric([*key, str(code)], n)
        if key != ("", ""):
            rows.add_metric(key, tally.n_rows)
            batches.add_metric(key, tally.batch_rows.count)
            for warning, n in sorted((dict.fromkeys(WARNINGS, 0) | tally.warned).items()):
                warned.add_metric([*key, warning], n)
    for reason, n in sorted((dict.fromkeys(REASONS, 0) | totals.rejected).items()):
        rejected.add_metric([reason], n)
    return iter((requests, rows, batches, rejected, warned))


def histograms(totals: Totals) -> Iterator[Metric]:
    """What is spread."""
    rows = HistogramMetricFamily("calibrant_batch_rows", "Rows in a batch.", labels=MODEL)
    batch_s = HistogramMetricFamily("calibrant_batch_seconds", "Seconds that a batch ran.", labels=MODEL)
    request_s = HistogramMetricFamily(
        "calibrant_request_seconds", "Seconds that a request took: the sum of its four phases.", labels=MODEL
    )
    confidence = HistogramMetricFamily(
        "calibrant_confidence",
        "The largest probability of a row, for a sample: the first rows of the first answers of every moment.",
        labels=MODEL,
    )
    phases = {
        phase: HistogramMetricFamily(f"calibrant_{phase}_seconds", what, labels=MODEL)
        for phase, what in SECONDS.items()
    }
    for key, tally in totals.tallies.items():
        if key != ("", ""):
            rows.add_metric(key, buckets(tally.batch_rows), tally.batch_rows.sum)
            batch_s.add_metric(key, buckets(tally.batch_s), tally.batch_s.sum)
            request_s.add_metric(key, buckets(tally.request_s), tally.request_s.sum)
            confidence.add_metric(key, buckets(tally.confidence), tally.confidence.sum)
            for phase, family in phases.items():
                family.add_metric(key, buckets(tally.phases[phase]), tally.phases[phase].sum)
    return iter((rows, batch_s, request_s, confidence, *phases.values()))


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bounds and how many lie below, as Prometheus has them."""
    bounds = [f"{bound:g}" for bound in histogram.bounds.tolist()]
    return list(zip([*bounds, "+Inf"], histogram.counts.cumsum().tolist(), strict=True))


def metrics(state: State, telemetry: Telemetry, max_queue_rows: int) -> APIRouter:
    """The route; `max_queue_rows` is that of all processes together."""
    router = APIRouter(tags=["operations"])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(state, telemetry, max_queue_rows))

    @router.get(
        "/metrics",
        summary="Counts",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    )
    async def scrape(request: Request) -> Response:
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    return router
