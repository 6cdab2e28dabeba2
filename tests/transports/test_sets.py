"""Prediction sets and groups over HTTP, with heads that `calibrant fit` has made."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.cli import main
from service.conformal import Conformal
from tests.api.bodies import refused
from tests.conftest import ROOT, Running, serving
from tests.transports.infer import outputs, post, tensor, wanted

ROWS = [[9.0, 1, 0, 0, 2, 0, 0, 1, 0, 0], [1.0, 1.2, 0, 0, 0, 0, 0, 1.1, 0, 0.9]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head with a temperature and a table for each of two shops, one of which is far too sure of itself."""
    folder = tmp_path_factory.mktemp("models")
    random = np.random.default_rng(0)
    truth = random.standard_normal((6000, 3))
    labels = (truth + random.gumbel(size=truth.shape)).argmax(axis=1)
    groups = np.array(["calm", "hot"])[np.arange(6000) % 2]
    logits = np.where(groups == "hot", 4.0, 1.0)[:, None] * truth
    np.savez(folder / "rows.npz", logits=logits.astype(np.float32), labels=labels, groups=groups)
    said = ["--method", "temperature", "--group", "groups", "--sets", "group", "--no-report"]
    assert main(["fit", "--data", str(folder / "rows.npz"), "--name", "shops", "--models", str(folder), *said]) == 0
    return folder


@pytest.fixture(scope="module")
def shops(models: Path) -> Iterator[Running]:
    with serving(models=models, default_model="shops") as running:
        yield running


def test_alpha_adds_the_set_that_the_scores_in_the_file_make(running: Running) -> None:
    answer = running.predict({"logits": ROWS, "alpha": 0.1, "outputs": ["log_probabilities"]}, "digits").json()
    metadata = running.service.repository.find("digits").head.metadata
    stored = Conformal.from_metadata(metadata.conformal[metadata.conformal["default"]])
    inside = stored.sets(np.array(answer["log_probabilities"], np.float32), 0.1)
    assert answer["prediction_set"]["classes"] == [np.flatnonzero(row).tolist() for row in inside]
    names = metadata.labels or ()
    assert answer["prediction_set"]["labels"] == [[names[i] for i in np.flatnonzero(row)] for row in inside]


def test_a_smaller_alpha_never_makes_a_smaller_set(running: Running) -> None:
    sizes = [
        len(running.predict({"logits": ROWS[1], "alpha": alpha}, "digits").json()["prediction_set"]["classes"])
        for alpha in (0.5, 0.2, 0.1, 0.05, 0.01)
    ]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1


def test_a_masked_class_is_in_no_set(running: Running) -> None:
    mask = [True, False, *[True] * 8]
    answer = running.predict({"logits": ROWS[1], "mask": mask, "alpha": 0.01}, "digits").json()
    assert 1 not in answer["prediction_set"]["classes"]
    assert answer["prediction_set"]["classes"]


@pytest.mark.parametrize(
    ("model", "body", "sentence"),
    [
        ("softmax", {"alpha": 0.1}, "was not fitted with scores for prediction sets"),
        ("digits", {"alpha": 0.1, "temperature": 2}, "expected no temperature beside it"),
        ("digits", {"alpha": 0}, "alpha is 0; expected a number above 0 and below 1"),
        ("digits", {"alpha": 1}, "alpha is 1; expected a number above"),
        ("digits", {"alpha": "0.1"}, "alpha is a string; expected a number above"),
        ("digits", {"group": "hot"}, "one temperature for all"),
    ],
)
def test_what_no_guarantee_can_be_given_for_is_refused(
    running: Running, model: str, body: dict[str, object], sentence: str
) -> None:
    response = running.predict({"logits": ROWS[0], **body}, model)
    assert sentence in refused(response, 422, response.json()["code"])["error"]


def test_each_group_has_its_own_temperature(shops: Running) -> None:
    def confidence(**body: object) -> float:
        answer = shops.predict({"logits": [4.0, 0, 0], "outputs": ["confidence"], **body}, "shops").json()
        return float(answer["confidence"])

    assert confidence(group="hot") < confidence() < confidence(group="calm")
    assert confidence(group="never seen") == confidence()


def test_rows_of_different_groups_share_a_request(shops: Running) -> None:
    both = shops.predict({"logits": [[4.0, 0, 0]] * 2, "group": ["hot", "calm"]}, "shops").json()["probabilities"]
    for group, together in zip(("hot", "calm"), both, strict=True):
        alone = shops.predict({"logits": [4.0, 0, 0], "group": group}, "shops").json()["probabilities"]
        assert alone == together


def test_sets_by_group_want_a_group_that_the_head_knows(shops: Running) -> None:
    hot = shops.predict({"logits": [4.0, 0, 0], "group": "hot", "alpha": 0.1}, "shops").json()["prediction_set"]
    calm = shops.predict({"logits": [4.0, 0, 0], "group": "calm", "alpha": 0.1}, "shops").json()["prediction_set"]
    assert len(hot["classes"]) > len(calm["classes"])
    refused(shops.predict({"logits": [4.0, 0, 0], "alpha": 0.1}, "shops"), 422, "no_group")
    refused(shops.predict({"logits": [4.0, 0, 0], "alpha": 0.1, "group": "new"}, "shops"), 422, "no_group")


def test_as_many_groups_as_rows_are_expected(shops: Running) -> None:
    refused(shops.predict({"logits": [[4.0, 0, 0]], "group": ["hot", "hot"]}, "shops"), 422, "invalid_value")


def test_the_story_leaves_the_tables_out(running: Running) -> None:
    conformal = running.client.get("/v1/models/digits").json()["metadata"]["conformal"]
    assert conformal["default"] in conformal
    assert "tables" not in conformal[conformal["default"]]


def test_the_shipped_examples_serve_their_labels(running: Running) -> None:
    answer = running.predict({"logits": ROWS[0], "outputs": ["prediction"]}, "digits").json()
    assert (answer["prediction"], answer["labels"]) == (0, "zero")
    assert (ROOT / "models/digits/1/report.html").is_file()


@pytest.mark.parametrize("group", ["hot", "calm", "never seen"])
def test_the_protocol_takes_a_group_as_a_parameter(shops: Running, group: str) -> None:
    native = shops.predict({"logits": [[4.0, 0, 0], [0, 1, 0]], "group": group}, "shops").json()["probabilities"]
    ask = {
        "inputs": [tensor("logits", "FP32", [2, 3], data=[4, 0, 0, 0, 1, 0])],
        "outputs": wanted("probabilities"),
        "parameters": {"group": group},
    }
    found = outputs(post(shops, ask, path="/v2/models/shops/infer"))["probabilities"]
    assert found.tolist() == np.array(native, np.float32).tolist()


PREDICT = {"logits": ROWS, "alpha": 0.1, "top_k": 3, "outputs": ["probabilities"]}
INFER = {"inputs": [tensor("logits", "FP32", [2, 10], data=ROWS)], "outputs": wanted("probabilities")}


@pytest.mark.parametrize("as_binary", [False, True], ids=["JSON", "binary"])
@pytest.mark.parametrize(("alpha", "top_k"), [(0.1, 3), ("0.1", "3")], ids=["numbers", "strings"])
def test_the_protocol_takes_alpha_and_top_k_as_parameters(
    running: Running, alpha: object, top_k: object, *, as_binary: bool
) -> None:
    native = running.predict(PREDICT, "digits").json()
    parameters = {"alpha": alpha, "top_k": top_k, "binary_data_output": as_binary}
    response = post(running, {**INFER, "parameters": parameters}, path="/v2/models/digits/infer")
    found = outputs(response)
    assert list(found) == ["probabilities", "prediction_set", "top_classes", "top_probabilities"]
    assert (b"binary_data_size" in response.content) is as_binary
    assert found["prediction_set"].dtype == np.bool_
    assert [np.flatnonzero(row).tolist() for row in found["prediction_set"]] == native["prediction_set"]["classes"]
    assert found["top_classes"].dtype == np.int64
    assert found["top_classes"].tolist() == native["top"]["classes"]
    assert found["top_probabilities"].dtype == np.float32
    assert found["top_probabilities"].tolist() == np.float32(native["top"]["probabilities"]).tolist()


def test_what_may_not_be_chosen_is_not_among_the_top_classes(running: Running) -> None:
    mask = [True, False, True, *[False] * 7]
    inputs = [tensor("logits", "FP32", [10], data=ROWS[1]), tensor("mask", "BOOL", [10], data=mask)]
    asks = {"inputs": inputs, "outputs": wanted("prediction"), "parameters": {"top_k": 20, "alpha": 0.5}}
    found = outputs(post(running, asks, path="/v2/models/digits/infer"))
    assert found["top_classes"].tolist() == [0, 2, *[-1] * 8]
    assert found["top_probabilities"][2:].tolist() == [0] * 8
    assert found["top_probabilities"].sum() == pytest.approx(1)
    assert not (found["prediction_set"] & ~np.array(mask)).any()


def test_no_rows_have_no_sets_and_no_top_classes(running: Running) -> None:
    asks = {"inputs": [tensor("logits", "FP32", [0, 10], data=[])], "parameters": {"top_k": 2, "alpha": 0.5}}
    found = outputs(post(running, asks, path="/v2/models/digits/infer"))
    assert (found["top_classes"].shape, found["prediction_set"].shape) == ((0, 2), (0, 10))


@pytest.mark.parametrize("as_input", [False, True])
def test_over_the_protocol_alpha_holds_at_the_heads_own_temperature_too(running: Running, *, as_input: bool) -> None:
    inputs, parameters = list(INFER["inputs"]), {"alpha": 0.1}
    if as_input:
        inputs.append(tensor("temperature", "FP32", [2], data=[1.0, 2.0]))
    else:
        parameters["temperature"] = 2.0
    refused(
        post(running, {"inputs": inputs, "parameters": parameters}, path="/v2/models/digits/infer"),
        422,
        "invalid_value",
        "alpha holds at the head's own temperature only",
    )


def test_the_temperature_that_is_said_is_the_one_that_was_used(shops: Running) -> None:
    logits = np.array([4.0, 0, 0])
    for group in ("hot", "calm"):
        answer = shops.predict({"logits": logits.tolist(), "group": group}, "shops").json()
        e = np.exp(logits / answer["temperature"])
        assert answer["probabilities"] == pytest.approx((e / e.sum()).tolist(), rel=1e-6)
    both = shops.predict({"logits": [logits.tolist()] * 2, "group": ["hot", "calm"]}, "shops").json()
    assert both["temperature"][0] > 2 * both["temperature"][1]


def test_a_temperature_of_the_request_replaces_the_groups(shops: Running) -> None:
    said = {"logits": [4.0, 0, 0], "temperature": 2}
    with_group = shops.predict({**said, "group": "hot"}, "shops").json()
    assert with_group["probabilities"] == shops.predict(said, "shops").json()["probabilities"]
    assert with_group["temperature"] == 2


def test_a_group_that_the_head_does_not_know_is_answered_with_a_warning(shops: Running) -> None:
    answer = shops.predict({"logits": [[4.0, 0, 0]] * 2, "group": ["hot", "typo"]}, "shops").json()
    assert [(w["code"], w["rows"]) for w in answer["warnings"]] == [("unknown_group", [1])]
    assert "warnings" not in shops.predict({"logits": [4.0, 0, 0], "group": "hot"}, "shops").json()
