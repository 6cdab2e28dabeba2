"""Metrics of a sigmoid's probabilities: each against a plain loop over the cells."""

import numpy as np
import pytest
from scipy.special import expit

from service.datasets.dataset import Floats
from service.measures import multilabel
from service.measures.multilabel import MultiScores
from tests.calibration.multilabel import tagged


def scored(n: int = 400, masked: bool = True) -> tuple[Floats, MultiScores]:
    data = tagged(n, masked=masked)
    x = np.where(data.allowed, data.logits.astype(np.float64) / 2, -np.inf)
    return x, MultiScores.from_scores(x, data.targets)


def plain_error(p: Floats, right: Floats) -> float:
    """ECE over 15 bins of equal width, bin by bin."""
    total = 0.0
    for i in range(15):
        inside = (p > i / 15) & (p <= (i + 1) / 15) | ((i == 0) & (p == 0))
        if inside.any():
            total += inside.sum() * abs(p[inside].mean() - right[inside].mean())
    return total / len(p)


def test_every_metric_is_what_its_definition_says() -> None:
    x, scores = scored()
    there, y = scores.allowed, scores.targets
    p = np.where(there, expit(x), 0)
    losses = np.where(there, -y * np.log(np.where(there, p, 1)) - (1 - y) * np.log(1 - p), 0)
    found = multilabel.measure(scores)
    assert found["nll"] == pytest.approx(losses.sum(axis=1).mean(), rel=1e-12)
    assert found["bce"] == pytest.approx(losses.sum() / there.sum(), rel=1e-12)
    assert found["brier"] == pytest.approx((there * (p - y) ** 2).sum(axis=1).mean(), rel=1e-12)
    assert found["accuracy"] == pytest.approx((((p >= 0.5) == y) & there).sum() / there.sum(), rel=1e-12)
    assert found["ece"] == pytest.approx(plain_error(p[there], y[there]), rel=1e-9)
    each = [plain_error(p[rows, k], y[rows, k]) for k, rows in enumerate(there.T)]
    assert found["ece_macro"] == pytest.approx(np.mean(each), rel=1e-9)
    assert multilabel.class_errors(scores) == pytest.approx(each, rel=1e-9)


def test_losses_far_out_keep_their_digits() -> None:
    scores = MultiScores.from_scores(np.array([[800.0, -800.0, 40.0]]), np.array([[0, 1, 1]]))
    assert scores.losses.tolist() == [[800, 800, np.log1p(np.exp(-40))]]


def test_a_soft_target_counts_as_right_from_a_half_on() -> None:
    scores = MultiScores.from_scores(np.zeros((1, 3)), np.array([[0.2, 0.5, 1.0]]))
    assert scores.right.tolist() == [[False, True, True]]
    assert multilabel.measure(scores)["brier"] == pytest.approx(0.09 + 0.25)


def test_a_class_that_is_never_allowed_counts_for_nothing() -> None:
    x, scores = scored()
    wide = MultiScores.from_scores(
        np.column_stack([x, np.full(len(x), -np.inf)]), np.column_stack([scores.targets, np.zeros(len(x))])
    )
    assert multilabel.measure(wide) == pytest.approx(multilabel.measure(scores), rel=1e-12)
    assert multilabel.class_errors(wide)[-1] == 0
    assert not len(wide.points(4).confidence)


def test_rows_without_a_class_measure_as_nothing() -> None:
    nothing = MultiScores.from_scores(np.full((2, 3), -np.inf), np.zeros((2, 3)))
    assert set(multilabel.measure(nothing).values()) == {0.0}


def test_points_are_the_allowed_cells_of_one_class_or_of_all() -> None:
    _, scores = scored()
    rows = scores.allowed[:, 1]
    assert np.array_equal(scores.points(1).confidence, scores.probabilities[rows, 1])
    assert np.array_equal(scores.points(1).correct, scores.targets[rows, 1] == 1)
    assert len(scores.points().weights) == scores.allowed.sum()


@pytest.mark.parametrize("n", [1, 3, 400])
def test_intervals_hold_the_estimate_and_lie_where_a_value_can(n: int) -> None:
    _, scores = scored(n, masked=False)
    point = multilabel.measure(scores)
    for name, (low, high) in multilabel.intervals(scores, resamples=100).items():
        assert 0 <= low <= point[name] + 1e-9, name
        assert point[name] - 1e-9 <= high <= (np.inf if name in multilabel.UNBOUNDED else 1), name


def test_intervals_narrow_with_more_rows() -> None:
    few, many = (multilabel.intervals(scored(n)[1], resamples=100)["bce"] for n in (200, 5000))
    assert many[1] - many[0] < (few[1] - few[0]) / 2
