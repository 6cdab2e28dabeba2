"""`inspect`, `export`, `fit` and `evaluate` of a classifier, from its own inputs to what is served."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from service.cli import main
from service.commands.classifiers import compare_logits
from service.engine.head import Head
from service.families.outputs import graph_bits
from service.heads.attach import attach
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata
from tests.heads import classifiers
from tests.heads.test_choice import SIGMOIDS, ending

RNG = np.random.default_rng(5)
N = 1200
X = RNG.normal(size=(N, 6)).astype(np.float32)
LOGITS = X @ classifiers.WEIGHTS + classifiers.BIAS
LABELS = (LOGITS / 2 + RNG.gumbel(size=LOGITS.shape)).argmax(axis=1)  # overconfident by a temperature of 2
SPLIT = np.where(np.arange(N) < N // 2, "val", "test")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a classifier that ends in a softmax, and rows for it."""
    monkeypatch.chdir(tmp_path)
    onnx.save(classifiers.ending_in_softmax(), "classifier.onnx")
    np.savez("rows.npz", x=X, labels=LABELS, split=SPLIT)
    return tmp_path


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_inspect_prints_commands_that_do_what_they_say(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", "classifier.onnx") == 0
    told = capsys.readouterr().out
    assert "input        x: float32 [N, 6]" in told
    assert "logits       wide, before probabilities" in told
    commands = [line.split()[2:] for line in told.splitlines() if "calibrant" in line]
    assert [command[0] for command in commands] == ["export", "fit"]
    for command in commands:
        assert main([word.replace("FILE", "rows.npz").replace("NAME", "mine") for word in command]) == 0
    assert [path.name for path in sorted((folder / "models" / "mine").iterdir())] == ["1", "2"]
    capsys.readouterr()
    assert run("inspect", "--json", "classifier.onnx") == 0
    assert json.loads(capsys.readouterr().out)["options"] == [["--output", "wide"]]


def metrics(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, float]:
    """What `evaluate` measures."""
    capsys.readouterr()
    assert run("evaluate", "--model", *arguments, "--json") == 0
    return {name: one["value"] for name, one in json.loads(capsys.readouterr().out)["metrics"].items()}


def test_a_fit_runs_the_classifier_and_evaluate_finds_what_the_fit_proved(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", "--onto", "classifier.onnx", "--inputs", "rows.npz", "--to", "head.onnx") == 0
    head = Head(folder / "head.onnx")
    assert head.temperature == pytest.approx(2, rel=0.15)
    proved = head.metadata.metrics
    assert proved["after"]["ece"] < proved["before"]["ece"]
    found = metrics(capsys, "head.onnx", "--data", "rows.npz")
    assert found["nll"] == pytest.approx(proved["after"]["nll"], rel=1e-5)
    assert found["ece"] == pytest.approx(proved["after"]["ece"], rel=1e-4)


def test_a_table_has_a_column_for_each_number_of_the_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*(f"x_{i}" for i in range(6)), "label", "split"])
        table.writerows([*row, label, part] for row, label, part in zip(X.tolist(), LABELS, SPLIT, strict=True))
    for rows in ("rows.csv", "rows.npz"):
        assert run("fit", "--onto", "classifier.onnx", "--inputs", rows, "--no-report", "--to", f"{rows}.onnx") == 0
    one, other = (Head(folder / f"{rows}.onnx").metadata for rows in ("rows.csv", "rows.npz"))
    assert one.metrics == other.metrics
    assert metrics(capsys, "rows.csv.onnx", "--data", "rows.csv") == metrics(
        capsys, "rows.npz.onnx", "--data", "rows.npz"
    )


@pytest.mark.parametrize("rows", ["rows.npz", "rows.csv"])
def test_single_labels_are_fitted_on_what_comes_before_their_sigmoid(
    folder: Path, capsys: pytest.CaptureFixture[str], rows: str
) -> None:
    onnx.save(ending(SIGMOIDS), "sigmoid.onnx")
    targets = (RNG.random(LOGITS.shape) < 1 / (1 + np.exp(-LOGITS / 2))).astype(int)
    np.savez("rows.npz", x=X, labels=targets, split=SPLIT, classes=["a", "b", "c"])
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*(f"x_{i}" for i in range(6)), "label_a", "label_b", "label_c", "split"])
        table.writerows([*x, *y, part] for x, y, part in zip(X.tolist(), targets.tolist(), SPLIT, strict=True))
    options = ("--family", "sigmoid", "--inputs", rows, "--method", "temperature", "--no-report")
    assert run("fit", "--onto", "sigmoid.onnx", *options, "--to", "head.onnx") == 0
    head = Head(folder / "head.onnx")
    assert head.temperature == pytest.approx(2, rel=0.15)
    assert (head.signature.family.name, head.signature.labels) == ("sigmoid", ("a", "b", "c"))
    found = metrics(capsys, "head.onnx", "--data", rows)
    assert found["nll"] == pytest.approx(head.metadata.metrics["after"]["nll"], rel=1e-5)


def test_logits_that_are_not_the_classifiers_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = LOGITS.copy()
    wrong[3, 1] += 1
    np.savez("logits.npz", logits=wrong, labels=LABELS)
    np.savez("inputs.npz", x=X)
    options = ("--onto", "classifier.onnx", "--inputs", "inputs.npz", "--data", "logits.npz", "--to", "head.onnx")
    assert run("fit", *options) == 0
    said = capsys.readouterr().err
    assert f"are not the classifier's in 1 of {N} rows: in row 3, class 1," in said
    assert "the classifier's are taken" in said
    np.savez("logits.npz", logits=LOGITS, labels=LABELS)
    assert run("fit", *options) == 0
    assert "classifier's" not in capsys.readouterr().err


def test_logits_are_compared_by_shape_and_by_number() -> None:
    assert compare_logits(LOGITS, LOGITS) == ""
    assert compare_logits(LOGITS[:, :2], LOGITS) == (
        f"the logits in the data have the shape [{N}, 2], those of the classifier [{N}, 3]"
    )


REFUSED: dict[str, tuple[list[str], str]] = {
    "no data": ([], "there are no data; expected --data FILE, or --onto FILE with --inputs FILE"),
    "inputs without a classifier": (["--inputs", "rows.npz"], "--inputs is about a classifier; expected --onto FILE"),
    "probabilities": (
        ["--onto", "classifier.onnx", "--output", "probabilities", "--inputs", "rows.npz"],
        "holds probabilities, rows that add up to 1; expected logits: take --output wide",
    ),
    "another input": (
        ["--onto", "classifier.onnx", "--inputs", "other.npz"],
        "the input x is missing, found y, labels",
    ),
    "another shape": (
        ["--onto", "classifier.onnx", "--inputs", "narrow.npz"],
        "the input x has the shape [4, 2]; expected ['n', 6]",
    ),
    "words for numbers": (
        ["--onto", "classifier.onnx", "--inputs", "words.npz"],
        "the input x is <U1; expected float32",
    ),
}


@pytest.mark.parametrize(("options", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_fitted_is_refused_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], sentence: str
) -> None:
    np.savez("other.npz", y=X, labels=LABELS)
    np.savez("narrow.npz", x=X[:4, :2], labels=LABELS[:4])
    np.savez("words.npz", x=np.full((4, 6), "a"), labels=LABELS[:4])
    assert run("fit", "--name", "mine", *options) == 2
    assert sentence in capsys.readouterr().err
    assert not (folder / "models").exists()


def test_evaluate_counts_masks_and_groups_of_a_head_behind_a_classifier(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = Stages(1.5, group_temperatures=np.array([0.5, 3.0]))
    about = Metadata(calibrator={"method": "temperature", "group_temperatures": {"calm": 0.75, "bold": 4.5}})
    write(attach(classifiers.linear(), "logits", stages, about), folder / "head.onnx")
    groups = RNG.choice(["calm", "bold", "new"], N)
    mask = RNG.random((N, 3)) < 0.8
    mask[np.arange(N), LABELS] = True
    np.savez("masked.npz", x=X, labels=LABELS, tenant=groups, mask=mask)
    found = metrics(capsys, "head.onnx", "--data", "masked.npz", "--group", "tenant")
    temperature = np.select([groups == "calm", groups == "bold"], [0.75, 4.5], 1.5)
    z = np.where(mask, LOGITS / temperature[:, None], -np.inf)
    nll = np.log(np.exp(z).sum(axis=1)) - z[np.arange(N), LABELS]
    assert found["nll"] == pytest.approx(nll.mean(), rel=1e-5)


def test_evaluate_measures_what_a_head_of_another_family_answers(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(classifiers.linear(), "linear.onnx")
    assert run("export", "--onto", "linear.onnx", "--family", "sparsemax", "--temperature", 4, "--to", "head.onnx") == 0
    found = metrics(capsys, "head.onnx", "--data", "rows.npz")
    held_out = SPLIT == "test"
    answers = Head(folder / "head.onnx").run({"x": X[held_out]}, graph_bits(("probabilities",)))["probabilities"]
    assert found["accuracy"] == pytest.approx((answers.argmax(axis=1) == LABELS[held_out]).mean())
    assert found["brier"] == pytest.approx(((answers - np.eye(3)[LABELS[held_out]]) ** 2).sum(axis=1).mean(), rel=1e-5)
    assert found["impossible"] == pytest.approx((answers[np.arange(len(answers)), LABELS[held_out]] == 0).mean())


def test_evaluate_of_a_head_behind_a_classifier_wants_inputs_and_labels_in_one_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "--onto", "classifier.onnx", "--to", "head.onnx") == 0
    np.save("labels.npy", LABELS)
    assert run("evaluate", "--model", "head.onnx", "--data", "rows.npz", "--labels", "labels.npy") == 2
    assert "expected its inputs with labels in one file, --data" in capsys.readouterr().err


def test_a_classifier_that_no_row_can_be_made_up_for_is_served_with_one_of_its_own(folder: Path) -> None:
    """What serving warms up with is in the file."""
    node = helper.make_node("Gather", ["table", "ids"], ["words"], axis=0)
    shift = helper.make_node("Sub", ["given", "far"], ["ids"])
    total = helper.make_node("ReduceSum", ["words", "axes"], ["logits"], keepdims=0)
    weights: list[Any] = [("table", classifiers.WEIGHTS), ("far", np.array(1000)), ("axes", np.array([1]))]
    model = classifiers.made([shift, node, total], [("given", 7, ["n", 2])], [("logits", 1, ["n", 3])], weights)
    onnx.save(model, "far.onnx")
    assert run("export", "--onto", "far.onnx", "--to", "head.onnx") == 3
    assert not Path("head.onnx").exists()
    np.savez("far.npz", given=np.array([[1000, 1001], [1003, 1005]]))
    assert run("export", "--onto", "far.onnx", "--inputs", "far.npz", "--to", "head.onnx") == 0
    answer = Head(folder / "head.onnx").run({"given": np.array([[1001, 1002]])}, graph_bits(("probabilities",)))
    assert answer["probabilities"].shape == (1, 3)
