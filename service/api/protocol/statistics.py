"""Triton's statistics extension: counts and nanoseconds per version of a model."""

from pydantic import BaseModel

from service.telemetry.counts import Totals
from service.telemetry.tally import SILENCE, Histogram


class Duration(BaseModel):
    """How often, and how long in all, nanoseconds."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(BaseModel):
    """Of requests; there is no cache."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class BatchStatistics(BaseModel):
    """Of batches of one size; reading and writing happens a request, not a batch."""

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(BaseModel):
    """Of a version of a model, over all workers, since they started."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]


def statistics(name: str, version: str, totals: Totals) -> ModelStatistics:
    """The statistics of a version; zeros where nothing was counted yet."""
    tally = totals.tallies.get((name, version)) or SILENCE
    phases = {phase: duration(histogram) for phase, histogram in tally.phases.items()}
    n_failed = sum(n for code, n in tally.codes.items() if code != 200)
    return ModelStatistics(
        name=name,
        version=version,
        last_inference=tally.last_ms,
        inference_count=tally.n_rows,
        execution_count=tally.n_batches,
        inference_stats=InferenceStatistics(
            success=Duration(count=tally.codes[200], ns=sum(phase.ns for phase in phases.values())),
            fail=Duration(count=n_failed, ns=tally.n_failed_ns),
            queue=phases["queue"],
            compute_input=phases["decode"],
            compute_infer=phases["run"],
            compute_output=phases["encode"],
        ),
        batch_stats=[
            BatchStatistics(
                batch_size=n_rows,
                compute_input=Duration(count=count),
                compute_infer=Duration(count=count, ns=int(1e9 * tally.size_s[n_rows])),
                compute_output=Duration(count=count),
            )
            for n_rows, count in sorted(tally.sizes.items())
        ],
    )


def duration(histogram: Histogram) -> Duration:
    """A phase of all requests."""
    return Duration(count=histogram.count, ns=int(1e9 * histogram.sum))
