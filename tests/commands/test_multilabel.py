"""`calibrant fit --family sigmoid`, as it is typed, and what is served of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli import main
from service.datasets.dataset import Floats
from service.datasets.multilabel import MultiLabel
from service.engine.head import Head
from service.metadata import Metadata
from tests.calibration.multilabel import published_labels, tagged
from tests.conftest import serving
from tests.heads.classifiers import BIAS, WEIGHTS, linear
from tests.transports.infer import binary, outputs, post, wanted

import onnx  # isort: skip


def saved(path: Path, data: MultiLabel, **more: Any) -> Path:
    """As .npz."""
    arrays: dict[str, Any] = {"logits": data.logits, "labels": data.targets.astype(np.int8)}
    if data.mask is not None:
        arrays["mask"] = data.mask
    np.savez(path, **arrays, **more)
    return path


def fit(data: Path, head: Path, *options: str) -> int:
    return main(["fit", "--data", str(data), "--family", "sigmoid", "--to", str(head), *options])


def fitted(folder: Path, data: MultiLabel, *options: str, **more: Any) -> Metadata:
    """What the head says of itself."""
    assert fit(saved(folder / "rows.npz", data, **more), folder / "head.onnx", *options) == 0
    return Head(folder / "head.onnx").metadata


def logistic(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), which loses no digits far out."""
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def test_a_fit_writes_all_that_serving_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tagged(1000)
    story = fitted(tmp_path, data, classes=np.array(["a", "b", "c", "d"]))
    assert (story.family, story.classes, story.labels) == ("sigmoid", 4, ("a", "b", "c", "d"))
    assert (story.n_rows, story.masked_fit, story.thresholds, story.conformal) == (1000, False, None, {})
    assert story.prior == pytest.approx(data.targets.mean(axis=0), abs=1e-15)
    assert (story.calibrator["method"], story.temperature) == ("vector", 1.0)
    assert len(story.calibrator["slope"]) == len(story.calibrator["bias"]) == 4
    assert story.metrics["after"]["bce"] < story.metrics["before"]["bce"]
    told = capsys.readouterr().out
    assert told.startswith("sigmoid, vector: 8 parameters from 1,000 rows\n4 classes: a, b, c, d\n")
    assert f"\n{100 * data.targets.mean():.3g} % of 4,000 labels are right\n1,000 rows, out of fold " in told
    for name in ("bce", "accuracy", "ece", "ece macro"):
        value = story.metrics["after"][name.replace(" ", "_")]
        assert f"{value:.4f}" in next(line for line in told.splitlines() if line.startswith(f"{name} ")), name
    assert "before  probability " in told
    assert told.endswith(f"wrote {tmp_path / 'head.onnx'}\n")


def test_the_published_figures_come_out_of_the_command(tmp_path: Path) -> None:
    fitted_on, test = published_labels("pathmnist_resnet50")
    parts = {"val": fitted_on, "test": test}
    arrays = {f"{part}_{name}": getattr(data, name) for part, data in parts.items() for name in ("logits", "targets")}
    np.savez(tmp_path / "rows.npz", **{name.replace("targets", "labels"): a for name, a in arrays.items()})
    assert fit(tmp_path / "rows.npz", tmp_path / "head.onnx", "--no-report") == 0
    metrics = Head(tmp_path / "head.onnx").metadata.metrics
    assert [round(metrics[when]["bce"], 5) for when in ("before", "after")] == [0.13844, 0.04359]


@pytest.mark.parametrize("method", ["vector", "temperature"])
def test_what_is_served_is_what_numpy_says(tmp_path: Path, method: str) -> None:
    data = tagged(1500, masked=True)
    path = saved(tmp_path / "rows.npz", data)
    models = tmp_path / "models"
    named = ["--name", "tags", "--models", str(models), "--method", method, "--no-report"]
    assert main(["fit", "--data", str(path), "--family", "sigmoid", *named]) == 0
    told = Head(models / "tags" / "1" / "model.onnx").metadata.calibrator
    scale, bias = np.array(told.get("slope", [1.0] * 4)), np.array(told.get("bias", [0.0] * 4))
    rows = np.concatenate(
        [tagged(60, seed=9).logits, np.array([[90, -90, 300, -300], [0, -60, 4e4, -0.0]], np.float32)]
    )
    mask = np.random.default_rng(2).random(rows.shape) < 0.8
    for temperature in (told["temperature"], 2.5):
        expected = np.where(mask, logistic((rows.astype(np.float64) * scale + bias) / temperature), 0)
        with serving(models=models) as service:
            body: dict[str, Any] = {"logits": rows.tolist(), "mask": mask.tolist(), "temperature": temperature}
            asked = body | {"outputs": ["probabilities", "prediction"]}
            found = service.predict(asked, "tags").json()
            names = [binary("logits", "FP32", rows.shape, rows.nbytes), binary("mask", "BOOL", mask.shape, mask.size)]
            header = {
                "inputs": names,
                "outputs": wanted("probabilities", "prediction", binary_data=True),
                "parameters": {"temperature": temperature},
            }
            tensors = outputs(post(service, header, rows.tobytes(), mask.tobytes(), path="/v2/models/tags/infer"))
        p = np.array(found["probabilities"], np.float32)
        assert np.array_equal(p, tensors["probabilities"])
        assert np.allclose(p, expected, rtol=1.2e-7, atol=1e-45)
        assert (p[~mask] == 0).all()
        predicted = [np.flatnonzero(row).tolist() for row in (p >= np.float32(0.5)) & mask]
        assert found["prediction"] == predicted
        assert [np.flatnonzero(row).tolist() for row in tensors["prediction"]] == predicted


def test_thresholds_are_kept_predicted_with_and_measured_with(tmp_path: Path) -> None:
    data = tagged(600)
    parameters = tmp_path / "parameters.json"
    parameters.write_text('{"thresholds":[0.2,0.5,0.9,1]}')
    story = fitted(tmp_path, data, "--parameters", str(parameters))
    assert story.thresholds == (0.2, 0.5, 0.9, 1.0)
    told = json.loads((tmp_path / "report.json").read_text())
    assert [one["threshold"] for one in told["classes"]] == [0.2, 0.5, 0.9, 1.0]
    before = (data.targets == (logistic(data.logits.astype(np.float64)) >= [0.2, 0.5, 0.9, 1])).mean()
    assert story.metrics["before"]["accuracy"] == pytest.approx(before)
    parameters.write_text('{"thresholds":[0.2,0.5]}')
    assert fit(tmp_path / "rows.npz", tmp_path / "other.onnx", "--parameters", str(parameters), "--no-report") == 2


def test_every_format_gives_the_same_head(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import csv, parquet, table

    data = tagged(300)
    names = ["a", "b", "c", "d"]
    story = fitted(tmp_path, data, "--no-report", classes=np.array(names))
    columns = {f"logit_{name}": data.logits[:, k].astype(np.float64) for k, name in enumerate(names)}
    columns |= {f"label_{name}": data.targets[:, k].astype(int) for k, name in enumerate(names)}
    csv.write_csv(table(columns), tmp_path / "rows.csv")
    parquet.write_table(table(columns), tmp_path / "rows.parquet")
    for suffix in ("csv", "parquet"):
        assert fit(tmp_path / f"rows.{suffix}", tmp_path / "other.onnx", "--no-report") == 0
        other = Head(tmp_path / "other.onnx").metadata
        assert (other.calibrator, other.labels, other.metrics) == (story.calibrator, story.labels, story.metrics)


def test_a_csv_gives_the_same_head(tmp_path: Path) -> None:
    data = tagged(200)
    story = fitted(tmp_path, data, "--no-report")
    lines = [",".join([f"label_{k},logit_{k}" for k in range(4)])]
    for z, y in zip(data.logits, data.targets, strict=True):
        lines.append(",".join(f"{int(b)},{float(a)!r}" for a, b in zip(z, y, strict=True)))
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert fit(tmp_path / "rows.csv", tmp_path / "other.onnx", "--no-report") == 0
    other = Head(tmp_path / "other.onnx").metadata
    assert (other.calibrator, other.labels, other.metrics) == (story.calibrator, None, story.metrics)


def test_probabilities_are_taken_as_log_odds_and_that_is_said(tmp_path: Path) -> None:
    data = tagged(500)
    p = MultiLabel.from_arrays(logistic(data.logits.astype(np.float64)), data.targets)
    story = fitted(tmp_path, p, "--from-probabilities", "--no-report")
    assert story.calibrator["logits"] == "log-odds of probabilities"
    plain = fitted(tmp_path, data, "--no-report").calibrator
    assert story.calibrator["slope"] == pytest.approx(plain["slope"], rel=1e-4)


def test_a_head_of_a_sigmoid_goes_onto_a_classifier(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((400, 6)).astype(np.float32)
    onnx.save(linear(), tmp_path / "classifier.onnx")
    logits = x @ WEIGHTS + BIAS
    labels = random.random(logits.shape) < logistic(logits.astype(np.float64) / 2)
    onto = ("--onto", str(tmp_path / "classifier.onnx"), "--output", "logits")
    story = fitted(tmp_path, MultiLabel.from_arrays(logits, labels), "--method", "vector", *onto)
    assert (story.takes, story.family) == ("inputs", "sigmoid")
    found = Head(tmp_path / "head.onnx").run({"x": x}, 1)["probabilities"]
    expected = logistic(logits.astype(np.float64) * story.calibrator["slope"] + story.calibrator["bias"])
    assert np.allclose(found, expected, atol=1e-6)


def test_a_class_whose_logits_point_the_wrong_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tagged(800)
    turned = MultiLabel.from_arrays(data.logits * np.array([1, 1, 1, -1]), data.targets)
    fitted(tmp_path, turned, "--no-report", classes=np.array(["a", "b", "c", "d"]))
    said = capsys.readouterr().err
    assert "higher logits make d less likely: are labels and logits in one order?" in said


def test_rows_too_few_to_hold_any_out_say_that_the_numbers_flatter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = fitted(tmp_path, tagged(40), "--no-report")
    assert story.calibrator["method"] == "temperature"
    said = capsys.readouterr()
    assert said.out.startswith(f"sigmoid, temperature: temperature {story.temperature:.4f}, 1 parameter from 40 rows")
    assert "none of 40 rows could be held out" in said.err


def never_right(data: MultiLabel) -> dict[str, Any]:
    labels = data.targets.copy()
    labels[:, 1] = False
    return {"labels": labels}


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "a two": ({"labels": np.where(np.arange(1200).reshape(300, 4) == 7, 2, 0)}, 2, "row 1, class 3: the label is 2;"),
    "one a row": ({"labels": np.zeros(300, int)}, 2, "labels have the shape [300]; expected [300, 4] of 0 and 1"),
    "NaN": ({"logits": np.full((300, 4), np.nan)}, 2, "row 0, class 0: the logit is nan; expected a number or -inf"),
    "never right": (never_right(tagged(300)), 1, "class 1 is right in no row; expected rows where it is and rows"),
    "shuffled": ({"labels": tagged(300, seed=5).targets}, 1, "the labels look shuffled"),
    "members": ({"logits": np.zeros((300, 2, 4))}, 2, "logits are float64 [300, 2, 4]; expected numbers [rows, cla"),
    "masked": ({"mask": np.zeros((300, 4), bool)}, 2, "the label is 1 and the class is masked out"),
}


@pytest.mark.parametrize(("spoilt", "code", "sentence"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_fitted_is_one_sentence_and_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: dict[str, Any], code: int, sentence: str
) -> None:
    data = tagged(300)
    np.savez(tmp_path / "rows.npz", **{"logits": data.logits, "labels": data.targets} | spoilt)
    assert fit(tmp_path / "rows.npz", tmp_path / "head.onnx") == code
    said = capsys.readouterr().err
    assert sentence in said
    assert not (tmp_path / "head.onnx").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "matrix"], "--method matrix is of softmax alone; the family is sigmoid"),
        (["--group", "tenant"], "--group is of softmax alone; the family is sigmoid"),
        (
            ["--missing-is-masked"],
            "--missing-is-masked is for logits with one label a row; expected none for the family sigmoid",
        ),
        (["--logits", "a,b"], "--logits is for logits with one label a row; expected none for the family sigmoid"),
        (["--laplace"], "--laplace is of softmax alone; the family is sigmoid"),
        (["--sets", "class"], "--sets class is where one class is right; the family is sigmoid"),
        (["--randomised"], "--randomised is where one class is right; the family is sigmoid"),
        (["--parameters", "members.json"], "an average of members is where one class is right; the family is sigmoid"),
        (["--parameters", "bias.json"], "--parameters has bias, which a fit finds itself"),
        (["--parameters", "short.json"], "--parameters: thresholds has 2 numbers; expected one for each of 4 classes"),
    ],
    ids=str,
)
def test_options_that_a_sigmoid_cannot_heed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("members.json").write_text('{"average":"logits"}')
    Path("bias.json").write_text('{"bias":[1,1,1,1]}')
    Path("short.json").write_text('{"thresholds":[0.5,0.5]}')
    assert fit(saved(tmp_path / "rows.npz", tagged(100)), tmp_path / "head.onnx", *options) == 2
    assert said in capsys.readouterr().err
