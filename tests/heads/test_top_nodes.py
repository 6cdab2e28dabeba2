"""The top-label stage in the graph: what it saves at the fitted temperature, and that nothing but time shows it."""

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from service.heads.build import build, short_graph
from service.heads.reading import read_stages
from service.heads.reference import expected
from service.heads.stages import Stages
from service.heads.top import BOUND, TopLabel
from service.metadata import Metadata
from tests.heads.running import head, rows, run

TOP = TopLabel(-0.3, (0.6, 1.5, 0.2), (-0.5, 1.2))
KINDS: dict[str, Stages] = {
    "temperature": Stages(1.7, top=TOP),
    "one": Stages(top=TOP),
    "laplace": Stages(1.7, laplace=0.01, top=TOP),
    "groups": Stages(1.7, group_temperatures=np.array([0.5, 3.0]), top=TOP),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_at_the_fitted_temperature_is_deaf_to_that_of_its_neighbours(kind: str) -> None:
    own = KINDS[kind]
    running = head(own, 7)
    logits, mask = rows(40, 7)
    given: dict[str, Any] = {"logits": logits, "mask": mask}
    if kind == "groups":
        given["group"] = np.arange(40)[:, None] % 3
    plain = run(running, **given)
    temperature = np.where(np.arange(40) % 2, own.temperature, 0.4)[:, None]
    among = run(running, temperature=temperature, **given)
    for name in ("probabilities", "log_probabilities", "scores"):
        assert plain[name][1::2].tobytes() == among[name][1::2].tobytes(), name
    assert not np.array_equal(plain["probabilities"][::2], among["probabilities"][::2])


@pytest.mark.parametrize("kind", KINDS)
def test_the_short_graph_takes_each_exponential_once(kind: str) -> None:
    model = build(KINDS[kind], 6, Metadata())
    n = [[node.op_type for node in graph.node].count("Exp") for graph in (model.graph, short_graph(model).graph)]
    assert n == [2, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_distribution_at_the_fitted_temperature_is_that_of_the_scores(kind: str) -> None:
    own = KINDS[kind]
    logits, _ = rows(200, 11, scale=20)
    at = run(head(own, 11), logits=logits, temperature=np.full((200, 1), own.temperature))
    beside = run(head(own, 11), logits=logits, temperature=np.full((200, 1), own.temperature * (1 + 1e-12)))
    assert np.allclose(at["probabilities"], beside["probabilities"], rtol=1.2e-7, atol=2e-45)
    assert np.allclose(at["probabilities"], np.exp(at["log_probabilities"].astype(np.float64)), rtol=1e-5, atol=1e-44)


def test_a_steep_line_beyond_every_exponent_answers_certainty() -> None:
    steep = Stages(top=TopLabel(0.0, (1.0, 1.0, 60.0), (0.0, 1.0)))
    logits = np.array([[50.0, 0.0, -1.0]], np.float32)
    found = run(head(steep, 3), logits=logits)
    right = expected(steep, logits, np.ones((1, 3), bool), np.ones((1, 1)))
    assert steep.top is not None
    assert steep.top.line(np.array([BOUND]))[0] > 1700
    assert found["probabilities"].tolist() == [[1, 0, 0]]
    assert np.allclose(found["log_probabilities"], right["log_probabilities"].astype(np.float64))


def test_the_line_is_read_back_as_it_was_put_in() -> None:
    model = build(KINDS["one"], 4, Metadata())
    assert read_stages(model).top == TOP
    assert {t.name: numpy_helper.to_array(t).shape for t in model.graph.initializer}["top_weights"] == (4, 1)
