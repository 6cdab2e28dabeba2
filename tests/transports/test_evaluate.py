"""`POST .../evaluate` over HTTP: losses, gradients, products and metrics, and what is refused."""

from typing import Any

import httpx
import numpy as np
import pytest

from service.families import find_family
from tests.conftest import Running
from tests.transports.infer import framed

ROWS = [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]]
DIGITS = "/v1/models/digits/evaluate"


def evaluate(running: Running, model: str = "softmax", **body: Any) -> httpx.Response:
    return running.client.post(f"/v1/models/{model}/evaluate", json=body)


def answer(running: Running, model: str = "softmax", **body: Any) -> Any:
    response = evaluate(running, model, **body)
    assert response.status_code == 200, response.text
    return response.json()


def test_one_row_needs_no_batch_axis(families: Running) -> None:
    found = answer(families, logits=ROWS[0], labels=2, outputs=["loss", "gradient", "prediction"])
    assert found["loss"] == pytest.approx(0.4076059644443803, abs=1e-12)
    assert found["gradient"] == pytest.approx([0.09003057317038046, 0.24472847105479764, -0.3347590442251781])
    assert found["prediction"] == 2
    assert answer(families, logits=ROWS[0], labels=[2])["loss"] == found["loss"]


@pytest.mark.parametrize(
    "path", ["/v1/evaluate", "/v1/models/softmax/evaluate", "/v1/models/softmax/versions/1/evaluate"]
)
def test_every_path_answers_the_same(families: Running, path: str) -> None:
    response = families.client.post(path, json={"logits": ROWS, "labels": [2, 0]})
    assert response.json()["loss"] == answer(families, logits=ROWS, labels=[2, 0])["loss"]


@pytest.mark.parametrize("model", ["softmax", "sigmoid", "sparsemax", "entmax15", "entmax-1.25"])
def test_a_soft_target_of_zeros_and_ones_is_a_label(families: Running, model: str) -> None:
    one = model != "sigmoid"
    hard = answer(families, model, logits=ROWS, labels=[2, 0] if one else [[2], [0]], outputs=["loss", "gradient"])
    soft = answer(families, model, logits=ROWS, targets=np.eye(3)[[2, 0]].tolist(), outputs=["loss", "gradient"])
    assert hard == soft


def test_a_label_is_an_index_or_a_name(running: Running) -> None:
    logits = np.eye(10)[:2].tolist()
    by_name = running.client.post(DIGITS, json={"logits": logits, "labels": ["zero", "nine"]}).json()
    assert by_name["loss"] == running.client.post(DIGITS, json={"logits": logits, "labels": [0, 9]}).json()["loss"]


def test_the_temperature_of_each_row_divides_its_gradient(families: Running) -> None:
    asks: dict[str, Any] = {"labels": [2, 0], "upstream": ROWS, "outputs": ["gradient", "vjp", "loss"]}
    both = answer(families, logits=ROWS, temperature=[0.5, 2.0], **asks)
    z = np.array(ROWS) / [[0.5], [2.0]]
    family = find_family("softmax")
    p, _ = family.distribution(z)
    assert np.allclose(both["gradient"], (p - np.eye(3)[[2, 0]]) / [[0.5], [2.0]])
    assert np.allclose(both["vjp"], family.product(z, np.array(ROWS)) / [[0.5], [2.0]])


def test_a_sigmoid_s_scale_is_in_its_gradient(families: Running) -> None:
    scale, bias = np.array([0.75, 1.5, 0.5, 2.0]), np.array([0.5, -1.25, 0.0, 2.0])
    z, y = np.array([[0.3, -1.0, 2.0, 0.1]]), np.array([[1.0, 0.0, 0.0, 1.0]])
    found = answer(families, "sigmoid-affine-a", logits=z.tolist(), targets=y.tolist(), outputs=["gradient", "loss"])
    p, _ = find_family("sigmoid").distribution(z * scale + bias)
    assert np.allclose(found["gradient"], (p - y) * scale)


def test_smoothing_goes_to_the_classes_that_are_allowed(families: Running) -> None:
    masked: dict[str, Any] = {"logits": ROWS, "mask": [[True, True, True], [True, False, True]]}
    found = answer(families, **masked, labels=[2, 0], label_smoothing=0.1)["loss"]
    soft = [[0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3], [0.95, 0.0, 0.05]]
    assert found == pytest.approx(answer(families, **masked, targets=soft)["loss"])


def test_a_label_counts_over_all_class_axes(families: Running) -> None:
    logits = np.arange(12.0).reshape(2, 2, 3) / 5
    asks: dict[str, Any] = {"labels": [5, 0], "outputs": ["loss", "gradient"]}
    joint = answer(families, logits=logits.tolist(), axis=[-2, -1], **asks)
    flat = answer(families, logits=logits.reshape(2, 6).tolist(), **asks)
    assert joint["loss"] == flat["loss"]
    assert np.array_equal(np.reshape(joint["gradient"], (2, 6)), flat["gradient"])
    assert np.shape(joint["gradient"]) == (2, 2, 3)


def test_the_identity_upstream_gives_the_jacobian(families: Running) -> None:
    found = answer(families, logits=[ROWS[0]] * 3, upstream=np.eye(3).tolist())
    p, _ = find_family("softmax").distribution(np.array(ROWS[0]))
    assert np.allclose(found["vjp"], np.diag(p) - np.outer(p, p))
    assert "loss" not in found


def test_a_row_without_a_class_has_a_product_of_zeros(families: Running) -> None:
    for model in ("softmax", "sigmoid", "sparsemax", "entmax15"):
        found = answer(families, model, logits=[[None, None], [1, 2]], upstream=[[1, 2], [3, 4]])
        assert found["vjp"][0] == [0, 0]
        assert found["warnings"][0]["code"] == "no_class_allowed"


def test_metrics_are_of_all_rows_and_an_impossible_one_is_counted_and_not_clipped(families: Running) -> None:
    asks: dict[str, Any] = {"logits": [[5.0, 0.0], [0.2, 0.0]], "labels": [1, 0], "outputs": ["metrics"]}
    soft, sparse = answer(families, **asks)["metrics"], answer(families, "sparsemax", **asks)["metrics"]
    assert (soft["n_impossible"], sparse["n_impossible"], sparse["nll"]) == (0, 1, None)
    assert soft["nll"] == pytest.approx(soft["loss"])
    assert sparse["brier"] == pytest.approx((2 + 2 * 0.4**2) / 2)
    assert (sparse["accuracy"], sparse["n_rows"]) == (0.5, 2)


def test_a_sigmoid_s_metrics_count_each_class(families: Running) -> None:
    logits, targets = [[2.0, -1.0], [0.5, 3.0]], [[1, 0], [1, 0]]
    found = answer(families, "sigmoid", logits=logits, targets=targets, outputs=["metrics"])["metrics"]
    p = 1 / (1 + np.exp(-np.array(logits)))
    assert found["accuracy"] == 0.75
    assert found["brier"] == pytest.approx(((p - targets) ** 2).sum(axis=1).mean())
    assert found["ece"] == pytest.approx(np.abs(p - targets).mean())
    assert found["nll"] == pytest.approx(found["loss"])
    assert found["ece_macro"] > 0


def test_what_predict_answers_may_be_asked_for_as_well(families: Running) -> None:
    outputs = ["probabilities", "margin", "entropy"]
    found = answer(families, "entmax15", logits=ROWS, labels=[2, 0], outputs=[*outputs, "loss"], top_k=1)
    alone = families.predict({"logits": ROWS, "outputs": outputs, "top_k": 1}, "entmax15").json()
    assert {key: found[key] for key in alone} == alone


WRONG: dict[str, tuple[dict[str, Any], str, int | None, str]] = {
    "beyond": ({"labels": [0, 3]}, "bad_label", 1, "labels[1] is not one of 3 classes; expected an index from 0 to 2"),
    "a name": ({"labels": ["cat", 0]}, "bad_label", 0, "labels[0] is not a label of this model; expected an index"),
    "a half": ({"labels": [0.5, 0]}, "bad_label", 0, "labels[0] is a number; expected an index from 0 to 2"),
    "too few": ({"labels": [0]}, "bad_label", None, "labels has 1 item; expected a class a row, for 2 rows"),
    "no list": ({"labels": 0}, "bad_label", None, "labels is a number; expected a class a row, for 2 rows"),
    "masked": (
        {"labels": [0, 1], "mask": [[True] * 3, [True, False, True]]},
        "label_masked",
        1,
        "labels of row 1 is a class that is masked or has no score; expected one that may be chosen",
    ),
    "empty row": ({"labels": [0, 1], "mask": [[True] * 3, [False] * 3]}, "label_masked", 1, "labels of row 1"),
    "sum": ({"targets": [[0.5] * 3, [0, 0, 1]]}, "bad_target", 0, "the targets of row 0 add up to 1.5; expected"),
    "negative": ({"targets": [[0, 0, 1], [2, -1, 0]]}, "bad_target", 1, "numbers from 0 to 1 that add up to 1"),
    "text": ({"targets": [[0, 0, 1], [0, "a", 1]]}, "bad_target", 1, "targets[1][1] is not a finite number"),
    "shape": ({"targets": [[0, 1], [0, 1]]}, "bad_target", None, "targets has the shape [2, 2]; expected [2, 3]"),
    "smoothing": ({"labels": [0, 1], "label_smoothing": 1}, "bad_label_smoothing", None, "label_smoothing is 1; exp"),
    "smoothed": ({"labels": [0, 1], "label_smoothing": -0.1}, "bad_label_smoothing", None, "from 0 to below 1"),
    "upstream": ({"upstream": [[1, 2], [1, 2]]}, "bad_upstream", None, "upstream has the shape [2, 2]"),
    "infinite": ({"upstream": [[1, 2, 3], [1, 1e999, 3]]}, "bad_upstream", 1, "upstream[1][1] is not a finite number"),
    "no upstream": ({"labels": [0, 1], "outputs": ["vjp"]}, "bad_upstream", None, "expected the key upstream"),
    "nothing": ({}, "missing_labels", None, "loss was asked for; expected labels or targets"),
    "both": ({"labels": [0, 1], "targets": ROWS}, "invalid_value", None, "both labels and targets were given"),
    "unknown": ({"labels": [0, 1], "weights": [1, 1]}, "unknown_key", None, "the key 'weights' is unknown"),
    "prior": ({"labels": [0, 1], "prior": {"old": [1, 1, 1]}}, "invalid_value", None, "expected no prior beside it"),
}


@pytest.mark.parametrize(("body", "code", "row", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_evaluated_is_refused_by_row(
    families: Running, body: dict[str, Any], code: str, row: int | None, said: str
) -> None:
    sent = httpx.Request("POST", "/", content=str({"logits": ROWS, **body})).content
    text = sent.decode().replace("'", '"').replace("True", "true").replace("False", "false").replace("inf", "1e999")
    response = families.client.post("/v1/models/softmax/evaluate", content=text.encode())
    assert response.status_code == 422, response.text
    found = response.json()
    assert (found["code"], found.get("row")) == (code, row)
    assert said in found["error"]


def test_a_sigmoid_wants_a_list_of_labels_a_row(families: Running) -> None:
    response = evaluate(families, "sigmoid", logits=ROWS, labels=[0, 1])
    assert response.json()["error"] == "labels[0] is a number; expected a list of classes a row"
    assert answer(families, "sigmoid", logits=ROWS[0], labels=[0, 1])["loss"] > 0
    assert answer(families, "sigmoid", logits=ROWS, labels=[[], [0, 2]])["loss"][0] > 0


def test_a_gradient_that_is_not_known_is_refused(families: Running) -> None:
    body = {"logits": [[ROWS[0]] * 2], "labels": [1]}
    assert answer(families, "ensemble-logits", **body)["loss"] == [pytest.approx(1.4076059644443803)]
    response = evaluate(families, "ensemble-logits", **body, outputs=["gradient"])
    assert (response.status_code, response.json()["code"]) == (422, "no_gradient")


def test_only_posting_evaluates(families: Running) -> None:
    response = families.client.get("/v1/models/softmax/evaluate")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"] == "GET does not evaluate; POST does"


def test_evaluate_is_json_alone(families: Running) -> None:
    body, headers = framed({"logits": ROWS, "labels": [2, 0]}, np.array(ROWS, np.float32).tobytes())
    refused = families.client.post("/v1/models/softmax/evaluate", content=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")
    as_json = families.client.post(
        "/v1/models/softmax/evaluate", content=body, headers={**headers, "content-type": "application/json"}
    )
    assert (as_json.status_code, as_json.json()["code"]) == (400, "not_json")


@pytest.mark.parametrize("model", ["sigmoid", "sparsemax", "entmax15", "ensemble-probabilities"])
@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"mask": [[True] * 3, [True, False, True]]}, "label_masked"),
        ({"labels": [[0], [3]]}, "bad_label"),
        ({"labels": None, "targets": [[0, 0, 1], [0, 2, 0]]}, "bad_target"),
        ({"label_smoothing": 1}, "bad_label_smoothing"),
        ({"upstream": [[1, 2, 3], [1, "a", 3]]}, "bad_upstream"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_family_refuses_with_the_same_codes(
    families: Running, model: str, more: dict[str, Any], code: str
) -> None:
    one = model != "sigmoid"
    logits = [[row] * 3 for row in ROWS] if model.startswith("ensemble") else ROWS
    body: dict[str, Any] = {"logits": logits, "labels": [[2], [1]], **more}
    if one and body["labels"] is not None:
        body["labels"] = [label for (label,) in body["labels"]]
    response = evaluate(families, model, **body)
    named = None if code == "bad_label_smoothing" else 1
    assert (response.status_code, response.json()["code"], response.json().get("row")) == (422, code, named)
