"""What follows from the probabilities of a softmax head."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.families import SOFTMAX


def answers(scores: Any) -> dict[str, NDArray[Any]]:
    """What a head would say of these scores."""
    s = np.array(scores, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        e = np.exp(s - np.where(np.isneginf(s.max(1, keepdims=True)), 0, s.max(1, keepdims=True)))
        p = e / np.maximum(e.sum(1, keepdims=True), 1e-300)
        log_p = np.log(p)
    return {"scores": s, "probabilities": p.astype(np.float32), "log_probabilities": log_p.astype(np.float32)}


def test_the_first_of_equal_classes_is_the_prediction() -> None:
    assert SOFTMAX.prediction(answers([[1, 3, 3], [0, 0, 0]])).tolist() == [1, 0]


def test_a_row_without_a_class_has_no_prediction_and_no_entropy() -> None:
    empty = answers([[-np.inf, -np.inf], [0, 1]])
    assert SOFTMAX.prediction(empty).tolist() == [-1, 1]
    assert SOFTMAX.confidence(empty)[0] == 0
    assert SOFTMAX.entropy(empty)[0] == 0
    assert not np.signbit(SOFTMAX.entropy(answers([[0, -np.inf]]))[0])


@settings(max_examples=200)
@given(
    st.integers(1, 6).flatmap(
        lambda k: st.lists(
            st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 2.5]), min_size=k, max_size=k), min_size=1, max_size=4
        )
    ),
    st.integers(1, 8),
)
def test_the_best_classes_are_those_that_sorting_finds(scores: list[list[float]], k: int) -> None:
    for row, best in zip(scores, SOFTMAX.top(answers(scores), k), strict=True):
        ranked = sorted(range(len(row)), key=lambda i: (-row[i], i))
        assert best.tolist() == [i for i in ranked[:k] if row[i] > -np.inf]
