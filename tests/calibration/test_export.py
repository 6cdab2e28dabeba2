"""The head computes what the numpy model computes."""

from dataclasses import replace

import numpy as np
import pytest

from service.calibration import export, groups, methods
from service.calibration.calibrator import Calibrator
from service.calibration.methods import FORMS, Plan
from service.datasets import files
from service.datasets.dataset import Dataset
from tests.calibration.conftest import drawn, published, published_names
from tests.calibration.test_affine import PLANS, skewed
from tests.heads.running import head, run

RICHEST = (Plan("temperature"), Plan("bias"), *(Plan("matrix+entropy", form, laplace=1e-4) for form in FORMS))


def furthest(calibrator: Calibrator, data: Dataset, *, masked: bool) -> float:
    """The largest difference of a log-probability between head and model, float32 rounding of its size aside."""
    logits = np.asarray(data.logits[:2000], np.float32)
    mask = np.random.default_rng(0).random(logits.shape) < 0.5
    mask[:, 0] = True
    given = mask if masked else None
    running = head(export.stages(calibrator), data.n_classes)
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


def test_groups_have_their_own_temperature() -> None:
    parts = [drawn(1500, temperature=t, seed=seed) for seed, t in enumerate((1.0, 2.0, 4.0))]
    names = np.repeat(["a", "b", "c"], 1500)
    data = Dataset.checked(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.labels for part in parts]), groups=names
    )
    fitted = groups.fit(data, methods.fit(data, Plan("temperature")))
    assert fitted.group_temperatures is not None
    assert np.allclose(fitted.temperature * fitted.group_temperatures, [1, 2, 4], rtol=0.1)
    assert data.groups is not None
    running = head(export.stages(fitted), 5)
    found = run(running, logits=data.logits, group=data.groups[:, None] + 1)["log_probabilities"]
    wanted = fitted.log_probabilities(data.logits, None, data.groups)
    assert np.allclose(found, wanted, rtol=6e-8, atol=4e-6)


def test_a_group_of_few_rows_stays_near_the_common_temperature() -> None:
    logs = groups.shrunk(np.array([1.0, 0.1, -0.1, 0.05]), np.array([1.0, 0.02, 0.02, 0.02]))
    assert abs(logs[0]) < 0.1
    assert logs[1] > 0.05


def test_groups_of_equal_temperature_are_pooled() -> None:
    data = drawn(3000)
    rows = Dataset.checked(data.logits, data.labels, groups=np.arange(3000) % 5)
    factors = groups.fit(rows, methods.fit(rows, Plan("temperature"))).group_temperatures
    assert factors is not None
    assert np.abs(factors - 1).max() < 0.05
