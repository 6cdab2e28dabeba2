"""A temperature for each group, on top of a calibrator."""

import numpy as np

from service.calibration import groups, methods
from service.calibration.methods import Plan
from service.datasets.dataset import Dataset
from tests.calibration.conftest import drawn
from tests.heads.running import head, run


def test_groups_have_their_own_temperature() -> None:
    parts = [drawn(1500, temperature=t, seed=seed) for seed, t in enumerate((1.0, 2.0, 4.0))]
    names = np.repeat(["a", "b", "c"], 1500)
    data = Dataset.from_arrays(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.labels for part in parts]), groups=names
    )
    fitted = groups.fit(data, methods.fit(data, Plan("temperature")))
    assert fitted.group_temperatures is not None
    assert np.allclose(fitted.temperature * fitted.group_temperatures, [1, 2, 4], rtol=0.1)
    assert data.groups is not None
    running = head(fitted, 5)
    found = run(running, logits=data.logits, group=data.groups[:, None] + 1)["log_probabilities"]
    wanted = fitted.log_probabilities(data.logits, None, data.groups)
    assert np.allclose(found, wanted, rtol=6e-8, atol=4e-6)


def test_a_group_of_few_rows_stays_near_the_common_temperature() -> None:
    logs = groups.shrink(np.array([1.0, 0.1, -0.1, 0.05]), np.array([1.0, 0.02, 0.02, 0.02]))
    assert abs(logs[0]) < 0.1
    assert logs[1] > 0.05


def test_groups_of_equal_temperature_are_pooled() -> None:
    data = drawn(3000)
    rows = Dataset.from_arrays(data.logits, data.labels, groups=np.arange(3000) % 5)
    factors = groups.fit(rows, methods.fit(rows, Plan("temperature"))).group_temperatures
    assert factors is not None
    assert np.abs(factors - 1).max() < 0.05
