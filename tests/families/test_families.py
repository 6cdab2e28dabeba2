"""What it takes to add a family of head: its numpy, its graph, and a line each in two registers."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from service.engine.feed import build_feed
from service.engine.head import Head
from service.engine.rows import Rows
from service.engine.warm_up import ALL_OUTPUTS
from service.errors import HeadError, InvalidValue
from service.families import FAMILIES, find_family
from service.families.outputs import GRAPH_OUTPUTS, graph_bits, graph_outputs
from service.families.softmax import Softmax
from service.heads import build
from service.heads import softmax as graphs
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata


class Squared(Softmax):
    """Softmax of twice the scores: a family of its own, for as long as a test lasts."""

    name = "squared"
    made_of: ClassVar = {name: made for name, made in Softmax.made_of.items() if name != "entropy"}

    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The square of each softmax probability, shared out anew."""
        return super().distribution(x * 2)


def squared_outputs(graph: Any, width: Any, n: Any, shifted: Any, temperature: str, _: Stages) -> None:
    """The nodes of it."""
    z = graph.add("Div", shifted.scores, temperature, name="z")
    e = graph.add("Exp", graph.add("Add", z, z, name="twice"), name="e_squared")
    total = graph.add("ReduceSum", e, graph.constant("last", np.array([-1])), name="total_squared", keepdims=1)
    p = graph.add("Div", e, graph.add("Max", total, graph.constant("one", np.array(1.0)), name="some"), name="p")
    width.output("probabilities", n, p)
    width.output("log_probabilities", n, graph.add("Log", p, name="log_p"))
    graphs.output_logsumexp(graph, n, graphs.sum_exponentials(graph, shifted, temperature, z))
    width.output("scores", n, shifted.scores, TensorProto.DOUBLE)


@pytest.fixture
def squared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Head:
    """A head of that family, as a file and loaded."""
    monkeypatch.setitem(FAMILIES, "squared", lambda _: Squared())
    monkeypatch.setitem(build.GRAPHS, "squared", squared_outputs)
    path = write(build.build(Stages(1.5, family=find_family("squared")), 3, Metadata()), tmp_path / "squared.onnx")
    return Head(path)


def test_a_family_is_checked_written_loaded_and_run(squared: Head) -> None:
    assert squared.signature.family.name == "squared"
    rows = Rows.from_logits(np.array([[1.0, 2.0, 4.0]]))
    found = squared.run(build_feed([rows], squared.temperature), ALL_OUTPUTS)
    p = np.exp(np.array([1.0, 2.0, 4.0]) * 2 / 1.5)
    assert np.allclose(found["probabilities"][0], p / p.sum(), atol=1e-7)
    assert squared.run_alone(rows, graph_bits(("probabilities",)))["probabilities"].tobytes() == (
        found["probabilities"].tobytes()
    )


def test_a_graph_that_differs_from_its_family_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "squared", lambda _: Squared())
    monkeypatch.setitem(build.GRAPHS, "squared", graphs.append_outputs)
    with pytest.raises(HeadError, match="further than"):
        write(build.build(Stages(1.5, family=find_family("squared")), 3, Metadata()), tmp_path / "squared.onnx")


def test_an_output_that_a_family_lacks_is_refused(squared: Head) -> None:
    with pytest.raises(InvalidValue, match="a head of the family squared has no entropy; expected probabilities"):
        graph_bits(("entropy",), squared.signature.family)
    assert graph_outputs(graph_bits(("entropy",))) == GRAPH_OUTPUTS[:2]


def test_a_file_of_an_unknown_family_is_named(tmp_path: Path) -> None:
    path = write(build.build(Stages(1.5), 3, Metadata()), tmp_path / "head.onnx")
    model = onnx.load(path)
    story = Metadata(classes=3, family="unheard").to_props()
    onnx.helper.set_model_props(model, story)
    onnx.save(model, path)
    with pytest.raises(HeadError, match="the family 'unheard' is unknown; expected softmax"):
        Head(path)


def test_a_family_is_one_object_however_it_is_asked_for() -> None:
    assert find_family("softmax") is find_family("softmax", None) is find_family("softmax", alpha=None)
