"""Golden values of published logits, and identities that hold for any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.datasets import files
from service.datasets.dataset import Dataset
from service.families import find_family
from service.heads.stages import Stages
from service.measures import metrics, scores
from service.measures.metrics import Ordered
from tests.calibration.conftest import drawn, published

GOLDEN = {
    "cifar10_resnet50_focalrepo": {
        "ece": 0.015516,
        "ece_mass": 0.015619,
        "ece_sweep": 0.015567,
        "debiased_l2": 0.030385,
        "ks": 0.014974,
        "classwise_ece": 0.004220,
        "smooth_ece": 0.015021,
        "mce": 0.148942,
        "brier": 0.080055,
        "nll": 0.175509,
        "accuracy": 0.9502,
    },
    "cifar100_vgg19_bn_chenyaofo": {
        "ece": 0.193840,
        "ece_mass": 0.193840,
        "ece_sweep": 0.193840,
        "debiased_l2": 0.257742,
        "ks": 0.193840,
        "classwise_ece": 0.004507,
        "smooth_ece": 0.234286,
        "mce": 0.572567,
        "brier": 0.444790,
        "nll": 1.799897,
    },
}


def ordered(data: Dataset) -> Ordered:
    found = scores.score(data, Stages().predict)
    return Ordered(found.confidence, found.correct, found.weights)


@pytest.mark.parametrize("name", GOLDEN)
def test_published_logits_give_the_golden_values(name: str) -> None:
    found = metrics.measure(scores.score(files.load(published() / f"{name}.npz")["test"], Stages().predict))
    assert {key: round(found[key], 6) for key in GOLDEN[name]} == GOLDEN[name]


def test_the_sweep_takes_the_golden_number_of_bins() -> None:
    for name, bins in (("cifar10_resnet50_focalrepo", 11), ("cifar100_vgg19_bn_chenyaofo", 8)):
        assert metrics.sweep_bins(ordered(files.load(published() / f"{name}.npz")["test"])) == bins


def test_mukhotis_table_is_reproduced() -> None:
    data = files.load(published() / "cifar10_resnet50_focalrepo.npz")["test"]
    before = metrics.measure(scores.score(data, Stages().predict))
    after = metrics.measure(scores.score(data, Stages(temperature=1.1).predict))
    assert (round(1 - before["accuracy"], 4), round(before["ece"], 5), round(after["ece"], 5)) == (
        0.0498,
        0.01552,
        0.00953,
    )


def test_equal_weights_change_nothing() -> None:
    data = drawn(1500)
    plain = metrics.measure(scores.score(data, Stages().predict))
    weighted = Dataset.from_arrays(data.logits, data.labels, weights=np.full(1500, 3.0))
    again = metrics.measure(scores.score(weighted, Stages().predict))
    for name, value in plain.items():
        assert again[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("name", ["nll", "brier", "accuracy", "ece", "mce", "ks", "classwise_ece"])
def test_a_weight_of_2_is_the_row_twice(name: str) -> None:
    data = drawn(300)
    weights = np.where(np.arange(300) < 50, 2.0, 1.0)
    weighted = Dataset.from_arrays(data.logits, data.labels, weights=weights)
    twice = data.take(np.concatenate([np.arange(300), np.arange(50)]))
    one, two = (metrics.measure(scores.score(rows, Stages().predict))[name] for rows in (weighted, twice))
    assert one == pytest.approx(two, abs=1e-12)


def test_a_row_of_weight_0_does_not_count() -> None:
    data = drawn(400)
    weights = np.r_[np.zeros(100), np.ones(300)]
    without = metrics.measure(scores.score(data.take(slice(100, None)), Stages().predict))
    weighted = metrics.measure(
        scores.score(Dataset.from_arrays(data.logits, data.labels, weights=weights), Stages().predict)
    )
    for name in ("nll", "brier", "ece", "aurc", "classwise_ece", "smooth_ece"):
        assert weighted[name] == pytest.approx(without[name], abs=1e-12), name


def test_masked_classes_have_no_part_in_any_metric() -> None:
    data = drawn(800, masked=True)
    assert data.mask is not None
    spoilt = Dataset.from_arrays(np.where(data.mask, data.logits, np.float32(np.nan)), data.labels, data.mask)
    assert metrics.measure(scores.score(spoilt, Stages().predict)) == metrics.measure(
        scores.score(data, Stages().predict)
    )


def test_the_brier_score_is_its_calibration_and_its_refinement() -> None:
    found = metrics.measure(scores.score(drawn(1000), Stages().predict))
    assert found["brier"] == pytest.approx(found["brier_calibration"] + found["brier_refinement"])


def test_a_confidence_of_exactly_1_falls_into_the_last_bin() -> None:
    rows = Ordered(np.array([0.5, 1.0]), np.array([True, True]), np.ones(2))
    assert rows.by_width().tolist()[-2:] == [1, 2]


def test_calibrated_logits_have_small_errors() -> None:
    found = metrics.measure(scores.score(drawn(20_000, temperature=1.0), Stages().predict))
    assert max(found[name] for name in ("ece", "ece_mass", "ks", "smooth_ece", "debiased_l2")) < 0.02


@settings(max_examples=25)
@given(seed=st.integers(0, 1000), n=st.integers(1, 60))
def test_every_metric_is_defined_for_any_number_of_rows(seed: int, n: int) -> None:
    found = metrics.measure(scores.score(drawn(n, 3, seed=seed), Stages().predict))
    assert all(np.isfinite(value) for value in found.values())


def test_the_order_of_the_rows_does_not_matter() -> None:
    data = drawn(500)
    plain = metrics.measure(scores.score(data, Stages().predict))
    turned = metrics.measure(scores.score(data.take(np.arange(500)[::-1]), Stages().predict))
    for name, value in plain.items():
        assert turned[name] == pytest.approx(value, abs=1e-9), name


def test_the_area_under_risk_coverage_of_a_perfect_ranking_is_small() -> None:
    correct = np.r_[np.zeros(10, bool), np.ones(90, bool)]
    perfect = metrics.aurc(Ordered(np.linspace(0, 1, 100), correct, np.ones(100)))
    inverted = metrics.aurc(Ordered(np.linspace(1, 0, 100), correct, np.ones(100)))
    assert perfect < 0.01 < 0.2 < inverted


def test_equal_confidences_share_their_mean_risk() -> None:
    rows = Ordered(np.full(4, 0.7), np.array([True, False, True, False]), np.ones(4))
    assert metrics.aurc(rows) == pytest.approx(0.5)


def test_intervals_hold_the_estimate_and_narrow_with_more_rows() -> None:
    few, many = (metrics.intervals(scores.score(drawn(n), Stages().predict), resamples=50) for n in (200, 5000))
    for name, (low, high) in many.items():
        assert low <= metrics.measure(scores.score(drawn(5000), Stages().predict))[name] <= high, name
    assert many["nll"][1] - many["nll"][0] < (few["nll"][1] - few["nll"][0]) / 2


def test_what_a_sparse_head_gave_0_counts_in_the_parts_of_its_brier_score() -> None:
    data = drawn(600, temperature=8.0)
    found = scores.score(data, Stages(family=find_family("sparsemax")).predict)
    p = np.exp(Stages(family=find_family("sparsemax")).predict(next(data.chunks(600))))
    expected = 0.0
    for k in range(5):
        bins = (np.ceil(p[:, k] * 15).astype(int) - 1).clip(0)
        for i in range(15):
            inside = bins == i
            if inside.any():
                expected += inside.sum() * (p[inside, k].mean() - (data.labels[inside] == k).mean()) ** 2 / 600
    measured = metrics.measure(found)
    assert np.isinf(found.nll).any()
    assert measured["brier_calibration"] == pytest.approx(expected, rel=1e-9)
    assert 0 < measured["brier_refinement"] < measured["brier"]


def test_out_of_fold_answers_measure_as_the_stages_that_gave_them() -> None:
    data = drawn(9000, masked=True)
    stages = Stages(1.5, family=find_family("sparsemax"))
    logs = np.concatenate([stages.predict(chunk) for chunk in data.chunks()])
    assert metrics.measure(scores.collect(data, scores.in_order(logs))) == metrics.measure(
        scores.score(data, stages.predict)
    )


def test_an_impossible_row_without_a_weight_is_no_trouble() -> None:
    data = drawn(50, temperature=20.0)
    weights = np.zeros(50)
    weights[:10] = 1
    weighted = Dataset.from_arrays(data.logits, data.labels, weights=weights)
    found = metrics.measure(scores.score(weighted, Stages(family=find_family("sparsemax")).predict))
    assert 0 <= found["impossible"] < 1
