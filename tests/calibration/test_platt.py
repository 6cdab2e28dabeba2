"""A scale and a bias a class: against scikit-learn, against published figures, and what cannot be fitted."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from service.calibration import platt
from service.datasets.dataset import Floats
from service.datasets.multilabel import MultiLabel
from service.errors import FitError
from service.measures.multilabel import MultiScores, measure
from tests.calibration.multilabel import published_labels, tagged

GOLDEN = {  # T; BCE as sent, with one T, with a scale and a bias a class under three ridges
    "cifar10_vgg19_bn_chenyaofo": (1.9438, 0.06654, 0.04347, 0.04207, 0.04204, 0.04227),
    "pathmnist_resnet50": (3.9550, 0.13844, 0.05995, 0.04359, 0.04422, 0.04648),
    "cifar100_vgg19_bn_chenyaofo": (2.0579, 0.02744, 0.01826, 0.01668, 0.01676, 0.01758),
}


def measured(x: Floats, data: MultiLabel) -> dict[str, float]:
    return measure(MultiScores.from_scores(np.asarray(x, np.float64), data.targets))


@pytest.mark.parametrize("name", GOLDEN)
def test_real_logits_give_the_published_figures_to_the_last_digit(name: str) -> None:
    fitted, test = published_labels(name)
    t, *losses = GOLDEN[name]
    found = platt.common_temperature(fitted)
    assert round(found, 4) == t
    answers = [test.logits, test.logits / found]
    for ridge in (1e-4, 1e-3, 1e-2):
        lines = platt.fit(fitted, ridge)
        answers.append(test.logits * lines.slope + lines.bias)
    assert [round(measured(x, test)["bce"], 5) for x in answers] == losses


def test_the_calibration_error_of_the_classes_falls_as_it_was_published() -> None:
    fitted, test = published_labels("cifar100_vgg19_bn_chenyaofo")
    lines = platt.fit(fitted, 0.0)
    answers = (test.logits, test.logits / platt.common_temperature(fitted), test.logits * lines.slope + lines.bias)
    assert [round(100 * measured(x, test)["ece_macro"], 3) for x in answers] == [0.451, 0.372, 0.245]


@pytest.mark.parametrize("seed", range(4))
def test_without_a_ridge_a_class_is_a_logistic_regression(seed: int) -> None:
    data = tagged(800, seed=seed)
    z, y = data.logits[:, 0].astype(np.float64), data.targets[:, 0]
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(z[:, None], y)
    expected = (float(peer.coef_[0, 0]), float(peer.intercept_[0]))
    assert platt.fit_line(z, y.astype(np.float64), 1.0, 0.0) == pytest.approx(expected, abs=2e-6)


def test_a_fit_finds_the_scale_and_the_bias_that_the_labels_were_drawn_with() -> None:
    data = tagged(40_000)
    lines = platt.fit(data)
    assert lines.slope == pytest.approx([0.5] * 4, abs=0.03)
    assert lines.bias == pytest.approx(np.linspace(-1, 1, 4), abs=0.06)


def test_the_common_temperature_is_where_the_loss_is_least() -> None:
    data = tagged(2000)
    t = platt.common_temperature(data)
    losses = [measured(data.logits / (t * factor), data)["bce"] for factor in (0.999, 1, 1.001)]
    assert min(losses) == losses[1]


def test_a_masked_cell_changes_nothing() -> None:
    data = tagged(600, masked=True)
    assert data.mask is not None
    spoilt = MultiLabel.from_arrays(np.where(data.mask, data.logits, 1e9), data.targets, data.mask)
    for one, other in zip(platt.fit(data), platt.fit(spoilt), strict=True):
        assert np.array_equal(one, other)
    assert platt.common_temperature(data) == platt.common_temperature(spoilt)


def test_a_class_that_separates_has_a_finite_scale() -> None:
    z = np.linspace(-3, 3, 60)[:, None].astype(np.float32)
    lines = platt.fit(MultiLabel.from_arrays(z, z > 0))
    assert 1 < lines.slope[0] < 1000


def test_a_bias_that_no_temperature_mends_is_still_found() -> None:
    data = tagged(5000)
    far = MultiLabel.from_arrays(data.logits + 40, data.targets)
    with pytest.raises(FitError, match="the best temperature of all classes is infinite"):
        platt.common_temperature(far)
    lines = platt.fit(far, 1e-9)
    assert lines.slope == pytest.approx([0.5] * 4, abs=0.06)
    assert lines.bias + 20 == pytest.approx(np.linspace(-1, 1, 4), abs=0.3 * 20)


def test_labels_without_a_mistake_have_no_temperature() -> None:
    z = np.linspace(-3, 3, 60)[:, None].astype(np.float32)
    with pytest.raises(FitError, match="so the best temperature is 0; expected some mistakes"):
        platt.common_temperature(MultiLabel.from_arrays(z, z > 0))


@pytest.mark.parametrize(("label", "where"), [(0, "right in no row"), (1, "right in every row that allows it")])
def test_a_class_that_is_always_or_never_right_is_named(label: int, where: str) -> None:
    data = tagged(100)
    labels = data.targets.copy()
    labels[:, 2] = label
    with pytest.raises(FitError, match=f"class 2 is {where}; expected rows where it is and rows where it is not"):
        platt.check_classes(MultiLabel.from_arrays(data.logits, labels))


def test_shuffled_labels_and_columns_in_another_order_are_refused() -> None:
    data = tagged(1000)
    platt.check_evidence(data)
    shuffled = data.targets[np.random.default_rng(0).permutation(1000)]
    for labels in (shuffled, np.roll(data.targets, 1, axis=1)):
        with pytest.raises(FitError, match=r"the labels look shuffled: right classes are on average .* the same order"):
            platt.check_evidence(MultiLabel.from_arrays(data.logits, labels))


def test_a_few_rows_are_called_few() -> None:
    data = tagged(1000)
    rows = data.take(np.arange(3))
    with pytest.raises(FitError, match="3 rows are too few to tell these labels from shuffled ones"):
        platt.check_evidence(MultiLabel.from_arrays(rows.logits, ~rows.targets))


def test_a_bias_of_the_logits_is_no_evidence_of_anything() -> None:
    random = np.random.default_rng(5)
    p = expit(np.linspace(-3, 3, 6))
    labels = random.random((4000, 6)) < p
    logits = random.standard_normal((4000, 6)) + np.linspace(-3, 3, 6)
    with pytest.raises(FitError, match="look shuffled"):
        platt.check_evidence(MultiLabel.from_arrays(logits, labels))
