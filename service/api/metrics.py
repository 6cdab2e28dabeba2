"""GET /metrics: the counts of all workers, as Prometheus reads them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

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
from service.api.live_metrics import live_metrics
from service.model import Model
from service.readiness import State, is_ready
from service.telemetry.counts import NO_MODEL, Telemetry, Totals
from service.telemetry.tally import SILENCE, TABLE, ByLabel, Count, Distribution, Histogram, Latest, Tally

MODEL: Final = ("model", "version")


class Collector:
    """Turns totals and the state of the service into metric families, when asked."""

    def __init__(self, state: State, telemetry: Telemetry, max_queue_rows: int, journal: Path | None = None) -> None:
        self.state = state
        self.journal = journal
        self.began_s = time.time()
        self.telemetry = telemetry
        self.max_queue_rows = max_queue_rows

    def collect(self) -> Iterator[Metric]:
        """Every family there is."""
        totals = self.telemetry.totals()
        yield from counts(totals)
        yield from self.gauges(totals)
        models = [model for versions in self.state.repository.models.values() for model in versions.values()]
        yield from calibration(models)
        yield from processes(totals.pids)
        if self.journal is not None:
            from service.journal.state import read_state

            yield from live_metrics(read_state(self.journal) or {}, self.began_s)

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
                "stopped_heads",
                "Heads that were taken out of service, as a run did not end; /readyz says which.",
                len(totals.stopped),
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
        labels = {
            "model": model.name,
            "version": model.version,
            "provider": model.head.provider,
            "calibrator": model.signature.method,
            "calibrator_version": metadata.package_version,
            "created": metadata.created or "",
            "service_version": __version__,
        }
        info.add_metric([], labels)
        temperature.add_metric([model.name, model.version], model.signature.temperature)
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


def counts(totals: Totals) -> Iterator[Metric]:
    """Everything that is declared for Prometheus, in the order of the table."""
    for name, count in TABLE.items():
        if count.metric:
            yield family(count, [(labels, getattr(tally, name)) for labels, tally in tallies(count, totals)])


def tallies(count: Count, totals: Totals) -> Iterator[tuple[Sequence[str], Tally]]:
    """The tallies that a count has series of, each behind its labels."""
    if count.scope == "service":
        yield (), totals.tallies.get(NO_MODEL, SILENCE)
        return
    for key, tally in totals.tallies.items():
        if key != NO_MODEL or count.scope == "request":
            yield key, tally


def family(count: Count, series: Iterable[tuple[Sequence[str], Any]]) -> Metric:
    """The family of a count, of its values behind their labels."""
    name, labels = f"calibrant_{count.metric}", () if count.scope == "service" else MODEL
    if isinstance(count, Distribution):
        histogram = HistogramMetricFamily(name, count.help, labels=labels)
        for key, value in series:
            histogram.add_metric(key, buckets(value), value.sum)
        return histogram
    if isinstance(count, ByLabel):
        by_label = CounterMetricFamily(name, count.help, labels=[*labels, count.label])
        for key, value in series:
            for label, n in sorted((dict.fromkeys(count.zeros, 0) | value).items()):
                by_label.add_metric([*key, str(label)], n)
        return by_label
    number = (GaugeMetricFamily if isinstance(count, Latest) else CounterMetricFamily)(name, count.help, labels=labels)
    for key, value in series:
        number.add_metric(key, value)
    return number


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Upper bounds and how many lie below, as Prometheus has them."""
    bounds = [f"{bound:g}" for bound in histogram.bounds.tolist()]
    return list(zip([*bounds, "+Inf"], histogram.counts.cumsum().tolist(), strict=True))


def metrics(state: State, telemetry: Telemetry, max_queue_rows: int, journal: Path | None = None) -> APIRouter:
    """The route; `max_queue_rows` is that of all processes together, `journal` the folder of one."""
    router = APIRouter(tags=["operations"])
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(state, telemetry, max_queue_rows, journal))

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
