"""A row's answer is bitwise the same alone and in anybody's batch."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from onnx import ModelProto, TensorProto, helper

from service.heads.build import build
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads.running import head, rows, run, session

WIDTHS = (1, 2, 3, 5, 7, 10, 13, 100, 1001)


@pytest.mark.parametrize("k", WIDTHS)
@pytest.mark.parametrize("kind", ["any number of classes", "known classes", "bias"])
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
def test_a_row_alone_and_in_a_batch_are_the_same_to_the_bit(k: int, kind: str, masked: bool) -> None:
    """All outputs, and what they are rounded from, for odd and even widths and batches."""
    bias = np.random.default_rng(1).normal(size=k) if kind == "bias" else None
    running = session(exposed(Stages(1.3, bias), None if kind == "any number of classes" else k))
    for n in (1, 2, 3, 5, 64):
        inputs = dict(zip(("logits", "mask"), rows(n, k, seed=n), strict=True))
        inputs["temperature"] = np.random.default_rng(n).uniform(0.3, 3, (n, 1))
        if not masked:
            del inputs["mask"]
        together = run(running, **inputs)
        for row in range(n):
            alone = run(running, **{name: values[row : row + 1] for name, values in inputs.items()})
            for name, values in alone.items():
                assert values[0].tobytes() == together[name][row].tobytes(), name


def exposed(stages: Stages, classes: int | None) -> ModelProto:
    """A head that also puts out the float64 tensors before the last rounding, which would hide a bit."""
    model = build(stages, classes, Metadata())
    for name in ("p", "log_p", "log_total"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, None))
    return model


def test_giving_the_defaults_changes_no_bit() -> None:
    """A mask of trues and the fitted temperature are what stands in the file."""
    logits, _ = rows(5, 7)
    running = head(Stages(1.3))
    given = run(running, logits=logits, mask=np.ones((5, 7), bool), temperature=np.full((5, 1), 1.3))
    for name, values in run(running, logits=logits).items():
        assert_array_equal(values, given[name])
