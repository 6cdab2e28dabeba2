"""The guard of a refit: its e-value, and the sentences that forbid one."""

import json
from dataclasses import replace

import numpy as np
import pytest

from service.datasets.dataset import Floats, Ints
from service.live.guard import Case, Guard, gains, refusal, scale_of

P = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1]])
LABELS = np.array([0, 1, 1, 0, 0])


def cooled(log_p: Floats, factor: float) -> Floats:
    z = log_p * factor
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))


def test_the_numbers_that_were_worked_out_apart() -> None:
    shadow = cooled(P, 0.8)
    d = gains(P, shadow, "brier")[np.arange(5), LABELS]
    assert np.allclose(d, [-0.033052, -0.026636, 0.018061, 0.046165, -0.029365], rtol=0, atol=6e-7)
    guard = Guard(1.0, "brier")
    guard.update(P, shadow, LABELS)
    assert np.allclose(guard.wealth[[2, 4]], [0.994945, 0.978733], rtol=0, atol=6e-7)
    assert np.exp(guard.log_ratio) == pytest.approx(0.883816, abs=6e-7)


def served(n: int, factor: float, seed: int = 0) -> tuple[Floats, Ints]:
    """Log-probabilities that are `factor` times too sharp, and labels."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2.5, (n, 10))
    labels = (z + random.gumbel(size=z.shape)).argmax(axis=1)
    return cooled(z, factor), labels


def judged(truth: float, shadow: float, n: int = 10_000, seed: int = 0) -> Guard:
    """A shadow that divides what is served, which is `truth` times too sharp, by `shadow`."""
    p, labels = served(n, truth, seed)
    q = cooled(p, 1 / shadow)
    guard = Guard(scale_of(p[:500], q[:500]))
    for start in range(500, n, 333):
        guard.update(p[start : start + 333], q[start : start + 333], labels[start : start + 333])
    return guard


def test_a_shadow_that_is_better_earns_its_place() -> None:
    assert judged(1.3, 1.3).has_earned
    assert judged(1.3, 1.3).log_ratio > 10


def test_a_shadow_that_is_no_better_does_not() -> None:
    needless = [judged(1.0, factor, 3000, seed) for seed in range(30) for factor in (0.97, 1.03, 1.2)]
    assert not any(guard.has_earned for guard in needless)
    assert judged(1.3, 0.8).e < 0.01


def test_the_way_labels_are_cut_does_not_count_and_what_was_written_goes_on() -> None:
    p, labels = served(1000, 1.2)
    q = cooled(p, 0.8)
    whole, cut = Guard(2.0), Guard(2.0)
    whole.update(p, q, labels)
    for start in range(0, 1000, 7):
        cut.update(p[start : start + 7], q[start : start + 7], labels[start : start + 7])
        cut = Guard.restore(json.loads(json.dumps(cut.state())))
    assert cut.state() == whole.state()


def test_nothing_is_bet_where_the_shadow_may_lose_without_bound() -> None:
    p, q = np.log([[0.5, 0.3, 0.2]]), np.array([[np.log(0.6), np.log(0.4), -np.inf]])
    guard = Guard(1.0)
    for label in (0, 2):
        guard.update(p, q, np.array([label]))
    assert guard.e == 1
    assert guard.n == 2
    assert np.isfinite(guard.log_ratio)


def test_a_class_that_both_call_impossible_is_no_matter() -> None:
    p, q = np.array([[np.log(0.6), np.log(0.4), -np.inf]]), np.array([[np.log(0.9), np.log(0.1), -np.inf]])
    guard = Guard(1.0)
    guard.update(p, q, np.array([0]))
    assert guard.e > 1
    assert scale_of(p, q) == pytest.approx(np.log(4))


GOOD = Case("temperature", 200, 10, 1.5, 1.2, 0.5)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        (
            replace(GOOD, matured=199),
            "the refit was fitted on 199 labels; expected at least 200 for the method temperature",
        ),
        (replace(GOOD, method="bias"), "the refit was fitted on 200 labels; expected at least 500 for the method bias"),
        (
            replace(GOOD, method="vector", n_classes=100, matured=4999),
            "the refit was fitted on 4999 labels; expected at least 5000 for the method vector",
        ),
        (
            replace(GOOD, temperature=6.0),
            "the temperature would become 6, 5 times what it is; expected between 1/4 and 4 times",
        ),
        (replace(GOOD, temperature=0.2), "the temperature would become 0.2, 0.17 times what it is"),
        (
            replace(GOOD, labelled=0.49),
            "49 % of the answers have a label; expected at least 50 %, or --labels-sampled",
        ),
        (
            replace(GOOD, method="bias", matured=500, unseen=(3,)),
            "no label is of class 3; expected one of each class for the method bias",
        ),
        (replace(GOOD, informative_delay=True), "seems to depend on the answer; expected a delay that does not"),
        (replace(GOOD, keeps_sets=True), "expected sets that are fitted with the new one"),
    ],
)
def test_what_forbids_a_refit_is_said(case: Case, sentence: str) -> None:
    assert sentence in str(refusal(case))


def test_a_refit_that_nothing_forbids_is_not_refused() -> None:
    assert refusal(GOOD) is None
    assert refusal(replace(GOOD, labelled=0.1, sampled=True, unseen=(3,))) is None
    assert refusal(replace(GOOD, method="matrix", matured=500)) is None
