"""The top-label stage: what it does to a row, at the edges where there is little to do."""

from typing import Any

import numpy as np
import pytest

from service.errors import UsedWrongly
from service.heads.build import build
from service.heads.stages import Stages
from service.heads.top import BOUND, TopLabel, split
from service.metadata import Metadata
from tests.heads.running import head, rows, run

STAGE = TopLabel(-0.3, (0.6, 1.5, 0.2), (-0.5, 1.2))


def answered(logits: list[list[float]], stage: TopLabel = STAGE, laplace: float = 0.0) -> np.ndarray:
    """The head's float32 probabilities, after a look that the model has the same."""
    own, x = Stages(1.0, laplace=laplace, top=stage), np.array(logits, np.float32)
    found = run(head(own, x.shape[1]), logits=x)["probabilities"]
    assert np.allclose(found, np.exp(own.log_probabilities(x, None)), rtol=1e-6, atol=1e-12)
    return np.asarray(found)


def test_the_log_odds_of_the_best_class_are_the_line_and_the_others_share_the_rest() -> None:
    x = np.array([[2.0, 1.0, -1.0]])
    before, after = (np.exp(Stages(top=top).log_probabilities(x, None))[0] for top in (None, STAGE))
    odds = np.log(before[0] / (1 - before[0]))
    wanted = STAGE.line(np.array([odds]))[0]
    assert -0.5 < odds < 1.2
    assert wanted == pytest.approx(-0.3 + 0.6 * -0.5 + 1.5 * odds + 0.2 * 1.2)
    assert np.log(after[0] / (1 - after[0])) == pytest.approx(wanted)
    assert after[1] / after[2] == pytest.approx(before[1] / before[2])


def test_the_best_class_stays_the_best_however_low_the_line() -> None:
    low = TopLabel(-BOUND, (0.0, 0.0, 0.0))
    logits = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    found = run(head(Stages(top=low), 7), logits=logits)
    assert (found["probabilities"].argmax(axis=1) == logits.argmax(axis=1)).all()
    assert (found["scores"].argsort(axis=1) == logits.argsort(axis=1)).all()


def test_of_equals_the_first_is_the_best() -> None:
    found = answered([[1, 3, 3, 0]], TopLabel(2.0))[0]
    assert found.argmax() == 1
    assert found[1] > 2 * found[2]


def test_a_class_that_is_alone_stays_certain() -> None:
    for laplace in (0.0, 0.01):
        assert answered([[-np.inf, 5, -np.inf]], laplace=laplace).tolist() == [[0, 1, 0]]


def test_of_two_classes_the_other_has_what_is_left() -> None:
    found = answered([[3, 1], [1, 3]])
    assert np.allclose(found.sum(axis=1), 1)
    assert np.allclose(found[0], found[1][::-1])


@pytest.mark.parametrize("size", [1e3, 1e6, 1e30])
def test_a_sure_row_is_as_sure_as_the_line_at_its_end(size: float) -> None:
    end = STAGE.line(np.array([BOUND]))[0]
    found = answered([[size, 0, -size]])[0]
    assert 1 - np.float64(found[0]) == pytest.approx(1 / (1 + np.exp(end)), abs=1e-7)
    assert found[1] == pytest.approx(1 / (1 + np.exp(end)), rel=1e-5)


def test_a_temperature_that_a_request_brings_softens_what_the_stage_answers() -> None:
    own = Stages(1.7, top=STAGE)
    logits, _ = rows(20, 5, scale=2)
    running = head(own, 5)
    at = {t: run(running, logits=logits, temperature=np.array([[t]]))["probabilities"] for t in (1.7, 3.4, 1e6)}
    assert np.allclose(at[1.7], np.exp(own.log_probabilities(logits, None)), atol=1e-7)
    softened = np.sqrt(at[1.7].astype(np.float64))
    assert np.allclose(at[3.4], softened / softened.sum(axis=1, keepdims=True), atol=1e-6)
    assert np.allclose(at[1e6], 0.2, atol=1e-4)


def test_the_odds_are_those_of_the_best_class_against_the_rest() -> None:
    found = split(np.log(np.array([[0.7, 0.2, 0.1]])), np.array([0]))
    assert found.odds[0] == pytest.approx(np.log(0.7 / 0.3))
    assert found.lowest[0] == pytest.approx(np.log(0.2 / 0.3))


@pytest.mark.parametrize(
    "wrong", [{"slopes": (1.0, -0.1, 1.0)}, {"offset": np.inf}, {"knots": (1.0, 0.0)}, {"knots": (0.0, 31.0)}]
)
def test_a_stage_that_would_rank_rows_anew_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsedWrongly, match="expected"):
        TopLabel(**wrong)


def test_the_stage_is_pruned_away_where_it_is_absent() -> None:
    names = [node.name for node in build(Stages(1.7), 5, Metadata()).graph.node]
    assert not [name for name in names if name.startswith("top")]
