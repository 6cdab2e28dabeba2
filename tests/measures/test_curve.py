"""The reference curve: its numbers at any confidence."""

import numpy as np

from service.measures.curve import ReferenceCurve, jacobian, log_odds, rate

CURVE = ReferenceCurve(1.2, -0.5, -4.0, ((0.04, 0.01, 0.0), (0.01, 0.09, 0.0), (0.0, 0.0, 0.25)), 1000)


def test_a_head_that_is_right_as_often_as_it_says_has_the_diagonal() -> None:
    exact = ReferenceCurve(1, 0, -40, ((0.0,) * 3,) * 3, 1)
    at = [0.1, 0.5, 0.9, 0.999]
    assert np.allclose(exact.accuracy(at), at, atol=1e-12)
    assert (exact.error(at) == 0).all()


def test_the_derivatives_are_those_of_the_curve() -> None:
    odds, abc, step = log_odds([0.02, 0.4, 0.97]), np.array([1.2, -0.5, -1.0]), 1e-6
    for i, move in enumerate(np.eye(3) * step):
        numeric = (rate(abc + move, odds) - rate(abc - move, odds)) / (2 * step)
        assert np.allclose(jacobian(abc, odds)[:, i], numeric, atol=1e-9)


def test_the_standard_error_is_what_the_covariance_spreads() -> None:
    at = np.array([0.6, 0.9, 0.99])
    drawn = np.random.default_rng(0).multivariate_normal(
        (CURVE.a, CURVE.b, CURVE.c), np.array(CURVE.covariance) / 100, 4000
    )
    spread = np.std([rate(abc, log_odds(at)) for abc in drawn], axis=0) * 10
    assert np.allclose(CURVE.error(at), spread, rtol=0.06)


def test_confidences_0_and_1_have_a_place_on_it() -> None:
    found = CURVE.accuracy([0.0, 1.0])
    assert np.isfinite(found).all()
    assert found[0] < 1e-6
    assert found[1] <= 1 / (1 + np.exp(-4))
