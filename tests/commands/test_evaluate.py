"""`calibrant evaluate` says what `POST .../evaluate` answers of the same rows, for every family."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli import main
from service.engine.head import Head
from tests.calibration.multilabel import tagged
from tests.conftest import Running, serving
from tests.families_made import HEADS

N, K = 60, 4
SHARED_NAMES = ("loss", "brier", "accuracy", "ece")


def rows(name: str, *, masked: bool) -> dict[str, Any]:
    """Logits, labels and perhaps a mask for a head; some rows lie on the edge of a bin, or are level."""
    random = np.random.default_rng(3)
    logits = (random.standard_normal((N, 3, K)) * 2).astype(np.float32)
    logits[:10] = 0
    logits[10:14, :, 1] = 40
    logits = logits if name.startswith("ensemble") else logits[:, 0]
    if name.startswith("sigmoid"):
        labels: Any = (random.random((N, K)) < 0.4).astype(int)
    else:
        labels = random.integers(0, K, N)
    mask = np.ones((N, K), bool)
    if masked:
        mask = random.random((N, K)) < 0.7
        mask[np.arange(N), random.integers(0, K, N)] = True
        labels = (
            labels * mask if labels.ndim == 2 else np.where(mask[np.arange(N), labels], labels, mask.argmax(axis=1))
        )
    return {"logits": logits, "labels": labels} | ({"mask": mask} if masked else {})


def said(capsys: pytest.CaptureFixture[str], head: Path, data: Path, *options: str) -> str:
    """What the command prints."""
    capsys.readouterr()
    assert main(["evaluate", "--model", str(head), "--data", str(data), *options]) == 0
    return capsys.readouterr().out


def posted(running: Running, name: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """What the service answers."""
    labels = arrays["labels"]
    known = "targets" if labels.ndim == 2 else "labels"
    body = {key: value.tolist() for key, value in arrays.items() if key != "labels"} | {known: labels.tolist()}
    response = running.client.post(f"/v1/models/{name}/evaluate", json=body | {"outputs": ["loss", "metrics"]})
    assert response.status_code == 200, response.text
    metrics: dict[str, Any] = response.json()["metrics"]
    assert metrics["loss"] == pytest.approx(np.mean(response.json()["loss"]), rel=1e-12)
    return metrics


def check_same(told: dict[str, Any], metrics: dict[str, Any], *, exact: bool) -> None:
    """What the command told of a head is what the service answered, to the bit where rows are summed the same way."""
    assert (told["rows"], told["n_impossible"]) == (metrics["n_rows"], metrics["n_impossible"])
    nll = metrics.pop("nll")
    assert ("nll" in told["metrics"]) == (nll is not None)
    values = {name: one["value"] for name, one in told["metrics"].items()}
    expected = {name: metrics[name] for name in (*SHARED_NAMES, "ece_macro") if name in metrics}
    if nll is not None:
        expected["nll"] = nll
    found = {name: values[name] for name in expected}
    assert found == (expected if exact else pytest.approx(expected, rel=1e-12))


@pytest.mark.parametrize("masked", [False, True], ids=["open", "masked"])
@pytest.mark.parametrize("name", HEADS)
def test_the_command_and_the_service_say_the_same_of_every_family(
    families: Running,
    family_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    masked: bool,
) -> None:
    arrays = rows(name, masked=masked)
    np.savez(tmp_path / "rows.npz", **arrays)
    head = family_models / name / "1" / "model.onnx"
    told = json.loads(said(capsys, head, tmp_path / "rows.npz", "--json"))
    metrics = posted(families, name, arrays)
    check_same(told, dict(metrics), exact=not name.startswith("sigmoid"))
    for one in told["metrics"].values():
        low, high = one["interval"]
        assert low <= one["value"] + 1e-12
        assert high >= one["value"] - 1e-12
    table = dict(line.rsplit(None, 1) for line in said(capsys, head, tmp_path / "rows.npz").splitlines()[1:-1])
    printed = {name.strip(): value for name, value in table.items()}
    assert printed["n impossible"] == str(metrics["n_impossible"])
    for metric in SHARED_NAMES:
        assert printed[metric] == f"{metrics[metric]:.6f}"


def test_sparse_heads_count_impossible_rows_and_warn(
    family_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "rows.npz", logits=np.array([[5.0, 0, 0], [0.2, 0, 0]]), labels=[1, 0])
    head = family_models / "sparsemax" / "1" / "model.onnx"
    assert main(["evaluate", "--model", str(head), "--data", str(tmp_path / "rows.npz")]) == 0
    found = capsys.readouterr()
    assert "the class of 1 row has the probability 0: the negative log-likelihood is infinite" in found.err
    assert "nll" not in found.out


@pytest.mark.parametrize("options", [("--group", "tenant"), ("--laplace",), ("--method", "vector+top")], ids=str)
def test_groups_the_laplace_mix_and_the_top_stage_are_in_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    random = np.random.default_rng(4)
    z = random.standard_normal((1500, K))
    labels = (z + random.gumbel(size=z.shape)).argmax(axis=1)
    groups = np.where(np.arange(1500) % 3 == 0, "x", "y")
    logits = (z * np.where(groups == "x", 2, 5)[:, None]).astype(np.float32)
    np.savez(tmp_path / "rows.npz", logits=logits, labels=labels, tenant=groups)
    models = tmp_path / "models"
    named = ["--name", "own", "--models", str(models), "--no-report", "--data", str(tmp_path / "rows.npz")]
    assert main(["fit", *named, "--method", "temperature", *options]) == 0
    some = slice(0, 200)
    arrays: dict[str, Any] = {"logits": logits[some], "labels": labels[some]}
    np.savez(tmp_path / "some.npz", **arrays, tenant=groups[some])
    with_groups = [("--group", "tenant"), ()] if "--group" in options else [()]
    with serving(models=models) as service:
        for grouped in with_groups:
            head = models / "own" / "1" / "model.onnx"
            told = json.loads(said(capsys, head, tmp_path / "some.npz", "--json", *grouped))
            sent = {"logits": logits[some].tolist(), "labels": labels[some].tolist(), "outputs": ["metrics"]}
            if grouped:
                sent["group"] = groups[some].tolist()
            response = service.client.post("/v1/models/own/evaluate", json=sent)
            assert response.status_code == 200, response.text
            check_same(told, response.json()["metrics"], exact=True)


def test_weights_count_in_the_loss_too(family_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = rows("sparsemax", masked=False)
    weights = np.where(np.arange(N) < N // 2, 2.0, 0.0)
    np.savez(tmp_path / "weighted.npz", **arrays, weights=weights)
    np.savez(tmp_path / "half.npz", **{name: values[: N // 2] for name, values in arrays.items()})
    head = family_models / "sparsemax" / "1" / "model.onnx"
    one, other = (
        json.loads(said(capsys, head, tmp_path / f"{name}.npz", "--json"))["metrics"] for name in ("weighted", "half")
    )
    assert one["loss"]["value"] == pytest.approx(other["loss"]["value"], rel=1e-12)


def test_a_fitted_sigmoid_measures_as_its_fit_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted, test = tagged(800, masked=True), tagged(700, seed=1, masked=True)
    arrays: dict[str, Any] = {
        f"{part}_{name}": values
        for part, data in (("val", fitted), ("test", test))
        for name, values in (("logits", data.logits), ("labels", data.targets), ("mask", data.mask))
    }
    np.savez(tmp_path / "rows.npz", **arrays)
    (tmp_path / "parameters.json").write_text('{"thresholds":[0.3,0.5,0.7,0.9]}')
    head = tmp_path / "head.onnx"
    options = ["--family", "sigmoid", "--parameters", str(tmp_path / "parameters.json"), "--no-report"]
    assert main(["fit", "--data", str(tmp_path / "rows.npz"), "--to", str(head), *options]) == 0
    told = json.loads(said(capsys, head, tmp_path / "rows.npz", "--json"))
    assert (told["part"], told["rows"]) == ("test", 700)
    for name, value in Head(head).metadata.metrics["after"].items():
        assert told["metrics"][name]["value"] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize(
    ("arrays", "options", "sentence"),
    [
        ({"labels": np.zeros(5, int)}, (), "labels have the shape [5]; expected [5, 4] of 0 and 1"),
        ({"logits": np.full((5, 3), 2.0), "labels": np.zeros((5, 3))}, (), "the data have 3 classes, the head has 4"),
        ({}, ("--group", "tenant"), "--group is of softmax alone; the family is sigmoid"),
    ],
    ids=["labels", "width", "group"],
)
def test_what_a_sigmoid_cannot_be_measured_on_is_refused(
    family_models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arrays: dict[str, Any],
    options: tuple[str, ...],
    sentence: str,
) -> None:
    np.savez(tmp_path / "rows.npz", **{"logits": np.full((5, 4), 2.0), "labels": np.zeros((5, 4))} | arrays)
    head = family_models / "sigmoid-affine-a" / "1" / "model.onnx"
    assert main(["evaluate", "--model", str(head), "--data", str(tmp_path / "rows.npz"), *options]) == 2
    assert sentence in capsys.readouterr().err
