"""`calibrant evaluate` as a gate: two heads on the same rows, and bounds that must be kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli import main
from tests import heads_made
from tests.calibration.conftest import drawn
from tests.commands.test_fit import fitted, saved

DATA = drawn(2000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good head, a bad one, and rows to measure them on."""
    heads_made.head(tmp_path / "models" / "good" / "1" / "model.onnx", 2.0, classes=5)
    heads_made.head(tmp_path / "bad.onnx", 1.0, classes=5)
    saved(tmp_path / "test.npz", DATA)
    return tmp_path


def evaluate(folder: Path, model: str, *options: str) -> int:
    data = ["--data", str(folder / "test.npz"), "--models", str(folder / "models")]
    return main(["evaluate", "--model", model, *data, *options])


def test_a_worse_head_ends_with_code_4_and_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ("--require", "nll<=baseline", "--require", "ece<0.05", "--require", "accuracy>=baseline")
    bad = str(folder / "bad.onnx")
    assert evaluate(folder, bad, "--baseline", "good", *bounds) == 4
    told = capsys.readouterr()
    assert "nll is " in told.err
    assert "required nll<=baseline, which is" in told.err
    assert "required ece<0.05" in told.err
    assert "accuracy is" not in told.err
    assert "beside" in told.out
    assert "no prediction changes in 2,000 rows" in told.out
    assert evaluate(folder, "good", "--baseline", bad, *bounds) == 0
    assert evaluate(folder, "good/1", "--require", "ece<0.05") == 0


def test_json_has_the_comparison_and_the_verdicts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bounds = ("--require", "nll<=baseline+0.01", "--require", "brier<0.1")
    assert evaluate(folder, "good", "--baseline", str(folder / "bad.onnx"), "--json", *bounds) == 4
    found = json.loads(capsys.readouterr().out)
    difference = found["differences"]["nll"]
    assert difference["value"] == pytest.approx(found["metrics"]["nll"]["value"] - found["baseline"]["nll"])
    low, high = difference["interval"]
    assert low < difference["value"] < high < 0
    assert found["changes"]["changed"] == 0
    assert [one["holds"] for one in found["requirements"]] == [True, False]
    assert found["requirements"][0]["requirement"] == "nll<=baseline+0.01"


def test_the_sets_of_a_fit_have_their_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "rows.npz", drawn(3000), drawn(3000, seed=1))
    fitted(tmp_path, "--data", str(path), "--method", "temperature", "--no-report")
    capsys.readouterr()
    for alpha in (0.1, 0.3):
        options = ["--data", str(path), "--models", str(tmp_path / "models"), "--alpha", str(alpha)]
        baseline = ["--baseline", "own", "--require", "coverage>=baseline", "--require", "set_size<5"]
        assert main(["evaluate", "--model", "own", *options, *baseline, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["metrics"]["coverage"]["value"] == pytest.approx(1 - alpha, abs=0.025)
        assert found["differences"]["coverage"]["value"] == 0
        assert main(["evaluate", "--model", "own", *options]) == 0
        assert "coverage" in capsys.readouterr().out


def test_sets_by_group_are_counted_where_the_groups_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = np.where(np.arange(3000) % 3 == 0, "x", "y")
    path = saved(tmp_path / "rows.npz", drawn(3000), tenant=groups)
    options = ("--data", str(path), "--group", "tenant", "--sets", "group", "--method", "temperature", "--no-report")
    fitted(tmp_path, *options)
    np.savez(tmp_path / "new.npz", logits=DATA.logits, labels=DATA.labels, tenant=np.repeat(["x", "z"], 1000))
    capsys.readouterr()
    for data, asked, known in ((path, True, True), (path, False, False), (tmp_path / "new.npz", True, False)):
        more = ["--group", "tenant"] if asked else []
        command = ["evaluate", "--model", "own", "--models", str(tmp_path / "models"), "--data", str(data), *more]
        assert main([*command, "--json"]) == 0
        assert ("coverage" in json.loads(capsys.readouterr().out)["metrics"]) == known


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--require", "ece"), "--require is 'ece'; expected a metric"),
        (("--require", "mood<1"), "there is no metric 'mood'"),
        (("--require", "ece<baseline"), "there is no baseline; expected --baseline MODEL"),
        (("--alpha", "1"), "--alpha is 1; expected a number between 0 and 1"),
    ],
    ids=str,
)
def test_what_cannot_be_meant_is_refused(
    folder: Path, options: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(folder, "good", *options) == 2
    assert sentence in capsys.readouterr().err


def test_heads_with_their_classes_in_another_order_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: Any = ("ant", "bee", "cat", "dog", "eel")
    for name, labels in (("one", names), ("two", names[::-1])):
        heads_made.head(tmp_path / f"{name}.onnx", labels=labels)
    np.savez(tmp_path / "test.npz", logits=DATA.logits, labels=np.array(names)[DATA.labels])
    assert evaluate(tmp_path, str(tmp_path / "one.onnx"), "--baseline", str(tmp_path / "two.onnx")) == 2
    assert "the two heads read the labels differently" in capsys.readouterr().err


def test_the_report_is_a_page_of_all_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "report.html"
    bounds = ("--require", "nll<=baseline", "--require", "accuracy>0.1")
    bad = str(folder / "bad.onnx")
    assert evaluate(folder, bad, "--baseline", "good", *bounds, "--report", str(page)) == 4
    text = page.read_text()
    assert "<h1>Evaluation report</h1>" in text
    assert "on 2,000 rows (all), beside <b>good</b>. No prediction changes in 2,000 rows." in text
    assert "<td>nll&lt;=baseline</td>" in text
    assert text.count("not kept") == 1
    assert text.count("<figure>") == 4
    assert f"<title>Evaluation report: {bad}</title>" in text
    assert evaluate(folder, "good", "--report", str(page), "--json") == 0
    assert page.read_text().count("<figure>") == 2
    assert "Beside the baseline" not in page.read_text()
    assert evaluate(folder, "good", "--report", str(folder / "nowhere" / "report.html")) == 3
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


def test_heads_of_any_number_of_labels_are_held_against_a_baseline(
    folder: Path, family_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((500, 4))
    targets = random.random((500, 4)) < 1 / (1 + np.exp(-logits))
    np.savez(folder / "test.npz", logits=logits.astype(np.float32), labels=targets.astype(np.int8))
    good, bad = (str(family_models / name / "1" / "model.onnx") for name in ("sigmoid", "sigmoid-affine-a"))
    assert evaluate(folder, good, "--baseline", bad, "--require", "nll<baseline") == 0
    assert bad in capsys.readouterr().out
    assert evaluate(folder, bad, "--baseline", good, "--require", "nll<=baseline", "--json") == 4
    assert "differences" not in json.loads(capsys.readouterr().out)
    assert evaluate(folder, good, "--logits", "scores") == 2
    assert (
        "--logits is for logits with one label a row; expected none for the family sigmoid" in capsys.readouterr().err
    )
