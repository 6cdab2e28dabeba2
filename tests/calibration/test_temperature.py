"""The temperature against a scalar reference in float64, and what has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from service.calibration import temperature
from service.datasets import files
from service.datasets.dataset import Dataset
from service.errors import FitError
from tests.calibration.conftest import drawn, published, published_names

PRINTED = {
    "cifar10_resnet50_focalrepo": 1.0626,
    "iemocap4_final_psr": 3.8667,
    "cifar10_vgg19_bn_chenyaofo": 1.8549,
    "cifar100_vgg19_bn_chenyaofo": 2.1665,
    "agnews_gpt2": 1.3795,
    "pathmnist_resnet50": 3.9438,
    "cifar100_densenetbc100_netcal": 2.1578,
    "20news_cleanlab_probs": 0.6490,
    "imdb_cleanlab_probs": 1.7509,
    "spell1000_head": 1.1963,
}


def reference(data: Dataset) -> float:
    """Row by row, over the allowed classes alone, by a scalar optimiser."""
    weights = np.ones(data.n_rows) if data.weights is None else data.weights

    def loss(beta: float) -> float:
        total = 0.0
        for i, y in enumerate(data.labels):
            row = data.logits[i].astype(float)
            z = row if data.mask is None else np.where(data.mask[i], row, -np.inf)
            total += weights[i] * (np.log(np.exp(beta * (z - z.max())).sum()) - beta * (z[y] - z.max()))
        return total

    return 1 / float(minimize_scalar(loss, bounds=(0.05, 5), method="bounded", options={"xatol": 1e-10}).x)


@pytest.mark.parametrize("name", published_names())
def test_published_logits_give_the_printed_temperature(name: str) -> None:
    data = files.load(published() / f"{name}.npz")["val"]
    assert round(temperature.fit(data).value, 4) == PRINTED[name]


@pytest.mark.parametrize("masked", [False, True])
def test_the_fit_equals_a_reference_row_by_row(masked: bool) -> None:
    data = drawn(800, masked=masked)
    assert temperature.fit(data).value == pytest.approx(reference(data), rel=1e-5)


def test_a_weight_of_2_is_the_row_twice() -> None:
    data = drawn(600)
    weights = np.where(np.arange(600) < 100, 2.0, 1.0)
    twice = Dataset.from_arrays(
        np.concatenate([data.logits, data.logits[:100]]), np.concatenate([data.labels, data.labels[:100]])
    )
    weighted = Dataset.from_arrays(data.logits, data.labels, weights=weights)
    assert temperature.fit(weighted).value == pytest.approx(temperature.fit(twice).value, rel=1e-6)


def test_what_stands_under_the_mask_does_not_matter() -> None:
    data = drawn(500, masked=True)
    assert data.mask is not None
    spoilt = np.where(data.mask, data.logits, np.float32(np.nan))
    again = Dataset.from_arrays(spoilt, data.labels, data.mask)
    assert temperature.fit(again) == temperature.fit(data)


def test_a_class_without_a_score_is_a_masked_class() -> None:
    data = drawn(500, masked=True)
    assert data.mask is not None
    without = Dataset.from_arrays(np.where(data.mask, data.logits, np.float32(-np.inf)), data.labels)
    assert temperature.fit(without).value == pytest.approx(temperature.fit(data).value, rel=1e-9)


@settings(max_examples=20)
@given(factor=st.floats(0.001, 1000), shift=st.floats(-100, 100))
def test_logits_times_a_factor_have_that_factor_times_the_temperature(factor: float, shift: float) -> None:
    data = drawn(400)
    logits = data.logits.astype(np.float64) * factor + shift
    other = Dataset.from_arrays(logits, data.labels)
    assert temperature.fit(other).value == pytest.approx(temperature.fit(data).value * factor, rel=1e-5)


def test_the_standard_error_covers_the_truth() -> None:
    fits = [temperature.fit(drawn(1000, temperature=2.0, seed=seed)) for seed in range(60)]
    inside = [abs(fit.value - 2.0) < 1.96 * fit.error for fit in fits]
    assert 0.85 <= np.mean(inside) <= 1


def test_single_precision_sums_agree_with_double(monkeypatch: pytest.MonkeyPatch) -> None:
    data = drawn(3000, 20)
    double = temperature.fit(data).value
    monkeypatch.setattr(temperature, "SINGLE_PRECISION_FROM", 0)
    assert temperature.fit(data).value == pytest.approx(double, rel=2e-6)


def test_shuffled_labels_are_an_error() -> None:
    for seed in range(5):
        data = drawn(1000, seed=seed)
        shuffled = Dataset.from_arrays(data.logits, np.random.default_rng(seed).permutation(data.labels))
        with pytest.raises(FitError, match="the labels look shuffled"):
            temperature.fit(shuffled)


def test_labels_of_one_class_are_an_error() -> None:
    with pytest.raises(FitError, match="every label is 3; expected labels of at least 2 classes"):
        temperature.fit(Dataset.from_arrays(drawn(100).logits, np.full(100, 3)))


def test_rows_that_are_all_right_are_an_error() -> None:
    data = drawn(100)
    with pytest.raises(FitError, match="every row is right"):
        temperature.fit(Dataset.from_arrays(data.logits, data.logits.argmax(axis=1)))


def test_a_biased_head_whose_best_temperature_is_infinite_is_an_error() -> None:
    data = drawn(2000, 2)
    logits = data.logits + np.array([40, 0], np.float32)
    rare = data.labels == 1
    keep = rare | (np.arange(2000) % 20 == 0)
    with pytest.raises(FitError, match="the best temperature is infinite"):
        temperature.fit(Dataset.from_arrays(logits[keep], data.labels[keep]))


def test_saturated_logits_have_a_temperature() -> None:
    data = drawn(2000)
    assert temperature.fit(Dataset.from_arrays(data.logits * 1e4, data.labels)).value == pytest.approx(2e4, rel=0.1)


def test_thirty_rows_are_enough_for_a_temperature_with_a_wide_error() -> None:
    fit = temperature.fit(drawn(30))
    assert 0.5 < fit.value < 8
    assert fit.error > 0.1
