"""Which calibrator is taken, and when none is."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from service.calibration import folds, methods, select
from service.calibration.methods import Method, Plan
from service.calibration.select import AUTO, Candidate, choose
from service.datasets import files
from service.datasets.dataset import Dataset
from service.errors import FitError
from service.heads.stages import Stages
from tests.calibration.conftest import drawn, published
from tests.calibration.test_affine import skewed

REACHED = {
    "agnews_gpt2": 0.6716,
    "iemocap4_final_psr": 1.0349,
    "cifar10_resnet50_focalrepo": 0.1673,
    "cifar10_vgg19_bn_chenyaofo": 0.2337,
    "pathmnist_resnet50": 0.1141,
    "20news_cleanlab_probs": 0.3500,
}
"""Test NLL of the study's best calibrator; the sets of 100 and 1,000 classes take too long for a test."""


@pytest.mark.parametrize("name", REACHED)
def test_auto_reaches_the_studys_best(name: str) -> None:
    parts = files.load(published() / f"{name}.npz")
    plan = choose(parts["val"], AUTO, laplace=None).plan
    assert plan is not None
    found = folds.negative_logs(methods.fit(parts["val"], plan), parts["test"]).mean()
    assert found <= REACHED[name] + 0.002


def test_logits_that_need_a_temperature_get_one() -> None:
    choice = choose(drawn(3000), AUTO, laplace=None)
    assert choice.plan is not None
    assert choice.plan.method == "temperature"


def test_stretched_and_shifted_classes_get_a_vector() -> None:
    choice = choose(skewed(4000), AUTO, laplace=None)
    assert choice.plan is not None
    assert choice.plan.method == "vector"


def test_the_comparison_is_paired_row_by_row() -> None:
    noise = np.random.default_rng(0).exponential(size=1000)
    rows = [noise + 0.01, noise]
    both: tuple[Method, ...] = ("temperature", "bias")
    found = [
        Candidate(Plan(method), size, float(nll.mean()), 0.0, 0.0, nll)
        for method, size, nll in zip(both, (1, 5), rows, strict=True)
    ]
    compared = select.compare(found, None)
    best = select.simplest(compared)
    assert best is not None
    assert best.method == "bias"


@pytest.mark.parametrize(("size", "method"), [(104, "matrix+top"), (106, "matrix")])
def test_hardly_more_parameters_are_as_simple(size: int, method: Method) -> None:
    gap = np.random.default_rng(0).standard_normal(1000)
    gap -= gap.mean() - 0.01
    noise = np.random.default_rng(1).exponential(size=1000)
    found = [
        Candidate(Plan("matrix"), 100, float((noise + gap).mean()), 0.0, 0.0, noise + gap),
        Candidate(Plan("matrix+top"), size, float(noise.mean()), 0.0, 0.0, noise),
    ]
    best = select.simplest(select.compare(found, None))
    assert best is not None
    assert best.method == method


def test_nothing_is_accepted_that_makes_the_likelihood_worse() -> None:
    choice = choose(drawn(400, temperature=1.0, seed=3), ["matrix"], laplace=False)
    before = choice.before
    assert all(one.nll >= before for one in choice.candidates) == (choice.plan is None)


def test_the_logits_as_they_are_win_over_a_fit_to_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    worse = Stages(method="vector", scale=np.full(5, 9.0), bias=np.zeros(5))
    monkeypatch.setattr(methods, "fit", lambda *_: worse)
    assert choose(drawn(500), ["vector"], laplace=False).plan is None


def test_fewer_than_50_rows_get_a_temperature_without_cross_validation() -> None:
    choice = choose(drawn(40), AUTO, laplace=None)
    assert choice.plan == Plan("temperature")
    assert choice.candidates == ()


def test_shuffled_labels_are_an_error_for_every_method() -> None:
    data = drawn(600)
    shuffled = replace(data, labels=np.random.default_rng(0).permutation(data.labels))
    every: tuple[Sequence[Method], ...] = (AUTO, ["vector"], ["entropy"])
    for wanted in every:
        with pytest.raises(FitError, match="the labels look shuffled"):
            choose(shuffled, wanted, laplace=None)


def test_a_biased_head_without_a_temperature_is_mended_by_a_bias() -> None:
    data = drawn(2000, 2)
    logits = data.logits + np.array([40, 0], np.float32)
    keep = (data.labels == 1) | (np.arange(2000) % 20 == 0)
    biased = Dataset.from_arrays(logits[keep], data.labels[keep])
    choice = choose(biased, AUTO, laplace=False)
    assert choice.plan is not None
    assert choice.plan.method != "temperature"


def test_a_matrix_for_many_classes_is_refused() -> None:
    random = np.random.default_rng(0)
    data = Dataset.from_arrays(random.standard_normal((60, 200)), random.integers(0, 200, 60))
    with pytest.raises(FitError, match="expected at most 128 classes, not 200"):
        choose(data, ["matrix"], laplace=False)


def test_out_of_fold_rows_are_answered_by_a_fit_that_has_not_seen_them() -> None:
    data = drawn(90)
    seen: list[set[float]] = []

    def fit(train: Dataset) -> Stages:
        seen.append(set(map(float, train.logits[:, 0])))
        return Stages(temperature=float(len(seen)))

    found = folds.fit(data, fit)
    logs = found.log_probabilities(data)
    for fold in range(folds.N_FOLDS):
        held = np.flatnonzero(found.of == fold)
        assert not seen[fold] & set(map(float, data.logits[held, 0]))
        expected = Stages(temperature=fold + 1.0).log_probabilities(data.logits[held], None)
        assert (logs[held] == expected).all()
