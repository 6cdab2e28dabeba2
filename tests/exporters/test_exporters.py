"""Classifiers by real exporters, from the file to the answers of the service: none is softmaxed twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.cli import main
from service.engine.head import Head
from service.families import SOFTMAX, find_family
from service.families.outputs import graph_bits
from service.heads.description import describe
from service.heads.stages import Stages
from tests.conftest import Running, serving
from tests.exporters.table import DOUBLED, LOGITS, NEAR, NEAR_ALONE, NEAR_HALF, PROBABILITIES, REFUSED, SINGLE

SERVED = (*LOGITS, *PROBABILITIES, *SINGLE)
NAMES = (*SERVED, *REFUSED)
T = 1.7
PROVED = ("torch-cnn", "lightgbm", "sklearn-text")
SIGMOID = find_family("sigmoid")
SMALLEST = 1e-12  # of the probabilities that a logarithm is taken of


def path_of(made: Path, name: str) -> Path:
    return made / name / "classifier.onnx"


def rows_of(made: Path, name: str) -> dict[str, NDArray[Any]]:
    """The inputs, labels, and what the package itself answers."""
    with np.load(made / name / "rows.npz") as arrays:
        return dict(arrays)


def options_of(name: str) -> list[str]:
    """What `export` and `fit` need beside `--onto`."""
    if name in SINGLE:
        return ["--family", "sigmoid", *SINGLE[name]]
    return ["--from-probabilities"] if name in PROBABILITIES else []


def reference(made: Path, name: str) -> NDArray[np.float64]:
    """What should be answered at the temperature T: by numpy, from the package's own logits."""
    rows = rows_of(made, name)
    if "own_logits" in rows:
        logits = rows["own_logits"]
    else:
        p = rows["own_probabilities"].astype(np.float64)
        logits = log(p) - (log(1 - p) if name in SINGLE else 0)
    family = SIGMOID if name in SINGLE else SOFTMAX
    return np.exp(Stages(T, family=family).log_probabilities(logits, None))


def log(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of probabilities, none of which counts as 0."""
    return np.log(np.maximum(p, SMALLEST))


@pytest.fixture(scope="module")
def models(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a head behind every classifier that is served, written by `export`."""
    folder = tmp_path_factory.mktemp("models")
    for name in SERVED:
        onto = ["--onto", str(path_of(made, name)), *options_of(name)]
        assert main(["export", *onto, "--temperature", str(T), "--name", name, "--models", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def service(models: Path) -> Iterator[Running]:
    """It serves all of them."""
    with serving(models=models, max_body_bytes=2**26) as running:
        yield running


def test_there_are_as_many_classifiers_as_the_table_has(made: Path) -> None:
    assert {folder.name for folder in made.iterdir()} == set(NAMES)
    assert len(NAMES) >= 25


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_found_or_a_sentence_says_why_not(made: Path, name: str) -> None:
    about = describe(path_of(made, name))
    if name in REFUSED:
        assert about.options == []
        assert REFUSED[name] in (about.refusal or "")
    elif name in SINGLE:
        assert about.options == [options_of(name)]
    elif name in PROBABILITIES:
        assert about.options == [["--from-probabilities"]]
        assert "expected logits, which the graph does not have: --from-probabilities" in (about.refusal or "")
    else:
        assert (about.options, about.refusal) == ([["--output", LOGITS[name]]], None)


@pytest.mark.parametrize("name", SERVED)
def test_the_answers_are_those_of_the_packages_own_logits(made: Path, models: Path, name: str) -> None:
    head = Head(models / name / "1" / "model.onnx")
    rows = rows_of(made, name)
    feed = {
        key: rows[key].astype(object) if dtype is np.object_ else rows[key]
        for key, (dtype, _) in head.signature.inputs.items()
    }
    found = head.run(feed, graph_bits(("probabilities",)))["probabilities"]
    near = NEAR_HALF if name == "torch-half" else NEAR
    np.testing.assert_allclose(found, reference(made, name), rtol=0, atol=near)


@pytest.mark.parametrize("name", SERVED)
def test_the_service_answers_them_over_json(made: Path, service: Running, name: str) -> None:
    rows = rows_of(made, name)
    head = service.service.repository.find(name).head
    answer = service.predict({"inputs": {key: rows[key][:3].tolist() for key in head.signature.inputs}}, name)
    assert answer.status_code == 200, answer.text
    near = NEAR_ALONE.get(name, NEAR)
    np.testing.assert_allclose(answer.json()["probabilities"], reference(made, name)[:3], rtol=0, atol=near)


@pytest.mark.parametrize("command", ["export", "fit"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_before_anything_is_written(
    made: Path, tmp_path: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "logits.npz")] if command == "fit" else []
    np.savez(tmp_path / "logits.npz", logits=np.zeros((100, 10)), labels=np.arange(100) % 10)
    onto = ["--onto", str(path_of(made, name))]
    assert main([command, *onto, *data, "--name", "mine", "--models", str(tmp_path / "models")]) in (2, 3)
    assert REFUSED[name] in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("name", DOUBLED)
def test_an_output_that_holds_probabilities_is_refused_and_what_is_said_to_be_right_is(
    made: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output, options = DOUBLED[name]
    command = ["export", "--onto", str(path_of(made, name)), "--to", str(tmp_path / "head.onnx")]
    assert main([*command, "--output", output]) == 2
    assert " ".join(options) in capsys.readouterr().err
    assert not (tmp_path / "head.onnx").exists()
    assert main([*command, *options]) == 0
    assert Head(tmp_path / "head.onnx").signature.takes == "inputs"


def test_scales_that_are_found_while_running_are_warned_of(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("int8", "int8-dynamic"):
        assert main(["export", "--onto", str(path_of(made, name)), "--to", str(tmp_path / f"{name}.onnx")]) == 0
        assert ("alone and beside other rows" in capsys.readouterr().err) == (name == "int8-dynamic")


@pytest.mark.parametrize("name", PROVED)
def test_a_fit_on_inputs_makes_held_out_rows_better_calibrated(
    made: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And `evaluate` measures the same on them."""
    rows = rows_of(made, name)
    n = len(rows["labels"])
    np.savez(tmp_path / "rows.npz", **rows, split=np.where(np.arange(n) % 2, "val", "test"))  # type: ignore[arg-type]
    head, data = str(tmp_path / "head.onnx"), str(tmp_path / "rows.npz")
    assert main(["fit", "--onto", str(path_of(made, name)), "--inputs", data, "--to", head, "--no-report"]) == 0
    capsys.readouterr()
    proved = Head(Path(head)).metadata.metrics
    assert proved["after"]["ece"] < proved["before"]["ece"]
    assert proved["after"]["nll"] < proved["before"]["nll"]
    assert main(["evaluate", "--model", head, "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]
    assert found["ece"]["value"] == pytest.approx(proved["after"]["ece"], abs=1e-4)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nothing_that_was_written_is_refused_by_serving(made: Path, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever is asked for of whichever classifier: a file that serves, or a sentence and no file."""
    name = data.draw(st.sampled_from(NAMES))
    about = describe(path_of(made, name))
    outputs = [*about.outputs, *about.logits, "label", "no such output"]
    arguments = ["--onto", str(path_of(made, name))]
    if output := data.draw(st.none() | st.sampled_from(outputs)):
        arguments += ["--output", output]
    if data.draw(st.booleans()):
        arguments.append("--from-probabilities")
    if data.draw(st.booleans()):
        arguments += ["--inputs", str(made / name / "rows.npz")]
    if data.draw(st.integers(0, 2)) and "--inputs" in arguments:
        arguments = [
            "fit",
            *arguments,
            "--no-report",
            "--method",
            data.draw(st.sampled_from(["temperature", "vector"])),
        ]
    else:
        arguments = ["export", *arguments, "--temperature", str(data.draw(st.sampled_from([0.5, 1.0, 3.0])))]
    head = tmp_path / "head.onnx"
    head.unlink(missing_ok=True)
    code = main([*arguments, "--to", str(head)])
    assert (code == 0) == head.exists()
    if code == 0:
        assert Head(head).signature.takes == "inputs"
    else:
        assert code in (1, 2, 3)
