"""`calibrant fit` and `calibrant evaluate`, as they are typed."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli import main
from service.conformal import Conformal
from service.datasets.dataset import Dataset
from service.engine.head import Head
from service.metadata import Metadata
from tests.calibration.conftest import drawn
from tests.calibration.test_affine import skewed

import onnx  # isort: skip


def saved(path: Path, data: Dataset, test: Dataset | None = None, **more: Any) -> Path:
    """Write a dataset as .npz, with the prefixes `val_` and `test_` where there are two."""
    parts = {"": data} if test is None else {"val_": data, "test_": test}
    arrays: dict[str, Any] = {
        f"{prefix}{name}": getattr(part, name) for prefix, part in parts.items() for name in ("logits", "labels")
    }
    for prefix, part in parts.items():
        if part.mask is not None:
            arrays[f"{prefix}mask"] = part.mask
    np.savez(path, **arrays, **more)
    return path


def fitted(folder: Path, *options: str) -> Metadata:
    """Run `calibrant fit` and read what the head says of itself."""
    assert main(["fit", "--name", "own", "--models", str(folder / "models"), *options]) == 0
    newest = max((folder / "models" / "own").iterdir(), key=lambda version: int(version.name))
    return Head(newest / "model.onnx").metadata


def test_a_fit_writes_the_next_version_with_everything_in_its_metadata(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "rows.npz", drawn(1000), drawn(1000, seed=1))
    story = fitted(tmp_path, "--data", str(path))
    assert story.calibrator["method"] == "temperature"
    assert story.temperature == pytest.approx(2, rel=0.1)
    assert story.metrics["after"]["nll"] < story.metrics["before"]["nll"]
    assert (story.n_rows, story.classes, story.masked_fit) == (1000, 5, False)
    assert re.fullmatch("[0-9a-f]{64}", story.data_sha256 or "")
    assert "wrote" in capsys.readouterr().out
    fitted(tmp_path, "--data", str(path), "--no-report")
    assert (tmp_path / "models" / "own" / "2" / "model.onnx").is_file()


def test_the_report_stands_beside_the_head_and_needs_no_other_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "rows.npz", skewed(600))
    story = fitted(tmp_path, "--data", str(path), "--method", "vector+entropy")
    folder = tmp_path / "models" / "own" / "1"
    page = (folder / "report.html").read_text()
    assert page.count("<svg") == 7
    assert not re.search(r"(src|href)=\"?https?:|@import|<script", page)
    told = json.loads((folder / "report.json").read_text())
    assert told["metrics"]["after"] == story.metrics["after"]
    assert told["rows"]["held_out"] == "out of fold"
    assert [one["chosen"] for one in told["candidates"]] == [True]


def written_to(head: Path, data: Path, *options: str) -> int:
    """Fit into a file that is named, quickly."""
    return main(["fit", "--data", str(data), "--method", "temperature", "--to", str(head), *options])


def test_a_head_that_is_named_replaces_itself_and_its_own_report_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, head = saved(tmp_path / "rows.npz", drawn(200)), tmp_path / "head.onnx"
    assert written_to(head, path) == 0
    assert f"wrote {head}\n" in capsys.readouterr().out
    assert written_to(head, saved(tmp_path / "more.npz", drawn(300))) == 0
    assert f"wrote {head}, in place of what was there\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["rows"]["fitted"] == 300


@pytest.mark.parametrize("lost", ["report.json", "report.html", "neither"])
def test_the_report_of_another_head_is_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str) -> None:
    path = saved(tmp_path / "rows.npz", drawn(200))
    assert written_to(tmp_path / "cold.onnx", path) == 0
    (tmp_path / lost).unlink(missing_ok=True)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert written_to(tmp_path / "warm.onnx", path) == 2
    said = capsys.readouterr().err
    assert re.search(r"report\.\w+ is not the report of warm\.onnx, and would be lost: .*--no-report", said)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert written_to(tmp_path / "warm.onnx", path, "--no-report") == 0
    assert "warning" not in capsys.readouterr().err
    assert before.items() < {file.name: file.read_bytes() for file in tmp_path.iterdir()}.items()


def test_a_head_that_is_replaced_without_a_report_leaves_an_old_one_and_says_whose_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, head = saved(tmp_path / "rows.npz", drawn(200)), tmp_path / "head.onnx"
    assert written_to(head, path) == 0
    assert written_to(head, path, "--no-report") == 0
    assert f"{tmp_path / 'report.html'} is of the head that head.onnx was before" in capsys.readouterr().err


def test_evaluate_measures_the_head_as_the_fit_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "rows.npz", skewed(600), skewed(500, seed=1))
    story = fitted(tmp_path, "--data", str(path), "--method", "matrix", "--no-report")
    capsys.readouterr()
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    assert main(["evaluate", "--model", str(head), "--data", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    for name in ("nll", "brier", "ece", "classwise_ece", "smooth_ece"):
        assert found[name]["value"] == pytest.approx(story.metrics["after"][name], abs=2e-6), name


def test_a_masked_fit_says_so_and_evaluates_masked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "rows.npz", drawn(800, masked=True), drawn(800, seed=1, masked=True))
    story = fitted(tmp_path, "--data", str(path), "--method", "bias", "--no-report")
    assert story.masked_fit
    assert story.masks_first
    capsys.readouterr()
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    assert main(["evaluate", "--model", str(head), "--data", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["nll"]["value"] == pytest.approx(story.metrics["after"]["nll"], abs=2e-6)


def test_class_names_become_labels(tmp_path: Path) -> None:
    names = np.array(["a", "b", "c", "d", "e"])
    path = saved(tmp_path / "rows.npz", drawn(300), classes=names)
    assert fitted(tmp_path, "--data", str(path), "--no-report").labels == tuple(names)


def test_labels_of_the_classes_that_are_given_are_fitted_and_measured_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, names = drawn(300), np.array(["ant", "bee", "cat", "dog", "eel"])
    (tmp_path / "labels.txt").write_text("\n".join(names))
    path = tmp_path / "rows.npz"
    np.savez(path, logits=data.logits, labels=names[data.labels])
    options = ("--data", str(path), "--no-report", "--method", "temperature")
    story = fitted(tmp_path, *options, "--classes", str(tmp_path / "labels.txt"))
    assert story.labels == tuple(names)
    by_index = fitted(tmp_path, *options[2:], "--data", str(saved(tmp_path / "indices.npz", data)))
    assert story.metrics == by_index.metrics
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    capsys.readouterr()
    assert main(["evaluate", "--model", str(head), "--data", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 300
    np.savez(path, logits=data.logits, labels=np.where(np.arange(300) == 7, "fox", names[data.labels]))
    wrong = "row 7: the label is 'fox'; expected one of ant, bee, cat, dog, eel\n"
    for command in (["evaluate", "--model", str(head)], ["fit", "--name", "x", "--classes", f"{tmp_path}/labels.txt"]):
        assert main([*command, "--data", str(path)]) == 2
        assert capsys.readouterr().err.endswith(wrong)


def test_groups_become_an_input_of_the_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = drawn(1200)
    groups = np.repeat(["x", "y"], 600)
    data = replace(data, logits=data.logits * np.where(groups == "x", 1, 2)[:, None].astype(np.float32))
    path = saved(tmp_path / "rows.npz", data, tenant=groups)
    story = fitted(tmp_path, "--data", str(path), "--group", "tenant", "--method", "temperature", "--no-report")
    factors = story.calibrator["group_temperatures"]
    assert factors["y"] / factors["x"] == pytest.approx(2, rel=0.2)
    capsys.readouterr()
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    nll = []
    for options in ([], ["--group", "tenant"]):
        assert main(["evaluate", "--model", str(head), "--data", str(path), "--json", *options]) == 0
        nll.append(json.loads(capsys.readouterr().out)["metrics"]["nll"]["value"])
    assert nll[1] < nll[0] - 0.005


def test_the_sets_in_the_file_keep_their_promise(tmp_path: Path) -> None:
    path = saved(tmp_path / "rows.npz", skewed(1500))
    story = fitted(tmp_path, "--data", str(path), "--method", "vector", "--no-report")
    fresh = skewed(1500, seed=5)
    found = Head(tmp_path / "models" / "own" / "1" / "model.onnx").run({"logits": fresh.logits}, 2)["log_probabilities"]
    for score in ("lac", "aps", "raps"):
        sets = Conformal.from_metadata(story.conformal[score]).sets(found, 0.1)
        assert sets[np.arange(1500), fresh.labels].mean() > 0.875


def test_a_head_goes_onto_a_classifier(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = random.standard_normal((3, 4)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["z"])],
        "linear",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3])],
        [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 4])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "c.onnx",
    )
    path = saved(tmp_path / "rows.npz", skewed(400))
    onto = ("--onto", str(tmp_path / "c.onnx"), "--output", "z")
    story = fitted(tmp_path, "--data", str(path), "--method", "matrix+entropy", "--no-report", *onto)
    assert story.takes == "inputs"
    assert story.calibrator["folded"]


def test_from_probabilities_takes_their_logarithms_and_says_so(tmp_path: Path) -> None:
    data = drawn(400)
    p = np.exp(data.logits) / np.exp(data.logits).sum(axis=1, keepdims=True)
    path = saved(tmp_path / "rows.npz", replace(data, logits=p))
    story = fitted(tmp_path, "--data", str(path), "--from-probabilities", "--method", "temperature", "--no-report")
    assert story.temperature == pytest.approx(2, rel=0.2)
    assert story.calibrator["logits"] == "logarithms of probabilities"


@pytest.mark.parametrize(
    ("spoil", "code", "sentence"),
    [
        (lambda d: replace(d, labels=np.random.default_rng(0).permutation(d.labels)), 1, "the labels look shuffled"),
        (lambda d: replace(d, labels=np.full(400, 2)), 1, "every label is 2"),
        (lambda d: replace(d, labels=d.logits.argmax(axis=1)), 1, "every row is right"),
        (lambda d: replace(d, logits=np.where(d.logits > 3, np.nan, d.logits)), 2, "the logit is missing or NaN"),
        (lambda d: replace(d, labels=d.labels + 1), 2, "expected an index from 0 to 4"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["auto", "temperature", "matrix+entropy"])
def test_what_cannot_be_fitted_is_one_sentence_and_an_exit_code(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Dataset], Dataset],
    code: int,
    sentence: str,
    method: str,
) -> None:
    path = saved(tmp_path / "rows.npz", spoil(drawn(400)))
    options = ["--data", str(path), "--method", method, "--to", str(tmp_path / "head.onnx")]
    assert main(["fit", *options]) == code
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "head.onnx").exists()


@pytest.mark.parametrize("method", ["auto", "temperature", "bias", "vector", "matrix", "entropy", "matrix+entropy"])
@pytest.mark.parametrize("rows", ["saturated", "few", "without a score"])
def test_strange_logits_have_an_answer(tmp_path: Path, method: str, rows: str) -> None:
    data = drawn(40 if rows == "few" else 400)
    if rows == "saturated":
        data = replace(data, logits=data.logits * np.float32(1e4))
    if rows == "without a score":
        logits = data.logits.copy()
        least = np.arange(400), logits.argmin(axis=1)
        logits[least] = np.where(least[1] == data.labels, logits[least], -np.inf)
        data = replace(data, logits=logits)
    path = saved(tmp_path / "rows.npz", data)
    story = fitted(tmp_path, "--data", str(path), "--method", method, "--no-report")
    assert np.isfinite(story.metrics["after"]["nll"])
    assert story.metrics["after"]["nll"] <= story.metrics["before"]["nll"] + 0.05


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_a_few_good_rows_are_called_few_and_not_shuffled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    assert written_to(tmp_path / "head.onnx", saved(tmp_path / "rows.npz", drawn(rows, seed=1))) == 1
    said = capsys.readouterr().err
    assert f"{rows} rows are too few to tell these labels from shuffled ones: on average they are " in said
    assert "it takes some 50 rows" in said
    assert "look shuffled" not in said


def test_rows_too_few_to_hold_any_out_say_that_the_numbers_flatter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = saved(tmp_path / "few.npz", drawn(20))
    assert written_to(tmp_path / "few.onnx", few, "--no-report") == 0
    said = capsys.readouterr()
    assert "none of 20 rows could be held out" in said.err
    assert "expected 50 or more, or others to test on" in said.err
    assert ", 1 parameter from 20 rows\n" in said.out
    tested = saved(tmp_path / "tested.npz", drawn(20), drawn(200, seed=1))
    for path in (tested, saved(tmp_path / "many.npz", drawn(60))):
        assert written_to(tmp_path / "more.onnx", path, "--no-report") == 0
        assert "held out" not in capsys.readouterr().err


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_a_few_rows_can_be_measured_with_intervals_that_can_be_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    fitted(tmp_path, "--data", str(saved(tmp_path / "rows.npz", drawn(300))), "--no-report")
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    few = saved(tmp_path / "few.npz", drawn(rows))
    capsys.readouterr()
    assert main(["evaluate", "--model", str(head), "--data", str(few), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert {name for name, found in metrics.items() if "interval" not in found} == {"coverage", "set_size"}
    for name in metrics.keys() - {"coverage", "set_size"}:
        low, high = metrics[name]["interval"]
        assert 0 <= low <= high <= (np.inf if name in ("loss", "nll") else 2 if "brier" in name else 1), name
    assert main(["evaluate", "--model", str(head), "--data", str(few)]) == 0
    assert f"on {rows} row{'s' if rows > 1 else ''} (all)" in capsys.readouterr().out


def test_a_name_that_is_no_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "rows.npz", drawn(200))
    assert main(["fit", "--data", str(path), "--name", "../x", "--models", str(tmp_path)]) == 2
    assert "not a model name" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_exit_code_3_for_every_command(tmp_path: Path) -> None:
    for command in (
        ["fit", "--data", "nowhere.npz", "--name", "x"],
        ["fit", "--onto", "nowhere.onnx", "--inputs", "nowhere.npz", "--name", "x"],
        ["export", "--onto", "nowhere.onnx", "--name", "x"],
        ["export", "--classes", "nowhere.txt", "--name", "x"],
    ):
        assert main([*command, "--models", str(tmp_path)]) == 3, command


def test_data_of_another_width_than_the_head_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "rows.npz", drawn(300))
    fitted(tmp_path, "--data", str(path), "--no-report")
    other = saved(tmp_path / "other.npz", drawn(50, 3))
    head = tmp_path / "models" / "own" / "1" / "model.onnx"
    assert main(["evaluate", "--model", str(head), "--data", str(other)]) == 2
    assert "the data have 3 classes, the head has 5" in capsys.readouterr().err


def test_groups_are_no_reason_to_choose_a_richer_method(tmp_path: Path) -> None:
    data = drawn(3000)
    groups = np.repeat(["x", "y"], 1500)
    hot = np.where(groups == "x", 1, 5)[:, None].astype(np.float32)
    path = saved(tmp_path / "rows.npz", replace(data, logits=data.logits * hot), tenant=groups)
    assert (
        fitted(tmp_path, "--data", str(path), "--group", "tenant", "--no-report").calibrator["method"] == "temperature"
    )


def test_a_class_that_no_label_names_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = drawn(400)
    wider = np.column_stack([data.logits, np.full(400, -3, np.float32)])
    path = tmp_path / "rows.npz"
    np.savez(path, logits=wider, labels=data.labels, classes=np.array(["a", "b", "c", "d", "e", "fold"]))
    fitted(tmp_path, "--data", str(path), "--method", "temperature", "--no-report")
    said = capsys.readouterr()
    assert "6 classes: a, b, c, d, e, fold" in said.out
    assert "no row is labelled fold: is it a class?" in said.err


@pytest.mark.parametrize("family", ["sparsemax", "entmax15"])
def test_a_sparse_head_is_fitted_reported_and_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    draw = np.random.default_rng(3)
    z = draw.normal(size=(300, 4)) * 2
    labels = (z + draw.gumbel(size=z.shape)).argmax(axis=1)
    np.savez(tmp_path / "rows.npz", logits=(4 * z).astype(np.float32), labels=labels)
    head = tmp_path / "head.onnx"
    assert main(["fit", "--data", str(tmp_path / "rows.npz"), "--to", str(head), "--family", family]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{family}, temperature: temperature ")
    assert "impossible" in told
    story = Metadata.from_props({prop.key: prop.value for prop in onnx.load(head).metadata_props})
    assert (story.family, story.temperature > 3) == (family, True)
    assert story.prior == pytest.approx(np.bincount(labels) / 300)
    page = (tmp_path / "report.html").read_text()
    assert "Rows whose class got exactly 0" in page
    assert "Brier score of " in page
    assert main(["evaluate", "--model", str(head), "--data", str(tmp_path / "rows.npz"), "--json"]) == 0
    assert "impossible" in json.loads(capsys.readouterr().out)["metrics"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--family", "sparsemax", "--method", "matrix"], "--method matrix is of softmax alone"),
        (["--family", "entmax15", "--laplace"], "--laplace is of softmax alone; the family is entmax15"),
        (["--family", "sparsemax", "--group", "tenant"], "--group is of softmax alone"),
        (["--family", "sigmoid", "--parameters", "p.json"], "has scale, which a fit finds itself"),
    ],
    ids=str,
)
def test_a_family_s_fit_refuses_what_it_cannot_heed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.json").write_text('{"scale":[1,1]}')
    assert main(["fit", "--data", "rows.npz", "--name", "x", *options]) == 2
    assert said in capsys.readouterr().err
