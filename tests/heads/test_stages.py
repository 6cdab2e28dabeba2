"""The parameters of a head."""

import math

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from service.errors import HeadError, UsedWrongly
from service.heads.softmax import build
from service.heads.stages import Stages
from service.metadata import Metadata


@pytest.mark.parametrize("bias", [None, np.array([0.1, -2.0, 1e-300])], ids=["plain", "bias"])
def test_what_was_built_in_reads_back(bias: NDArray[np.float64] | None) -> None:
    """To the bit."""
    stages = Stages.read(build(Stages(1 / 3, bias), 3, Metadata()))
    assert stages.temperature == 1 / 3
    assert (stages.bias is None) if bias is None else np.all(stages.bias == bias)


@pytest.mark.parametrize("temperature", [0, -1, math.nan, math.inf])
def test_a_temperature_is_finite_and_positive(temperature: float) -> None:
    """Anything else is refused before there is a graph."""
    with pytest.raises(UsedWrongly, match="expected a finite number > 0"):
        Stages(temperature)


@pytest.mark.parametrize("bias", [np.zeros((1, 3)), np.array([0, np.nan]), np.array([0, np.inf]), np.zeros(0)], ids=str)
def test_a_bias_is_one_finite_number_for_each_class(bias: NDArray[np.float64]) -> None:
    """An infinite bias would make NaN of a -inf logit."""
    with pytest.raises(UsedWrongly, match="expected one finite number for each class"):
        Stages(1.0, bias)


def test_a_graph_without_a_default_temperature_is_no_head() -> None:
    """It was not made here."""
    with pytest.raises(HeadError, match="no default for the input temperature"):
        Stages.read(onnx.ModelProto())
