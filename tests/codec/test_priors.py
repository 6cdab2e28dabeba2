"""Other class frequencies, and rows that are better left alone, in every family and over both protocols."""

from typing import Any

import numpy as np
import pytest

from service.codec.priors import read_prior
from service.engine.signature import Signature
from service.errors import InvalidValue
from service.families import find_family
from tests.conftest import Running
from tests.transports.infer import outputs, post, tensor, wanted

ROWS = [[2.0, 1.0, 0.5], [0.1, 0.2, 3.0]]
NEW, OLD = [0.2, 0.3, 0.5], [0.5, 0.25, 0.25]


def predicted(running: Running, model: str, **body: Any) -> Any:
    response = running.predict({"logits": ROWS, "outputs": ["probabilities", "prediction"], **body}, model)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("model", ["softmax", "sparsemax", "entmax15", "entmax-1.25"])
def test_each_probability_is_multiplied_by_new_over_old_and_shared_out_anew(families: Running, model: str) -> None:
    before = np.array(predicted(families, model, temperature=2)["probabilities"])
    after = predicted(families, model, temperature=2, prior={"new": NEW, "old": OLD})
    right = before * np.divide(NEW, OLD)
    right /= right.sum(axis=1, keepdims=True)
    assert np.allclose(after["probabilities"], right, atol=1e-7)
    assert after["prediction"] == right.argmax(axis=1).tolist()


def test_the_odds_of_a_sigmoid_shift(families: Running) -> None:
    before = np.array(predicted(families, "sigmoid")["probabilities"])
    after = np.array(predicted(families, "sigmoid", prior={"new": NEW, "old": OLD})["probabilities"])
    ratio = np.divide(NEW, OLD) * (1 - np.array(OLD)) / (1 - np.array(NEW))
    assert np.allclose(after / (1 - after), before / (1 - before) * ratio, rtol=1e-5)


def test_a_strength_of_nothing_changes_nothing_and_uniform_is_the_default(families: Running) -> None:
    plain = predicted(families, "softmax")["probabilities"]
    assert np.allclose(predicted(families, "softmax", prior={"old": OLD, "strength": 0})["probabilities"], plain)
    adjusted = predicted(families, "softmax", prior={"old": OLD})["probabilities"]
    z = np.array(ROWS) - np.log(OLD)
    assert np.allclose(adjusted, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True))


def test_a_class_that_no_longer_occurs_gets_exactly_nothing(families: Running) -> None:
    for model in ("softmax", "sparsemax", "sigmoid"):
        after = predicted(families, model, prior={"new": [0.5, 0.5, 0.0], "old": OLD})
        assert [row[2] for row in after["probabilities"]] == [0, 0]


def test_a_row_of_which_nothing_is_left_has_no_prediction(families: Running) -> None:
    after = predicted(families, "softmax", mask=[[False, False, True]] * 2, prior={"new": [1, 1, 0], "old": OLD})
    assert after["prediction"] == [None, None]
    assert after["probabilities"] == [[0, 0, 0]] * 2


def test_a_head_may_know_the_frequencies_of_its_fit() -> None:
    model = Signature("mine", "1", classes=3, prior=np.array(OLD))
    assert np.allclose(read_prior({"new": NEW}, 3, model), np.log(NEW) - np.log(OLD))


WRONG: list[tuple[Any, str]] = [
    ({"new": NEW}, "does not know the class frequencies of its fit; expected prior.old"),
    ({"new": NEW, "old": [1, 1]}, "prior.old has 2 values; expected one for each of 3 classes"),
    ({"new": [1, -1, 1], "old": OLD}, "prior.new[1] is -1; expected a number of 0 or more"),
    ({"new": [1, 1, float("inf")], "old": OLD}, "prior.new[2] is inf; expected a number of 0 or more"),
    ({"new": [0, 0, 0], "old": OLD}, "prior.new is 0 throughout; expected a class that may occur"),
    ({"new": NEW, "old": [0, 0.5, 0.5]}, "prior.old[0] is 0, prior.new[0] is not"),
    ({"old": OLD, "strength": -1}, "prior.strength is not a finite number of 0 or more; expected one"),
    ({"old": OLD, "strength": "much"}, "prior.strength is not a finite number"),
    ({"old": OLD, "now": NEW}, "prior has the key 'now'; expected new, old, strength"),
]


@pytest.mark.parametrize(("prior", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_no_prior_is_refused(prior: Any, said: str) -> None:
    with pytest.raises(InvalidValue) as error:
        read_prior(prior, 3, Signature("mine", "1"))
    assert said in str(error.value)
    assert error.value.code == "bad_prior"


def test_the_wrong_number_of_classes_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidValue, match="number of classes is open; it takes no prior"):
        read_prior({"old": OLD}, None, Signature("mine", "1"))
    with pytest.raises(InvalidValue, match="knows the frequencies of 3 classes, rows have 2"):
        read_prior({}, 2, Signature("mine", "1", prior=np.array(OLD)))
    with pytest.raises(InvalidValue, match=", 1 at most"):
        read_prior({"old": [2, 1, 1]}, 3, Signature("mine", "1", family=find_family("sigmoid")))


def test_who_is_not_sure_enough_abstains(families: Running) -> None:
    asks = {"logits": ROWS, "outputs": ["prediction", "confidence"]}
    plain = families.predict(asks).json()
    low, high = plain["confidence"]
    assert families.predict({**asks, "abstain_below": (low + high) / 2}).json()["prediction"] == [None, 2]
    assert families.predict({**asks, "abstain_below": low}).json()["prediction"] == [0, 2]  # at it is not below it
    many = {"logits": [[2.0, 3.0], [0.1, -1.0]], "outputs": ["prediction"], "abstain_below": 0.8}
    assert families.predict(many, "sigmoid").json()["prediction"] == [[0, 1], None]


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "0.5", True])
def test_what_is_no_threshold_is_refused(families: Running, threshold: Any) -> None:
    response = families.predict({"logits": ROWS, "abstain_below": threshold})
    assert response.status_code == 422
    assert "abstain_below" in response.json()["error"]
    assert "expected a number from 0 to 1" in response.json()["error"]


def test_prediction_sets_hold_under_the_prior_of_the_fit_only(running: Running) -> None:
    body = {"logits": [0.0] * 10, "alpha": 0.1, "prior": {"old": [1] * 10}}
    assert "expected no prior beside it" in running.predict(body, "digits").json()["error"]


@pytest.mark.parametrize("as_text", [False, True])
def test_both_are_parameters_of_the_open_inference_protocol(families: Running, as_text: bool) -> None:
    prior: Any = {"new": NEW, "old": OLD}
    native = predicted(families, "softmax", prior=prior, abstain_below=0.5)
    header = {
        "inputs": [tensor("logits", "FP64", [2, 3], data=ROWS)],
        "outputs": wanted("probabilities", "prediction"),
        "parameters": {
            "prior": str(prior).replace("'", '"') if as_text else prior,
            "abstain_below": "0.5" if as_text else 0.5,
        },
    }
    found = outputs(post(families, header))
    assert np.array_equal(found["probabilities"], np.array(native["probabilities"], np.float32))
    assert found["prediction"].tolist() == [-1 if one is None else one for one in native["prediction"]]


@pytest.mark.parametrize("value", ["[1", "3", 3, [1, 2]])
def test_a_parameter_that_is_no_prior_is_refused(families: Running, value: Any) -> None:
    header = {"inputs": [tensor("logits", "FP64", [2, 3], data=ROWS)], "parameters": {"prior": value}}
    assert "the parameter prior is" in post(families, header).json()["error"]


def test_a_parameter_that_is_no_threshold_is_refused(families: Running) -> None:
    header = {"inputs": [tensor("logits", "FP64", [2, 3], data=ROWS)], "parameters": {"abstain_below": 2}}
    assert "the parameter abstain_below is not a number from 0 to 1" in post(families, header).json()["error"]
