"""The shares of the classes before labels come."""

import numpy as np
import pytest

from service.datasets.dataset import Floats, Ints
from service.live.reference import Reference
from service.live.shares import black_box, class_shares, distance, expectation_maximisation, posterior
from tests.live.made import EXACT

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1]])
UNIFORM = np.full(3, 1 / 3)


@pytest.mark.parametrize(
    ("steps", "pull", "expected"),
    [
        (1, 0, [0.420000, 0.360000, 0.220000]),
        (2, 0, [0.481703, 0.366963, 0.151335]),
        (500, 0, [0.649031, 0.350969, 0.000000]),
        (500, 15, [0.359901, 0.340179, 0.299920]),
    ],
)
def test_the_shares_that_were_worked_out_apart(steps: int, pull: float, expected: list[float]) -> None:
    assert np.allclose(expectation_maximisation(P, UNIFORM, pull, steps), expected, rtol=0, atol=6e-7)


def test_the_expected_accuracy_before_and_after() -> None:
    found = class_shares(P, Reference(EXACT, "fit", prior=UNIFORM))
    assert found["expected_accuracy"] == pytest.approx(0.64, abs=6e-7)
    assert found["expected_accuracy_em"] == pytest.approx(0.644122, abs=6e-7)
    assert np.allclose(found["em_pulled"], [0.359901, 0.340179, 0.299920], rtol=0, atol=6e-7)


def drawn(shares: Floats, n: int, seed: int, sharper: float = 1.0) -> tuple[Floats, Ints]:
    """Exact probabilities of three classes under equal shares, of rows that come with other ones; and their labels."""
    random = np.random.default_rng(seed)
    labels = random.choice(3, n, p=shares)
    z = random.normal(0, 1, (n, 3))
    z[np.arange(n), labels] += 2.5
    logits = sharper * 2.5 * z  # of unit normals whose means are 2.5 apart
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), labels.astype(np.int64)


def reference() -> Reference:
    p, labels = drawn(UNIFORM, 50_000, 0)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (p.argmax(axis=1), labels), 1 / len(labels))
    return Reference(EXACT, "fit", prior=UNIFORM, confusion=confusion)


def test_both_ways_find_the_shares_under_label_shift() -> None:
    shares = np.array([0.7, 0.25, 0.05])
    p, labels = drawn(shares, 2000, 1)
    found = class_shares(p, reference())
    assert distance(np.array(found["em"]), shares) < 0.06
    assert distance(np.array(found["bbse"]), shares) < 0.06
    assert found["prior_shift"] == pytest.approx(0.73, abs=0.06)
    assert found["warnings"] == []
    accuracy = (posterior(p, UNIFORM, np.array(found["em"])).argmax(axis=1) == labels).mean()
    assert accuracy >= (p.argmax(axis=1) == labels).mean()
    assert found["expected_accuracy_em"] == pytest.approx((p.argmax(axis=1) == labels).mean(), abs=0.02)


def test_they_disagree_where_it_is_no_label_shift() -> None:
    p, _ = drawn(np.array([0.7, 0.25, 0.05]), 2000, 1, sharper=0.2)
    found = class_shares(p, reference())
    assert [one["code"] for one in found["warnings"]] == ["not_label_shift"]


def test_a_class_that_was_never_answered_leaves_the_black_box_without_an_answer() -> None:
    assert black_box(np.array([0, 1]), np.array([[0.5, 0.1], [0.0, 0.0]])) is None


def test_without_class_frequencies_there_is_the_expected_accuracy_alone() -> None:
    assert class_shares(P, Reference()) == {"rows": 5, "expected_accuracy": pytest.approx(0.64), "warnings": []}
