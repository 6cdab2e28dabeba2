"""What the live process tells, as Prometheus reads it."""

import math
from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

MODEL: Final = ("model", "version")
COUNTS: Final = {
    "predictions": "Answered rows that are in the store of the journal.",
    "labels": "Labels of answered rows that came; with a policy matured, not all are counted yet.",
    "conflicts": "Labels that came for a row that has another one.",
}
NAMES: Final = {"conflicts": "label_conflicts"}
WARNINGS: Final = ("informative_delay", "too_many_groups", "not_label_shift")


def live_metrics(told: dict[str, Any], began_s: float = 0.0) -> Iterator[Metric]:
    """Every family, of what the live process told last; before it has told anything all but the first are empty.

    `began_s`: since when it could have, in seconds since 1970.
    """
    yield GaugeMetricFamily(
        "calibrant_live_published_timestamp_seconds",
        "When the live process last told something, which it does every few seconds; before that the start.",
        value=told.get("at_ns", 1e9 * began_s) / 1e9,
    )
    models = {tuple(key.rsplit("/", 1)): found for key, found in told.get("models", {}).items()}
    for name, what in COUNTS.items():
        family = CounterMetricFamily(f"calibrant_live_{NAMES.get(name, name)}", what, labels=MODEL)
        for key, found in models.items():
            family.add_metric(key, found.get(name, 0))
        yield family
    reports = {key: found["report"] for key, found in models.items() if found.get("report")}
    yield from measures(reports)
    yield from evidence(reports)
    yield from signals(models)
    yield from refits({key: found["refit"] for key, found in models.items() if found.get("refit")})


def measures(reports: dict[tuple[str, ...], dict[str, Any]]) -> Iterator[Metric]:
    """Of the labelled rows."""
    lag = GaugeMetricFamily(
        "calibrant_live_label_lag_seconds", "From an answer to its label.", labels=[*MODEL, "quantile"]
    )
    accuracy = GaugeMetricFamily("calibrant_live_accuracy", "Of the labelled rows.", labels=MODEL)
    ece = GaugeMetricFamily(
        "calibrant_live_ece", "Calibration error of the labelled rows, without what chance adds.", labels=MODEL
    )
    gap = GaugeMetricFamily("calibrant_live_gap", "Mean confidence minus accuracy of the labelled rows.", labels=MODEL)
    for key, report in reports.items():
        for quantile, seconds in report["lag_s"].items():
            if seconds is not None:
                lag.add_metric([*key, f"0.{quantile[1:].rstrip('0')}"], seconds)
        if report["labels"]:
            accuracy.add_metric(key, report["accuracy"])
            ece.add_metric(key, report["ece"]["debiased"])
            gap.add_metric(key, report["gap"]["value"])
    return iter((lag, accuracy, ece, gap))


def evidence(reports: dict[tuple[str, ...], dict[str, Any]]) -> Iterator[Metric]:
    """Of each monitor."""
    labels = [*MODEL, "scope", "null"]
    e = GaugeMetricFamily(
        "calibrant_live_log10_e", "Evidence against the null, as logarithm: 2 is an alarm.", labels=labels
    )
    alarm = GaugeMetricFamily("calibrant_live_alarm", "1 from an alarm on, until it is acknowledged.", labels=labels)
    for key, report in reports.items():
        for one in report["monitors"]:
            e.add_metric([*key, one["scope"], one["null"]], one["log10_e"])
            alarm.add_metric([*key, one["scope"], one["null"]], one["alarm"])
    return iter((e, alarm))


def signals(models: dict[tuple[str, ...], dict[str, Any]]) -> Iterator[Metric]:
    """What is said before labels come, and what makes the numbers mean less."""
    expected = GaugeMetricFamily(
        "calibrant_live_expected_accuracy", "Of recent rows, if the head is calibrated.", labels=MODEL
    )
    shift = GaugeMetricFamily(
        "calibrant_live_prior_shift", "L1 distance of recent class shares from those of the fit.", labels=MODEL
    )
    warning = GaugeMetricFamily(
        "calibrant_live_warning", "1 where the code is among the warnings.", labels=[*MODEL, "code"]
    )
    for key, found in models.items():
        shares = found.get("shares") or {}
        if "expected_accuracy" in shares:
            expected.add_metric(key, shares["expected_accuracy"])
        if "prior_shift" in shares:
            shift.add_metric(key, shares["prior_shift"])
        told = [*(found.get("report") or {}).get("warnings", []), *shares.get("warnings", [])]
        codes = {one["code"] for one in told}
        for code in WARNINGS:
            warning.add_metric([*key, code], code in codes)
    return iter((expected, shift, warning))


def refits(told: dict[tuple[str, ...], dict[str, Any]]) -> Iterator[Metric]:
    """Of temperatures that are proposed."""
    e = GaugeMetricFamily(
        "calibrant_live_refit_log10_e", "Evidence that the proposed temperature is better; 2 is enough.", labels=MODEL
    )
    ready = GaugeMetricFamily("calibrant_live_refit_ready", "1 where a refit may be promoted.", labels=MODEL)
    for key, refit in told.items():
        e.add_metric(key, math.log10(max(refit["evidence"]["e"], 1e-300)))
        ready.add_metric(key, refit["state"] == "earned" and refit["refusal"] is None)
    return iter((e, ready))
