"""E-values: their numbers, and that their mean under the null is at most 1."""

import numpy as np
import pytest

from service.datasets.dataset import Floats
from service.live.bets import (
    N_BETS,
    UNIT,
    class_e_values,
    e_values,
    failure_slopes,
    flat_slopes,
    log_steps,
    shift_slopes,
    slopes,
)

GOLDEN = {
    (0.9, True, 0.0): "0.833333 0.914647 0.962428 1.036872 1.071429 1.097561 0.853367 0.939080 0.972382 1.022620 "
    "1.040959 1.067477 0.990000 0.970000 0.900000 0.700000",
    (0.8, False, 0.0): "1.666667 1.373998 1.176745 0.796428 0.555556 0.294118 2.023048 1.459376 1.215007 0.814850 "
    "0.658338 0.421119 1.040000 1.120000 1.400000 2.200000",
    (0.8, False, 0.02): "1.650000 1.364648 1.172326 0.791339 0.544444 0.276471 1.997472 1.447891 1.209632 0.810221 "
    "0.649796 0.406647 1.039000 1.117000 1.390000 2.170000",
}


@pytest.mark.parametrize("case", GOLDEN)
def test_the_numbers_that_were_worked_out_apart(case: tuple[float, bool, float]) -> None:
    r, right, tau = np.array([case[0]]), np.array([case[1]]), np.array([case[2]])
    assert np.allclose(e_values(slopes(r), r, tau, right)[0], np.array(GOLDEN[case].split(), float), rtol=0, atol=6e-7)


def test_detectors_of_changes_of_these_bets_are_those_that_were_worked_out_apart() -> None:
    r = np.array([0.9, 0.8, 0.95, 0.6, 0.99, 0.7, 0.85, 0.55])
    right = np.array([1, 0, 1, 1, 0, 0, 1, 0], bool)
    roberts = cusum = np.zeros(N_BETS)
    for e in e_values(slopes(r), r, np.zeros(8), right):
        roberts, cusum = (roberts + 1) * e, np.maximum(cusum, 1) * e
    assert [roberts.mean(), cusum.mean()] == pytest.approx([30.400579, 7.103722], abs=6e-7)


@pytest.mark.parametrize("away", [-1.0, -0.5, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("tau", [0.0, 0.004, 0.1])
def test_the_mean_is_at_most_1_wherever_the_truth_is_within_the_tolerance(away: float, tau: float) -> None:
    r = np.array([1e-6, 0.02, 0.3, 0.5, 0.9, 0.999, 1 - 1e-6])
    truth, taus = np.clip(r + away * tau, 0, 1), np.full(len(r), tau)
    one, none = np.ones(len(r), bool), np.zeros(len(r), bool)
    for g in (slopes(r), flat_slopes(len(r)), failure_slopes(r), shift_slopes(r, (-1.0, 1.0))):
        wins, losses = e_values(g, r, taus, one), e_values(g, r, taus, none)
        assert (wins >= 0).all()
        assert (losses >= 0).all()
        assert (truth[:, None] * wins + (1 - truth)[:, None] * losses <= 1 + 1e-12).all()


def test_a_likelihood_ratio_has_mean_1_when_nothing_is_tolerated() -> None:
    r = np.array([0.3, 0.6, 0.9])
    wins, losses = (e_values(slopes(r), r, np.zeros(3), np.full(3, hit)) for hit in (True, False))
    assert np.allclose(r[:, None] * wins + (1 - r)[:, None] * losses, 1)


def test_the_bets_on_classes_have_a_mean_of_at_most_1_and_are_never_negative() -> None:
    p = np.array([[0.7, 0.2, 0.1]])
    mean, error = np.array([0.05, -0.02, 0.3]), np.array([0.01, 0.0, 0.9])

    def mean_e(truth: Floats) -> Floats:
        each = [class_e_values(p, np.array([k]), mean, error)[0] for k in range(3)]
        assert (np.array(each) >= 0).all()
        return np.asarray(truth @ np.array(each))

    assert (mean_e(np.array([0.75, 0.18, 0.07])) <= 1 + 1e-12).all()
    assert mean_e(np.array([0.2, 0.7, 0.1])).max() > 1.2


def test_an_e_value_of_0_has_a_logarithm() -> None:
    steps = log_steps(np.array([[0.0, 1.0, 2.0]]))
    assert steps[0, 0] == -60 * np.log(2) // (1 / UNIT)
    assert steps[0, 1] == 0
    assert steps[0, 2] / UNIT == pytest.approx(np.log(2), abs=1e-12)
