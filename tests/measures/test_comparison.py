"""Two heads on the same rows."""

from dataclasses import replace

import numpy as np
import pytest

from service.datasets.dataset import Dataset
from service.heads.stages import Stages
from service.measures.comparison import Measured, compare, count_changes
from service.measures.metrics import measure
from service.measures.scores import Scores, score
from tests.calibration.conftest import drawn

DATA = drawn(4000)


def scored(data: Dataset, temperature: float) -> Scores:
    return score(data, Stages(temperature).predict)


def test_differences_are_those_of_the_metrics_and_their_intervals_hold_them() -> None:
    one, other = scored(DATA, 2.0), scored(DATA, 1.0)
    found = compare(Measured(one), Measured(other))
    mine, others = measure(one), measure(other)
    assert list(found) == ["nll", "brier", "accuracy", "ece", "ece_mass"]
    for name, difference in found.items():
        assert difference.value == pytest.approx(mine[name] - others[name], abs=1e-12)
        assert difference.low <= difference.value <= difference.high
    assert found["nll"].high < 0
    assert found["accuracy"] == (0, 0, 0)


def test_paired_intervals_have_the_coverage_that_they_say_and_are_tighter_than_unpaired_ones() -> None:
    """Of 60 data sets about 57 have the true difference inside; two of three would be three errors away."""
    truth = np.mean([gap(drawn(20_000, seed=seed)) for seed in range(1000, 1010)])
    inside, width = 0, []
    for seed in range(60):
        data = drawn(500, seed=seed)
        one, other = scored(data, 2.0), scored(data, 1.7)
        found = compare(Measured(one), Measured(other))["nll"]
        inside += int(found.low <= truth <= found.high)
        width.append((found.high - found.low) / (2 * 1.96 * np.hypot(one.nll.std(), other.nll.std()) / np.sqrt(500)))
    assert inside >= 52
    assert np.mean(width) < 0.3


def gap(data: Dataset) -> float:
    return float(np.mean(scored(data, 2.0).nll - scored(data, 1.7).nll))


def test_weights_count() -> None:
    weights = np.where(np.arange(4000) < 2000, 1.0, 0.0)
    found = compare(*(Measured(scored(replace(DATA, weights=weights), t)) for t in (2.0, 1.0)))
    half = compare(*(Measured(scored(DATA.take(slice(2000)), t)) for t in (2.0, 1.0)))
    assert found["brier"].value == pytest.approx(half["brier"].value, abs=1e-12)


def test_coverage_is_compared_where_both_have_it() -> None:
    one, other = scored(DATA, 2.0), scored(DATA, 1.0)
    covered, fewer = np.arange(4000) % 10 > 0, np.arange(4000) % 10 > 1
    assert compare(Measured(one, covered), Measured(other, fewer))["coverage"].value == pytest.approx(0.1)
    assert "coverage" not in compare(Measured(one, covered), Measured(other))


def test_a_likelihood_that_is_infinite_is_not_compared() -> None:
    one, other = scored(DATA, 2.0), scored(DATA, 1.0)
    nll = other.nll.copy()
    nll[3] = np.inf
    assert "nll" not in compare(Measured(one), Measured(replace(other, nll=nll)))


def test_changed_predictions_are_counted_with_what_they_become() -> None:
    one = scored(DATA, 1.0)
    other = replace(one, predictions=one.predictions.copy(), correct=one.correct.copy())
    right, wrong = np.flatnonzero(one.correct)[:3], np.flatnonzero(~one.correct)[:2]
    other.predictions[right] = (one.predictions[right] + 1) % 5
    other.correct[right] = False
    other.predictions[wrong] = one.labels[wrong]
    other.correct[wrong] = True
    assert count_changes(one, other) == {"measured": 4000, "changed": 5, "became_right": 2, "became_wrong": 3}
