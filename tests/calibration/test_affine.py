"""The affine calibrators: gradients, identities, and what a mask does to them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.calibration import affine, methods
from service.calibration.affine import Shape
from service.calibration.folds import negative_logs
from service.calibration.methods import FORMS, Plan
from service.datasets.dataset import Dataset
from service.heads.stages import Stages
from tests.calibration.conftest import drawn

PLANS = [
    Plan("temperature"),
    Plan("bias"),
    *(Plan(method, form) for method in ("vector", "matrix", "vector+entropy", "matrix+entropy") for form in FORMS),
    Plan("entropy"),
]  # fmt: skip


def skewed(n: int = 2000, seed: int = 0, masked: bool = False) -> Dataset:
    """Logits that a temperature alone cannot mend: each class stretched and shifted."""
    data = drawn(n, 4, seed=seed, masked=masked)
    return replace(
        data,
        logits=data.logits * np.array([1, 0.6, 1.4, 1], np.float32) + np.array([2, 0, -1, 0], np.float32),
    )


@pytest.mark.parametrize("shape", ["bias", "vector", "matrix"])
@pytest.mark.parametrize("laplace", [0.0, 0.05])
@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_the_slope_of_the_value(shape: Shape, laplace: float, masked: bool) -> None:
    data = skewed(60, masked=masked)
    x = affine.inputs(data, 2.0, "centred", masks_first=masked)
    problem = affine.Problem(x, shape, 0.1, 0.2, laplace)
    at = np.random.default_rng(0).standard_normal(problem.size) * 0.1
    if shape == "matrix":
        at[2 * 4 :: 5] = 0
    value, gradient = problem.value(at)
    for i in range(problem.size):
        step = np.zeros(problem.size)
        step[i] = 1e-6
        if shape == "matrix" and i >= 8 and (i - 8) % 5 == 0:
            assert gradient[i] == 0
            continue
        slope = (problem.value(at + step)[0] - problem.value(at - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, abs=1e-7)
    assert np.isfinite(value)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_fit_does_better_than_the_simpler_one_on_its_own_rows(plan: Plan) -> None:
    data = skewed()
    fitted = negative_logs(methods.fit(data, replace(plan, multiplier=0.01)), data).mean()
    assert fitted <= negative_logs(methods.fit(data, Plan("temperature")), data).mean() + 1e-9


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_adding_a_number_to_a_row_changes_nothing(plan: Plan) -> None:
    data = skewed(300)
    calibrator = methods.fit(data, plan)
    shifted = data.logits.astype(np.float64) + np.linspace(-50, 50, 300)[:, None]
    before = calibrator.log_probabilities(data.logits, None)
    assert np.allclose(calibrator.log_probabilities(shifted, None), before, atol=1e-5)


@pytest.mark.parametrize("plan", [Plan("temperature"), Plan("entropy")], ids=str)
def test_temperatures_keep_the_ranking(plan: Plan) -> None:
    data = skewed(500)
    ranked = methods.fit(data, plan).log_probabilities(data.logits, None).argsort(axis=1)
    assert (ranked == data.logits.argsort(axis=1)).all()


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_mask_only_takes_classes_away_from_a_fit_without_masks(plan: Plan) -> None:
    data = skewed(300)
    calibrator = methods.fit(data, plan)
    mask = np.random.default_rng(1).random(data.logits.shape) < 0.7
    mask[:, 0] = True
    p, under = (np.exp(calibrator.log_probabilities(data.logits, m)) for m in (None, mask))
    kept = np.where(mask, p, 0)
    assert np.allclose(under, kept / kept.sum(axis=1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
def test_a_fit_with_masks_never_reads_what_is_masked(plan: Plan, garbage: float) -> None:
    data = skewed(300, masked=True)
    assert data.mask is not None
    calibrator = methods.fit(data, plan)
    spoilt = np.where(data.mask, data.logits, np.float32(garbage))
    again = methods.fit(replace(data, logits=spoilt), plan)
    expected = calibrator.log_probabilities(data.logits, data.mask)
    assert (again.log_probabilities(spoilt, data.mask) == expected).all()


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_a_class_without_a_score_poisons_no_other(plan: Plan) -> None:
    data = skewed(300)
    calibrator = methods.fit(data, plan)
    logits = data.logits.copy()
    logits[:, 2] = -np.inf
    logs = calibrator.log_probabilities(logits, None)
    assert np.isneginf(logs[:, 2]).all()
    assert np.allclose(np.exp(logs).sum(axis=1), 1)


def test_a_matrix_without_off_diagonal_is_a_scale() -> None:
    data = skewed(200)
    scale, bias = np.array([1.0, 2, 0.5, 1]), np.array([0.1, 0, 0, -1])
    one = Stages(method="vector", scale=scale, bias=bias).log_probabilities(data.logits, None)
    other = Stages(method="matrix", matrix=np.diag(scale), bias=bias).log_probabilities(data.logits, None)
    assert np.allclose(one, other, atol=1e-12)


def test_a_centred_fit_folds_into_a_linear_head() -> None:
    data = skewed(400)
    fitted = methods.fit(data, Plan("matrix", "centred"))
    assert fitted.matrix is not None
    assert fitted.bias is not None
    centring = np.eye(4) - 1 / 4
    logits = data.logits.astype(np.float64) @ (fitted.matrix @ centring).T + fitted.bias
    folded = Stages().log_probabilities(logits, None)
    assert np.allclose(folded, fitted.log_probabilities(data.logits, None), atol=1e-9)


def test_a_stronger_ridge_leaves_smaller_parameters() -> None:
    x = affine.inputs(skewed(), 2.0, "centred", masks_first=False)
    sizes = [np.abs(affine.fit(x, "vector", m).v).sum() for m in (0.01, 1, 100)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_fit_is_deterministic() -> None:
    data = skewed(500)
    one, two = (methods.fit(data, Plan("matrix+entropy", "log_softmax")) for _ in range(2))
    assert (one.log_probabilities(data.logits, None) == two.log_probabilities(data.logits, None)).all()


def test_weights_count_as_rows_where_the_ridge_is_small() -> None:
    data = skewed(400)
    twice = Dataset.from_arrays(np.tile(data.logits, (2, 1)), np.tile(data.labels, 2), weights=np.full(800, 0.5))
    one, two = (methods.fit(rows, Plan("vector", "centred", 1e-9)) for rows in (data, twice))
    assert one.scale is not None
    assert two.scale is not None
    assert np.allclose(one.scale, two.scale, atol=1e-3)


@settings(max_examples=15)
@given(laplace=st.floats(1e-6, 0.5), seed=st.integers(0, 99))
def test_the_laplace_mix_sums_to_1_and_leaves_a_share_to_every_allowed_class(laplace: float, seed: int) -> None:
    data = drawn(50, 4, seed=seed, masked=True)
    assert data.mask is not None
    p = np.exp(Stages(laplace=laplace).log_probabilities(data.logits, data.mask))
    assert np.allclose(p.sum(axis=1), 1)
    share = laplace / data.mask.sum(axis=1, keepdims=True)
    assert (p[data.mask] >= np.broadcast_to(share, p.shape)[data.mask] * (1 - 1e-12)).all()
    assert (p[~data.mask] == 0).all()


def test_the_laplace_mix_decides_on_saturated_probabilities() -> None:
    data = drawn(1000)
    saturated = data.logits.copy()
    wrong = np.arange(0, 1000, 50)
    saturated[wrong, data.labels[wrong]] = -60
    rows = Dataset.from_arrays(saturated, data.labels)
    plain, mixed = (methods.fit(rows, Plan("temperature", laplace=mix)) for mix in (0.0, 1 / 1001))
    assert negative_logs(mixed, rows).mean() < negative_logs(plain, rows).mean() - 0.1
