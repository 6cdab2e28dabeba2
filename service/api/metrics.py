"""GET /metrics: the counts of all workers, as Prometheus reads them."""

from collections.abc import Iterator
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder

from service import __version__
from service.repository import Repository
from service.telemetry import Histogram, Telemetry, Totals

MODEL: Final = ("model", "version")
SECONDS: Final = {
    "decode": "Seconds from the body to rows.",
    "queue": "Seconds that a request waited for its batch.",
    "run": "Seconds that the batch of a request ran.",
    "encode": "Seconds from arrays to the answer.",
}


class Collector:
    """Turns totals into metric families, when asked."""

    def __init__(self, repository: Repository, telemetry: Telemetry) -> None:
        self.repository = repository
        self.telemetry = telemetry

    def collect(self) -> Iterator[Metric]:
        """Every family there is."""
        totals = self.telemetry.totals()
        yield from counters(totals)
        yield from histograms(totals)
        yield GaugeMetricFamily("calibrant_queue_rows", "Rows that wait for a batch.", value=totals.n_waiting)
        yield self.info()

    def info(self) -> Metric:
        """What is served, by what."""
        info = InfoMetricFamily("calibrant_model", "What is served, where it runs and how it was calibrated.")
        for versions in self.repository.models.values():
            for model in versions.values():
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
        return info


def counters(totals: Totals) -> Iterator[Metric]:
    """What only grows."""
    requests = CounterMetricFamily("calibrant_requests", "Requests answered.", labels=[*MODEL, "code"])
    rows = CounterMetricFamily("calibrant_rows", "Rows answered.", labels=MODEL)
    batches = CounterMetricFamily("calibrant_batches", "Batches run.", labels=MODEL)
    rejected = CounterMetricFamily(
        "calibrant_rejected", "Requests refused, by the code of the error.", labels=["reason"]
    )
    for key, tally in totals.tallies.items():
        for code, n in sorted(tally.codes.items()):
            requests.add_metric([*key, str(code)], n)
        if key != ("", ""):
            rows.add_metric(key, tally.n_rows)
            batches.add_metric(key, tally.batch_rows.count)
    for reason, n in sorted(totals.rejected.items()):
        rejected.add_metric([reason], n)
    return iter((requests, rows, batches, rejected))


def histograms(totals: Totals) -> Iterator[Metric]:
    """What is spread."""
    rows = HistogramMetricFamily("calibrant_batch_rows", "Rows in a batch.", labels=MODEL)
    batch_s = HistogramMetricFamily("calibrant_batch_seconds", "Seconds that a batch ran.", labels=MODEL)
    phases = {
        phase: HistogramMetricFamily(f"calibrant_{phase}_seconds", what, labels=MODEL)
        for phase, what in SECONDS.items()
    }
    for key, tally in totals.tallies.items():
        if key != ("", ""):
            rows.add_metric(key, buckets(tally.batch_rows), tally.batch_rows.sum)
            batch_s.add_metric(key, buckets(tally.batch_s), tally.batch_s.sum)
            for phase, family in phases.items():
                family.add_metric(key, buckets(tally.phases[phase]), tally.phases[phase].sum)
    return iter((rows, batch_s, *phases.values()))


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bounds and how many lie below, as Prometheus has them."""
    bounds = [f"{bound:g}" for bound in histogram.bounds.tolist()]
    return list(zip([*bounds, "+Inf"], histogram.counts.cumsum().tolist(), strict=True))


def metrics(repository: Repository, telemetry: Telemetry) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["operations"])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(repository, telemetry))

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
