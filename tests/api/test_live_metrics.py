"""What Prometheus reads of the labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.api.live_metrics import live_metrics
from service.journal.state import write_state
from tests.conftest import Running
from tests.live.made import drawn, told
from tests.telemetry.test_counts import scraped

REFIT = {"state": "earned", "refusal": None, "evidence": {"e": 100.0}}
FAMILIES = [
    ("calibrant_live_published_timestamp_seconds", "gauge"),
    ("calibrant_live_predictions", "counter"),
    ("calibrant_live_labels", "counter"),
    ("calibrant_live_label_conflicts", "counter"),
    ("calibrant_live_label_lag_seconds", "gauge"),
    ("calibrant_live_accuracy", "gauge"),
    ("calibrant_live_ece", "gauge"),
    ("calibrant_live_gap", "gauge"),
    ("calibrant_live_log10_e", "gauge"),
    ("calibrant_live_alarm", "gauge"),
    ("calibrant_live_expected_accuracy", "gauge"),
    ("calibrant_live_prior_shift", "gauge"),
    ("calibrant_live_warning", "gauge"),
    ("calibrant_live_refit_log10_e", "gauge"),
    ("calibrant_live_refit_ready", "gauge"),
]


def test_families_and_their_order_are_what_dashboards_know() -> None:
    first, *others = live_metrics({}, 12.5)
    assert [(family.name, family.type) for family in (first, *others)] == FAMILIES
    assert [sample.value for sample in first.samples] == [12.5]
    assert all(not family.samples for family in others)
    state = told(drawn(200, 0))
    state["models"]["digits/1"]["refit"] = REFIT
    assert all(family.samples for family in live_metrics(state))


def test_a_scrape_has_the_evidence_of_every_monitor(run: Callable[..., Running], tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    state = told(drawn(1000, 0, sharper=1.8))
    write_state(tmp_path, state)
    found, report = scraped(running.client), state["models"]["digits/1"]["report"]
    for one in report["monitors"]:
        key = tuple(sorted({"model": "digits", "version": "1", "scope": one["scope"], "null": one["null"]}.values()))
        values = {name: value for (name, labels), value in found.items() if tuple(sorted(labels)) == key}
        assert values["calibrant_live_log10_e"] == pytest.approx(one["log10_e"])
        assert values["calibrant_live_alarm"] == one["alarm"]
    assert found["calibrant_live_labels_total", ("digits", "1")] == 1000
    assert found["calibrant_live_predictions_total", ("digits", "1")] == 2000
    assert found["calibrant_live_ece", ("digits", "1")] == report["ece"]["debiased"]
    assert found["calibrant_live_warning", ("informative_delay", "digits", "1")] == 0


@pytest.mark.parametrize(
    ("state", "refusal", "ready"), [("earned", None, 1), ("earned", "no", 0), ("shadowing", None, 0)]
)
def test_a_refit_is_ready_once_it_has_earned_that_and_nothing_is_against_it(
    state: str, refusal: str | None, ready: int
) -> None:
    one = {"models": {"digits/1": {"predictions": 3, "refit": {**REFIT, "state": state, "refusal": refusal}}}}
    found = {family.name: [sample.value for sample in family.samples] for family in live_metrics(one)}
    assert found["calibrant_live_refit_log10_e"] == [2]
    assert found["calibrant_live_refit_ready"] == [ready]


def test_a_version_without_labels_has_its_counts_alone() -> None:
    bare = {"models": {"digits/1": {"predictions": 3, "conflicts": 0}}}
    found = {family.name: [sample.value for sample in family.samples] for family in live_metrics(bare)}
    assert found["calibrant_live_predictions"] == [3]
    assert found["calibrant_live_labels"] == [0]
    assert found["calibrant_live_ece"] == found["calibrant_live_alarm"] == []


def test_a_service_without_a_journal_has_none_of_them(run: Callable[..., Running]) -> None:
    assert not any(name.startswith("calibrant_live") for name, _ in scraped(run().client))
