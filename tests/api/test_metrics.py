"""What operators read beside the counts: readiness, warnings, confidence, calibration, and the processes."""

import os
from collections.abc import Callable

import httpx
import numpy as np
import pytest
from prometheus_client.core import Metric

from service.api.metrics import counts
from service.telemetry.counts import NO_MODEL, Totals
from service.telemetry.samples import SAMPLED
from service.telemetry.tally import TABLE, ByLabel, Count, Distribution, Latest, Sum, Tally, do_nothing
from tests.conftest import Running
from tests.telemetry.test_counts import scraped, workers

SOFTMAX = ("softmax", "1")
OF_VERSION = ("model", "version")
FAMILIES = [
    ("calibrant_requests", "counter", (*OF_VERSION, "code")),
    ("calibrant_rows", "counter", OF_VERSION),
    ("calibrant_batches", "counter", OF_VERSION),
    ("calibrant_rejected", "counter", ("reason",)),
    ("calibrant_warnings", "counter", (*OF_VERSION, "code")),
    ("calibrant_batch_rows", "histogram", OF_VERSION),
    ("calibrant_batch_seconds", "histogram", OF_VERSION),
    ("calibrant_request_seconds", "histogram", OF_VERSION),
    ("calibrant_confidence", "histogram", OF_VERSION),
    ("calibrant_decode_seconds", "histogram", OF_VERSION),
    ("calibrant_queue_seconds", "histogram", OF_VERSION),
    ("calibrant_run_seconds", "histogram", OF_VERSION),
    ("calibrant_encode_seconds", "histogram", OF_VERSION),
    ("calibrant_journal_rows", "counter", ()),
    ("calibrant_journal_dropped_rows", "counter", ()),
    ("calibrant_unsent_spans", "counter", ()),
]


def labels(family: Metric) -> tuple[str, ...]:
    """The labels of a family's samples, but for the bound of a bucket."""
    (found,) = {tuple(name for name in sample.labels if name != "le") for sample in family.samples}
    return found


def test_families_labels_and_their_order_are_what_dashboards_know() -> None:
    totals = Totals({NO_MODEL: Tally(do_nothing), SOFTMAX: Tally(do_nothing)})
    assert [(family.name, family.type, labels(family)) for family in counts(totals)] == FAMILIES


@pytest.mark.parametrize(
    ("count", "value", "samples"),
    [
        (Sum("Tests.", "tests"), 3, {"calibrant_tests_total": 6}),
        (Latest("Tests.", "tests"), 3, {"calibrant_tests": 3}),
        (ByLabel("Tests.", "tests", label="code", zeros=(7,)), [[8, 3]], {"calibrant_tests_total": 6}),
        (
            Distribution("Tests.", "tests", bounds=(1.0,)),
            {"counts": [2, 1], "sum": 4.5},
            {"calibrant_tests_bucket": 6, "calibrant_tests_count": 6, "calibrant_tests_sum": 9},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Count) else "",
)
def test_a_count_needs_but_its_line(
    monkeypatch: pytest.MonkeyPatch, count: Count, value: object, samples: dict[str, float]
) -> None:
    monkeypatch.setitem(TABLE, "tests", count)
    tally = Tally(do_nothing)
    for _ in range(2):
        tally.merge(Tally(do_nothing).state() | {"tests": value})
    family = list(counts(Totals({SOFTMAX: tally})))[-1]
    assert (family.documentation, {sample.name: sample.value for sample in family.samples}) == ("Tests.", samples)


def test_what_alerts_start_from_is_there_before_anything_has_happened(run: Callable[..., Running]) -> None:
    found = scraped(run().client)
    assert found["calibrant_ready", ()] == 1
    assert found["calibrant_queue_max_rows", ()] == 8192
    for name in ("draining", "dead_batchers", "failed_versions", "queue_rows"):
        assert found[f"calibrant_{name}", ()] == 0
    for code in ("200", "429", "500", "503", "504"):
        assert found["calibrant_requests_total", (code, *SOFTMAX)] == 0
    for reason in ("deadline_passed", "internal_error", "not_ready", "queue_full", "run_failed"):
        assert found["calibrant_rejected_total", (reason,)] == 0
    for warning in ("looks_like_probabilities", "no_class_allowed", "unknown_group"):
        assert found["calibrant_warnings_total", (warning, *SOFTMAX)] == 0


def test_readiness_and_a_dead_batcher_show(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    running = run()
    with monkeypatch.context() as patch:
        patch.setattr(running.service.batcher, "cause_of_death", MemoryError())
        found = scraped(running.client)
        assert (found["calibrant_ready", ()], found["calibrant_dead_batchers", ()]) == (0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(running.service, "draining", True)
        found = scraped(running.client)
        assert (found["calibrant_ready", ()], found["calibrant_draining", ()]) == (0, 1)
        assert found["calibrant_dead_batchers", ()] == 0
    with monkeypatch.context() as patch:
        patch.setattr(running.service.repository, "failures", {"softmax/2": "is no head"})
        assert scraped(running.client)["calibrant_failed_versions", ()] == 1


def test_warnings_are_counted_by_answer_on_both_faces(run: Callable[..., Running]) -> None:
    running = run()
    assert "warnings" in running.predict({"logits": [[0.25, 0.75], [0.5, 0.5]]}).json()
    assert "warnings" in running.predict({"logits": [[1, 2], [1, 2]], "mask": [[True, True], [False, False]]}).json()
    tensor = {"name": "logits", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}
    assert running.client.post("/v2/models/softmax/infer", json={"inputs": [tensor]}).status_code == 200
    assert running.predict({"logits": [1, 2]}).status_code == 200
    found = scraped(running.client)
    assert found["calibrant_warnings_total", ("looks_like_probabilities", *SOFTMAX)] == 2
    assert found["calibrant_warnings_total", ("no_class_allowed", *SOFTMAX)] == 1
    assert found["calibrant_warnings_total", ("unknown_group", *SOFTMAX)] == 0


def test_confidences_are_a_sample_of_what_was_answered(run: Callable[..., Running]) -> None:
    running = run()
    for _ in range(2 * SAMPLED):
        assert running.predict({"logits": [0, np.log(3)]}).status_code == 200
    assert running.predict({"logits": [0, 9], "outputs": ["logsumexp"]}).status_code == 200  # says no probability
    found = scraped(running.client)
    n = found["calibrant_confidence_count", SOFTMAX]
    assert 1 <= n <= 2 * SAMPLED
    assert found["calibrant_confidence_sum", SOFTMAX] == pytest.approx(0.75 * n)
    assert found["calibrant_confidence_bucket", ("0.7", *SOFTMAX)] == 0
    assert found["calibrant_confidence_bucket", ("0.8", *SOFTMAX)] == n


def test_a_request_s_time_is_the_sum_of_its_phases(run: Callable[..., Running]) -> None:
    running = run()
    for _ in range(3):
        assert running.predict({"logits": [1, 2]}).status_code == 200
    found = scraped(running.client)
    phases = [found[f"calibrant_{phase}_seconds_sum", SOFTMAX] for phase in ("decode", "queue", "run", "encode")]
    assert found["calibrant_request_seconds_sum", SOFTMAX] == pytest.approx(sum(phases))
    assert found["calibrant_request_seconds_count", SOFTMAX] == 3


def test_the_calibration_is_told(run: Callable[..., Running]) -> None:
    running = run()
    story = running.client.get("/v1/models/digits").json()
    found = scraped(running.client)
    assert found["calibrant_model_temperature", ("digits", "1")] == story["temperature"]
    told = {labels[0]: value for (name, labels), value in found.items() if name == "calibrant_model_measured"}
    assert told == story["metadata"]["metrics"]["after"]


def test_the_process_is_told(run: Callable[..., Running]) -> None:
    found = scraped(run().client)
    for name in ("resident_memory_bytes", "cpu_seconds_total", "start_time_seconds", "open_fds"):
        assert found[f"process_{name}", (str(os.getpid()),)] > 0


def test_every_worker_is_told_before_it_has_worked() -> None:
    with workers(2) as url, httpx.Client(base_url=url) as client:
        found = scraped(client)
        assert len([labels for name, labels in found if name == "process_resident_memory_bytes"]) == 2
        assert found["calibrant_queue_max_rows", ()] == 2 * 8192
