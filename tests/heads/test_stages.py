"""The parameters of a head, and what the numpy model makes of them: what the graph computes."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.calibration import methods
from service.calibration.methods import FORMS, Plan
from service.datasets import files
from service.datasets.dataset import Dataset
from service.errors import UsedWrongly
from service.heads.reference import expected
from service.heads.stages import Stages
from tests.calibration.conftest import published, published_names
from tests.calibration.test_affine import PLANS, skewed
from tests.heads.running import head, rows, run
from tests.heads.test_nodes import KINDS, stages

RICHEST = (Plan("temperature"), Plan("bias"), *(Plan("matrix+entropy", form, laplace=1e-4) for form in FORMS))


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


def test_neither_stages_nor_fits_need_onnx() -> None:
    code = "import sys, service.heads.stages, service.calibration.select; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks_first", [False, True])
def test_the_numpy_model_equals_the_reference(kind: str, masks_first: bool) -> None:
    """Two who were written independently, in float64 and in the widest float there is."""
    own = stages(kind, 6, masks_first=masks_first)
    logits, mask = rows(40, 6)
    mask[:, 0] = True
    wanted = expected(own, logits, mask, np.full((40, 1), own.temperature))["log_probabilities"].astype(np.float64)
    assert np.allclose(own.log_probabilities(logits, mask), wanted, rtol=1e-12, atol=1e-12)


def furthest(calibrator: Stages, data: Dataset, *, masked: bool) -> float:
    """The largest difference of a log-probability between head and model, float32 rounding of its size aside."""
    logits = np.asarray(data.logits[:2000], np.float32)
    mask = np.random.default_rng(0).random(logits.shape) < 0.5
    mask[:, 0] = True
    given = mask if masked else None
    running = head(calibrator, data.n_classes)
    found = run(running, logits=logits, **({"mask": mask} if masked else {}))["log_probabilities"]
    wanted = calibrator.log_probabilities(logits, given)
    there = np.isfinite(wanted)
    assert (np.isfinite(found) == there).all()
    return float((np.abs(found[there] - wanted[there]) - 6e-8 * np.abs(wanted[there])).max())


@pytest.mark.parametrize("plan", [replace(plan, laplace=mix) for plan in PLANS for mix in (0.0, 1e-3)], ids=str)
@pytest.mark.parametrize("masked_fit", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_head_equals_the_model(plan: Plan, masked_fit: bool, masked: bool) -> None:
    data = skewed(400, masked=masked_fit)
    assert furthest(methods.fit(data, plan), data, masked=masked) < 4e-6


@pytest.mark.parametrize("name", published_names())
@pytest.mark.parametrize("plan", RICHEST, ids=lambda plan: f"{plan.method} {plan.form}")
@pytest.mark.parametrize("masked", [False, True])
def test_the_head_equals_the_model_on_published_logits(name: str, plan: Plan, masked: bool) -> None:
    data = files.load(published() / f"{name}.npz")["val"].take(slice(None, None, 5))
    if data.n_classes > 128 and plan.shape == "matrix":
        plan = replace(plan, method="vector+entropy")
    assert furthest(methods.fit(data, plan), data, masked=masked) < 4e-6
