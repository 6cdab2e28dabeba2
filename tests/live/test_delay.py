"""Labels that come sooner where the answer was wrong."""

import numpy as np
import pytest

from service.datasets.dataset import Floats
from service.live.delay import Lags
from service.live.monitor import Monitor, Policy
from service.live.records import Records
from service.live.report import report
from tests.live.made import FITTED, SECOND, drawn


def delayed(rows: Records, seconds: Floats) -> Records:
    """The rows with other delays, in the order in which their labels come."""
    rows["labelled_ns"] = rows["predicted_ns"] + (seconds * SECOND).astype(np.int64)
    rows = rows[np.argsort(rows["labelled_ns"], kind="stable")]
    rows["index"] = np.arange(len(rows))
    return rows


def codes(rows: Records, policy: Policy = "arrival") -> set[str]:
    monitor = Monitor(FITTED, policy=policy)
    monitor.update(rows)
    return {one["code"] for one in report(monitor)["warnings"]}


def test_wrong_answers_whose_labels_come_sooner_are_seen_where_labels_count_as_they_arrive() -> None:
    random, rows = np.random.default_rng(0), drawn(20_000, 0)
    wrong = rows["predicted"] != rows["label"]
    rows = delayed(rows, random.exponential(np.where(wrong, 500, 4000)))
    assert codes(rows) == {"informative_delay"}


def test_the_same_labels_in_the_order_of_their_predictions_raise_nothing() -> None:
    random, rows = np.random.default_rng(0), drawn(20_000, 0)
    wrong = rows["predicted"] != rows["label"]
    rows["labelled_ns"] += (random.exponential(np.where(wrong, 500, 4000)) * SECOND).astype(np.int64)
    monitor = Monitor(FITTED, policy="matured")
    monitor.update(rows)
    found = report(monitor)
    assert found["warnings"] == []
    assert not any(one["alarm"] for one in found["monitors"])


@pytest.mark.parametrize("seed", range(5))
def test_a_delay_that_does_not_depend_on_the_answer_raises_nothing(seed: int) -> None:
    random, rows = np.random.default_rng(seed), drawn(10_000, seed)
    assert codes(delayed(rows, random.exponential(2000, 10_000))) == set()


@pytest.mark.parametrize("seed", range(5))
def test_nor_does_a_model_that_breaks_while_labels_are_late(seed: int) -> None:
    random, rows = np.random.default_rng(seed), drawn(10_000, seed)
    broken = (np.arange(10_000) > 5000) & (random.random(10_000) < 0.3)
    rows["label"][broken] = 1
    assert codes(delayed(rows, random.exponential(2000, 10_000))) == set()


def test_delays_are_told_to_a_tenth() -> None:
    rows = delayed(drawn(1000, 0), np.linspace(1, 1000, 1000))
    lags = Lags()
    lags.add(Lags.bins(rows))
    found = lags.quantiles()
    assert found["p50"] == pytest.approx(500, rel=0.1)
    assert found["p90"] == pytest.approx(900, rel=0.1)
    assert Lags().quantiles() == {"p50": None, "p90": None, "p99": None}
