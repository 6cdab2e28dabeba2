"""The proof of a calibration: what is kept from cross-validation, what changes, and the curve for later."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.calibration import methods
from service.calibration.proof import Proof, Wanted, change_sentence, prove
from service.calibration.select import AUTO
from service.errors import FitError
from service.heads.stages import Stages
from service.measures.curve import ReferenceCurve
from tests.calibration.conftest import drawn
from tests.calibration.test_affine import skewed
from tests.calibration.test_top import bent


def test_what_cross_validation_has_fitted_is_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data = bent(3000)
    seen: list[tuple[float, methods.Plan]] = []
    fit_below = methods.fit_below

    def count(rows: Any, plan: methods.Plan, *more: Any) -> Stages:
        seen.append((float(rows.logits.sum()), plan))
        return fit_below(rows, plan, *more)

    monkeypatch.setattr(methods, "fit_below", count)
    proof = prove({"all": data}, Wanted(AUTO))
    assert proof.choice.plan is not None
    assert proof.choice.plan.has_top
    assert len(seen) == len(set(seen))


def test_the_answers_of_the_proof_are_those_of_the_folds_with_their_stages() -> None:
    data = bent(3000)
    proof = prove({"all": data}, Wanted(("temperature+top",)))
    folds = proof.choice.folds
    assert folds is not None
    assert folds.top == proof.calibrator.top
    assert len({one.top for one in folds.calibrators}) == 3
    logs = folds.log_probabilities(data)
    assert proof.held_out == "out of fold"
    assert np.allclose(proof.after.nll, -logs[np.arange(3000), data.labels], atol=1e-12)


def test_changed_predictions_are_counted_with_what_they_become() -> None:
    proof = prove({"all": skewed(2000)}, Wanted(("vector",)))
    changes = proof.changes()
    before, after = proof.before, proof.after
    assert changes["measured"] == 2000
    assert changes["changed"] == (before.predictions != after.predictions).sum() > 100
    gain = changes["became_right"] - changes["became_wrong"]
    assert gain == after.correct.sum() - before.correct.sum() > 0
    calm = prove({"all": bent(600)}, Wanted(("temperature+top",))).changes()
    assert calm == {"measured": 600, "changed": 0, "became_right": 0, "became_wrong": 0}


def curve_of(proof: Proof) -> ReferenceCurve:
    assert proof.curve is not None
    return proof.curve


def test_the_curve_is_of_out_of_fold_answers_of_the_whole_chain_whatever_is_measured() -> None:
    """A top-label stage makes it the diagonal; rows to test on do not move it."""
    data = bent(6000)
    plain, mended = (prove({"all": data}, Wanted((method,))) for method in ("temperature", "temperature+top"))
    at = [0.35, 0.5, 0.9]
    assert np.abs(curve_of(mended).accuracy(at) - at).max() < 0.03
    assert np.abs(curve_of(plain).accuracy(at) - at).max() > 0.04
    tested = prove({"val": data, "test": drawn(500)}, Wanted(("temperature+top",)))
    assert tested.held_out == "test"
    assert curve_of(tested) == curve_of(mended)


def test_rows_too_few_to_answer_any_out_of_fold_have_no_curve() -> None:
    assert prove({"all": drawn(20)}, Wanted(AUTO)).curve is None


@pytest.mark.parametrize("n", [50, 200, 500])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_few_rows_get_an_answer_from_auto(n: int, classes: int, masked: bool) -> None:
    data, fresh = drawn(n, classes, masked=masked), drawn(4000, classes, seed=1, masked=masked)
    try:
        proof = prove({"val": data, "test": fresh}, Wanted(AUTO))
    except FitError as error:
        assert (n, masked) == (50, True)
        assert "the labels look shuffled" in str(error)  # noqa: PT017 - 50 rows under a mask may say too little
        return
    assert proof.after.nll.mean() < proof.before.nll.mean() + 0.02
    assert (proof.after.confidence <= 1).all()


def test_rows_that_are_all_right_are_no_ground_for_a_fit_and_a_few_mistakes_are() -> None:
    data = drawn(600)
    labels = data.logits.argmax(axis=1)
    with pytest.raises(FitError, match="every row is right"):
        prove({"all": replace(data, labels=labels)}, Wanted(AUTO))
    labels[::50] = (labels[::50] + 1) % 5
    proof = prove({"all": replace(data, labels=labels)}, Wanted(("temperature+top",)))
    assert proof.after.correct.sum() == 588
    assert (curve_of(proof).accuracy([0.5, 0.99]) <= 1).all()
    assert np.isfinite(curve_of(proof).error([0.5, 0.99])).all()


def test_a_group_of_30_rows_stands_below_the_stage() -> None:
    data = bent(3000)
    groups = np.where(np.arange(3000) < 30, 0, 1)
    data = replace(data, groups=groups, group_names=("few", "many"))
    proof = prove({"all": data}, Wanted(("temperature+top",), grouped=True))
    fitted = proof.calibrator
    assert fitted.top is not None
    assert fitted.group_temperatures is not None
    assert fitted.group_temperatures.shape == (2,)
    assert (proof.after.predictions == proof.before.predictions).all()


@pytest.mark.parametrize(
    ("changed", "right", "wrong", "sentence"),
    [
        (0, 0, 0, "no prediction changes in 5,000 rows"),
        (1, 1, 0, "1 prediction of 5,000 changes (0.02 %): 1 becomes right, 0 wrong"),
        (1234, 1020, 15, "1,234 predictions of 5,000 change (24.68 %): 1,020 become right, 15 wrong"),
    ],
)
def test_how_many_predictions_change_is_a_sentence(changed: int, right: int, wrong: int, sentence: str) -> None:
    changes = {"measured": 5000, "changed": changed, "became_right": right, "became_wrong": wrong}
    assert change_sentence(changes) == sentence
