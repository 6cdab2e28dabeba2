"""The fit of the reference curve, against numbers that were found apart from it."""

import numpy as np

from service.calibration import temperature
from service.datasets import files
from service.heads.stages import Stages
from service.measures import curve_fit
from service.measures.curve import log_odds, rate
from service.measures.scores import score
from tests.calibration.conftest import published


def test_the_golden_curve_of_published_logits() -> None:
    data = files.load(published() / "cifar10_vgg19_bn_chenyaofo.npz")["val"]
    scores = score(data, Stages(temperature.fit(data).value).predict)
    found = curve_fit.fit(scores.confidence, scores.correct, scores.weights)
    at = [0.6, 0.9, 0.99, 0.999]
    assert np.allclose((found.a, found.b, found.c), (1.238646, -0.838326, -8.122726), rtol=0, atol=1.2e-6)
    assert np.allclose(found.accuracy(at), (0.416634, 0.867727, 0.991964, 0.999258), rtol=0, atol=1.2e-6)
    assert np.allclose(found.error(at), (0.028765, 0.008379, 0.001098, 0.000571), rtol=0, atol=1.2e-6)
    assert found.n == 5000


def test_what_was_drawn_from_a_curve_gives_it_back() -> None:
    random = np.random.default_rng(0)
    confidence = 1 / (1 + np.exp(-random.normal(1.5, 1.5, 50_000)))
    truth = np.array([1.4, -0.6, -3.0])
    right = random.random(50_000) < rate(truth, log_odds(confidence))
    found = curve_fit.fit(confidence, right, np.ones(50_000))
    away = np.array([found.a, found.b, found.c]) - truth
    assert away @ np.linalg.solve(found.covariance, away) < 16  # 99.9 % of chi-squared with three


def test_a_weight_of_two_for_all_says_no_more_than_one() -> None:
    random = np.random.default_rng(1)
    confidence = random.uniform(0.3, 1, 400)
    right = random.random(400) < confidence
    one, two = (curve_fit.fit(confidence, right, np.full(400, weight)) for weight in (1.0, 2.0))
    assert (one.n, two.n) == (400, 400)
    assert np.allclose(one.covariance, two.covariance)


def test_rows_that_are_all_right_have_a_curve_that_says_so() -> None:
    confidence = np.random.default_rng(2).uniform(0.5, 1, 200)
    found = curve_fit.fit(confidence, np.ones(200, bool), np.ones(200))
    assert np.isfinite((found.a, found.b, found.c)).all()
    assert (found.accuracy([0.6, 0.9, 0.99]) > 0.97).all()
    assert np.isfinite(found.error([0.6, 0.9, 0.99])).all()
