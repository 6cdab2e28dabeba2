"""What was built into a graph reads back from it."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from service.errors import HeadError
from service.heads.build import build
from service.heads.reading import read_stages
from service.heads.reference import expected
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads.running import rows
from tests.heads.test_nodes import KINDS, stages


@pytest.mark.parametrize("bias", [None, np.array([0.1, -2.0, 1e-300])], ids=["plain", "bias"])
def test_what_was_built_in_reads_back(bias: NDArray[np.float64] | None) -> None:
    """To the bit."""
    found = read_stages(build(Stages(1 / 3, bias), 3, Metadata()))
    assert found.temperature == 1 / 3
    assert (found.bias is None) if bias is None else np.all(found.bias == bias)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks_first", [False, True])
def test_the_stages_read_back_from_the_file(kind: str, masks_first: bool) -> None:
    own = stages(kind, 7, masks_first=masks_first)
    read = read_stages(build(own, 7, Metadata()))
    logits, mask = rows(9, 7)
    t = np.full((9, 1), 1.3)
    one, two = (expected(which, logits, mask, t)["log_probabilities"] for which in (own, read))
    assert np.allclose(one.astype(float), two.astype(float), equal_nan=True)
    groups = np.arange(9) % 2
    one, two = (which.log_probabilities(logits, np.ones_like(mask), groups) for which in (own, read))
    assert np.allclose(one, two)


def test_a_graph_without_a_default_temperature_is_no_head() -> None:
    """It was not made here."""
    with pytest.raises(HeadError, match="no default for the input temperature"):
        read_stages(onnx.ModelProto())


def test_a_graph_without_a_constant_of_its_calibrator_is_no_head() -> None:
    model = build(stages("entropy", 4), 4, Metadata())
    constants = [tensor for tensor in model.graph.initializer if tensor.name != "entropy_floor"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)
    with pytest.raises(HeadError, match="lacks a constant of its calibrator"):
        read_stages(model)
