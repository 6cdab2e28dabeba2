"""One calibration of a sigmoid head: what is compared, chosen and proved."""

import numpy as np
import pytest

from service.calibration import multilabel
from service.calibration.multilabel import HALF, prove
from service.calibration.proof import change_sentence
from service.datasets.multilabel import MultiLabel
from service.errors import FitError
from service.heads.stages import Stages
from tests.calibration.multilabel import published_labels, tagged


def cooled(n: int = 600, seed: int = 0) -> MultiLabel:
    """Labels that one temperature of 3 explains."""
    random = np.random.default_rng(seed)
    z = random.standard_normal((n, 5)) * 2
    labels = random.random((n, 5)) < 1 / (1 + np.exp(-z))
    return MultiLabel.from_arrays((3 * z).astype(np.float32), labels)


def test_a_scale_and_a_bias_a_class_are_taken_where_they_are_clearly_better() -> None:
    proof = prove({"all": tagged(2000)})
    assert proof.choice.plan is not None
    assert proof.choice.plan.method == "vector"
    assert (proof.calibrator.method, proof.calibrator.n_parameters, proof.held_out) == ("vector", 8, "out of fold")
    assert [one.n_parameters for one in proof.choice.candidates] == [1, 8]
    metrics = proof.metrics()
    assert metrics["after"]["nll"] < min(metrics["before"]["nll"], proof.choice.candidates[0].nll)
    assert metrics["after"]["nll"] == pytest.approx(proof.choice.candidates[1].nll, rel=1e-12)


def test_one_temperature_is_taken_where_it_explains_the_labels() -> None:
    proof = prove({"all": cooled()})
    assert proof.calibrator.method == "temperature"
    assert proof.calibrator.temperature == pytest.approx(3, rel=0.1)
    assert proof.calibrator.n_parameters == 1


def test_logits_that_need_nothing_are_left_as_they_are() -> None:
    data = cooled(400, seed=4)
    calm = MultiLabel.from_arrays(data.logits / np.float32(3), data.targets)
    proof = prove({"all": calm}, ("vector",))
    assert proof.choice.plan is None
    assert (proof.calibrator.method, proof.calibrator.n_parameters) == ("none", 0)
    assert proof.metrics()["after"] == proof.metrics()["before"]


def test_what_is_measured_is_the_test_part_where_there_is_one() -> None:
    fitted, test = published_labels("pathmnist_resnet50")
    proof = prove({"val": fitted, "test": test})
    assert proof.held_out == "test"
    metrics = proof.metrics()
    assert round(metrics["before"]["bce"], 5) == 0.13844
    assert round(metrics["after"]["bce"], 5) == 0.04359
    for when, limits in proof.intervals().items():
        for name, (low, high) in limits.items():
            assert low <= metrics[when][name] <= high, name


def test_each_row_is_answered_by_a_fit_that_has_not_seen_it() -> None:
    data = tagged(300)
    fitted = multilabel.fit_folds(data, "vector")
    x = multilabel.held_out_scores(fitted, data)
    row = 7
    own = fitted.calibrators[fitted.of[row]]
    assert np.array_equal(x[row], own.scores(data.logits[[row]], None)[0])
    changed = data.targets.copy()
    changed[row] = ~changed[row]
    again = multilabel.fit_folds(MultiLabel.from_arrays(data.logits, changed), "vector")
    assert np.array_equal(multilabel.held_out_scores(again, data)[row], x[row])


def test_a_masked_fit_masks_first_and_measures_what_is_allowed() -> None:
    data = tagged(800, masked=True)
    proof = prove({"all": data})
    assert proof.calibrator.masks_first
    assert np.array_equal(proof.after.allowed, data.allowed)
    assert not proof.after.predicted[~data.allowed].any()


def test_with_few_rows_one_temperature_is_all_and_nothing_is_held_out() -> None:
    proof = prove({"all": tagged(40)})
    assert (proof.calibrator.method, proof.held_out, proof.choice.candidates) == ("temperature", "fitted", ())
    assert prove({"all": tagged(40)}, ("vector",)).calibrator.method == "vector"


def test_a_method_that_cannot_be_fitted_is_refused_with_its_reason() -> None:
    data = tagged(400)
    far = MultiLabel.from_arrays(data.logits + 40, data.targets)
    proof = prove({"all": far})
    assert proof.calibrator.method == "vector"
    ((method, reason),) = proof.choice.refused
    assert (method, "temperature of all classes is infinite" in reason) == ("temperature", True)
    with pytest.raises(FitError, match="the best temperature of all classes is infinite"):
        prove({"all": far}, ("temperature",))


def test_a_class_without_a_right_row_is_refused_where_a_scale_and_a_bias_are_wanted() -> None:
    data = tagged(400)
    labels = data.targets.copy()
    labels[:, 1] = False
    odd = MultiLabel.from_arrays(data.logits, labels, class_names=("a", "b", "c", "d"))
    with pytest.raises(FitError, match=r"class 1 \(b\) is right in no row; .* or --method temperature"):
        prove({"all": odd})
    assert prove({"all": odd}, ("temperature",)).calibrator.method == "temperature"


def test_thresholds_decide_what_is_predicted_as_serving_does() -> None:
    p = np.array([[0.25, 0.6]], np.float32)
    x = np.log(p.astype(np.float64) / (1 - p.astype(np.float64)))
    data = MultiLabel.from_arrays(x, np.array([[1, 0]]))
    assert multilabel.scored(x, data, HALF).predicted.tolist() == [[False, True]]
    assert multilabel.scored(x, data, np.array([0.25, 0.7], np.float32)).predicted.tolist() == [[True, False]]


def test_changes_count_labels() -> None:
    proof = prove({"all": tagged(800)})
    changes = proof.changes()
    changed = proof.before.predicted != proof.after.predicted
    assert changes["measured"] == 3200
    assert changes["changed"] == changed.sum() == changes["became_right"] + changes["became_wrong"]
    gain = (proof.after.predicted == proof.after.right).sum() - (proof.before.predicted == proof.before.right).sum()
    assert changes["became_right"] - changes["became_wrong"] == gain
    assert change_sentence(changes | {"changed": 0}, "label") == "no prediction changes in 3,200 labels"


def test_scores_are_those_of_the_stages() -> None:
    data = tagged(50)
    stages = Stages(bias=np.ones(4), slope=np.full(4, 2.0), family=multilabel.SIGMOID)
    assert multilabel.scores_of(stages, data) == pytest.approx(2.0 * data.logits + 1)
