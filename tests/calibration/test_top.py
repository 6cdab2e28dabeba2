"""The fit of the top-label stage: what it mends, what it leaves alone, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from service.calibration import folds, groups, methods, select, top
from service.calibration.folds import negative_logs
from service.calibration.methods import METHODS, Method, Plan
from service.calibration.top import TopRows
from service.datasets import files
from service.datasets.dataset import Dataset
from service.errors import FitError
from service.heads.stages import Stages
from service.heads.top import TopLabel
from service.measures.metrics import measure
from service.measures.scores import score
from tests.calibration.conftest import drawn, published
from tests.calibration.test_affine import skewed

BENT = TopLabel(-3.3, (0.8, 0.4, 1.6), (0.5, 2.0))


def bent(n: int, seed: int = 0, masked: bool = False) -> Dataset:
    """Labels drawn from what `BENT` makes of the logits: a curve that no temperature has."""
    random = np.random.default_rng(seed)
    logits = (random.standard_normal((n, 5)) * 2).astype(np.float32)
    mask = random.random((n, 5)) < 0.7 if masked else None
    if mask is not None:
        mask[np.arange(n), random.integers(0, 5, n)] = True
    p = np.exp(Stages(top=BENT).log_probabilities(logits, mask))
    labels = (p.cumsum(axis=1) > random.random((n, 1)) * p.sum(axis=1, keepdims=True)).argmax(axis=1)
    return Dataset.from_arrays(logits, labels, mask)


@pytest.mark.parametrize("masked", [False, True])
def test_a_bent_confidence_is_found_and_mended(masked: bool) -> None:
    data, fresh = bent(8000, masked=masked), bent(20_000, 1, masked)
    choice = select.choose(data, select.AUTO, laplace=None)
    assert choice.plan is not None
    assert choice.plan.method == "temperature+top"
    fitted = methods.fit(data, choice.plan)
    plain, mended = (measure(score(fresh, one.predict)) for one in (replace(fitted, top=None), fitted))
    assert mended["ece"] < 0.75 * plain["ece"]
    assert mended["nll"] < plain["nll"] - 0.003
    assert mended["accuracy"] == plain["accuracy"]


def test_the_fit_is_the_optimum_of_the_penalised_likelihood() -> None:
    random = np.random.default_rng(0)
    odds = random.normal(2, 2, 500)
    right = (random.random(500) < 1 / (1 + np.exp(-odds / 2))).astype(float)
    basis = np.stack([np.ones(500), odds, np.maximum(odds - 1, 0), np.maximum(odds - 3, 0)], axis=1)
    weights = random.uniform(0.5, 2, 500)
    found = top.regress(basis, right, weights)
    deviation = np.array([1, *basis[:, 1:].std(axis=0)])
    slope = basis.T @ (weights * (1 / (1 + np.exp(-(basis @ found))) - right))
    assert np.allclose(slope + deviation**2 * (found - top.IDENTITY), 0, atol=1e-4)


def test_the_losses_of_the_rows_are_those_of_the_calibrator_with_the_stage() -> None:
    data = drawn(300, 4, masked=True)
    plain = Stages(1.3, laplace=0.01)
    rows = TopRows.of(data, plain)
    assert np.isinf(rows.odds).any()
    assert np.allclose(top.negative_logs(BENT, rows), negative_logs(replace(plain, top=BENT), data), atol=1e-12)


def test_surer_rows_that_are_less_often_right_are_refused() -> None:
    odds = np.repeat([0.5, 1.5, 3.0], 100)
    right = np.concatenate([np.arange(100) < share for share in (50, 90, 40)])
    rows = TopRows(odds, odds - 9, right, np.zeros(300), np.ones(300))
    with pytest.raises(FitError, match=r"a slope of the top-label stage is -.*expected none below 0"):
        top.fit(rows)


def test_rows_with_one_class_left_say_nothing() -> None:
    data = bent(600)
    rows = TopRows.of(data, Stages())
    alone = replace(data, mask=np.eye(5, dtype=bool)[data.labels])
    both = TopRows.joined([rows, TopRows.of(alone, Stages())])
    assert top.fit(both) == top.fit(rows)
    with pytest.raises(FitError, match="0 rows are too few for a top-label stage"):
        top.fit(TopRows.of(alone, Stages()))


def test_the_stage_of_a_fold_has_not_seen_the_rows_of_the_fold() -> None:
    data = bent(900)
    plain = folds.fit(data, lambda _: Stages())
    before = plain.with_top(data)
    first = (plain.of == 0) & (np.arange(900) % 5 == 0)
    spoilt = replace(data, labels=np.where(first, (data.labels + 1) % 5, data.labels))
    after = plain.with_top(spoilt)
    assert before.calibrators[0].top == after.calibrators[0].top
    assert before.calibrators[1].top != after.calibrators[1].top


def test_calibrated_logits_are_left_alone() -> None:
    """Labels drawn from the probabilities, 20 times: the stage is taken twice at most, and the ECE stays."""
    chosen = 0
    for seed in range(20):
        data, fresh = drawn(2000, temperature=1.0, seed=seed), drawn(4000, temperature=1.0, seed=100 + seed)
        choice = select.choose(data, select.AUTO, laplace=None)
        if choice.plan is None or not choice.plan.has_top:
            continue
        chosen += 1
        fitted = methods.fit(data, choice.plan)
        before, after = (measure(score(fresh, one.predict))["ece"] for one in (replace(fitted, top=None), fitted))
        assert after < before + 0.001
    assert chosen <= 2


@pytest.mark.parametrize("n", [50, 200, 500])
@pytest.mark.parametrize("classes", [2, 5])
def test_few_rows_get_a_stage_that_is_not_worse_or_a_reason(n: int, classes: int) -> None:
    data, fresh = drawn(n, classes), drawn(5000, classes, seed=1)
    try:
        fitted = methods.fit(data, Plan("temperature+top"))
    except FitError as error:
        assert "expected none below 0" in str(error)  # noqa: PT017 - either is an answer
        return
    plain, mended = (negative_logs(one, fresh).mean() for one in (replace(fitted, top=None), fitted))
    assert mended < plain + 0.03
    choice = select.choose(data, select.AUTO, laplace=None)
    assert choice.plan is None or not choice.plan.has_top


def test_fewer_than_50_rows_are_too_few_for_a_stage() -> None:
    with pytest.raises(FitError, match=r"40 rows are too few for temperature\+top; expected 50 or more"):
        select.choose(drawn(40), ["temperature+top"], laplace=False)


def test_a_method_that_is_asked_for_and_not_admissible_says_why() -> None:
    data = bent(2000)
    worst = np.argsort(-TopRows.of(data, Stages()).odds)[:600]
    labels = data.labels.copy()
    labels[worst] = (labels[worst] + 1 + np.arange(600) % 4) % 5
    with pytest.raises(FitError, match="expected none below 0"):
        select.choose(replace(data, labels=labels), ["temperature+top"], laplace=False)


def test_what_was_not_admissible_is_told_with_its_reason() -> None:
    data = files.load(published() / "agnews_gpt2.npz")["val"]
    refused = dict(select.choose(data, select.AUTO, laplace=None).refused)
    assert "expected none below 0" in refused["temperature+top"]


@pytest.mark.parametrize("method", [method for method in METHODS if Plan(method).has_top])
def test_every_calibrator_bears_the_stage_with_masks(method: Method) -> None:
    data = skewed(1500, masked=True)
    plan = Plan(method, None if Plan(method).shape in (None, "bias") else "centred")
    fitted = methods.fit(data, plan)
    assert (fitted.method, fitted.top is not None) == (method, True)
    plain = replace(fitted, top=None)
    before, after = (one.log_probabilities(data.logits, data.mask) for one in (plain, fitted))
    assert (before.argmax(axis=1) == after.argmax(axis=1)).all()
    assert np.allclose(np.exp(after).sum(axis=1), 1)
    assert fitted.n_parameters == plain.n_parameters + 4


def test_a_small_group_keeps_its_temperature_below_the_stage() -> None:
    data = bent(2000)
    small = np.where(np.arange(2000) < 30, "few", "many")
    data = Dataset.from_arrays(data.logits, data.labels, groups=small)

    def below(rows: Dataset) -> Stages:
        return groups.fit(rows, methods.fit(rows, Plan("temperature")))

    fitted = folds.with_top(below(data), folds.fit(data, below).with_top(data).top)
    assert fitted.group_temperatures is not None
    logs = fitted.log_probabilities(data.logits, None, data.groups)
    assert np.allclose(np.exp(logs).sum(axis=1), 1)
    assert (logs.argmax(axis=1) == data.logits.argmax(axis=1)).all()
