"""`--family` and `--parameters`: what is made of them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from service.cli import main
from service.metadata import Metadata


def export(folder: Path, family: str, parameters: Any, *options: str) -> int:
    """The exit code of an export with these parameters."""
    file = folder / "parameters.json"
    file.write_text(parameters if isinstance(parameters, str) else json.dumps(parameters))
    return main(["export", "--to", str(folder / "head.onnx"), "--family", family, "--parameters", str(file), *options])


def story(folder: Path) -> Metadata:
    return Metadata.from_props({prop.key: prop.value for prop in onnx.load(folder / "head.onnx").metadata_props})


@pytest.mark.parametrize(
    ("family", "parameters", "said"),
    [
        ("sigmoid", {"thresholds": [0.2, 0.8]}, {"family": "sigmoid", "thresholds": (0.2, 0.8), "classes": 2}),
        ("sigmoid", {"scale": [2, 1], "bias": [0, 1]}, {"classes": 2}),
        ("softmax", {"prior": [0.25, 0.75]}, {"prior": (0.25, 0.75), "classes": 2}),
        ("entmax", {"alpha": 1}, {"family": "softmax", "alpha": None}),
        ("entmax", {"alpha": 1.5}, {"family": "entmax15", "alpha": None}),
        ("entmax", {"alpha": 2}, {"family": "sparsemax", "alpha": None}),
        ("entmax", {"alpha": 1.25}, {"family": "entmax", "alpha": 1.25}),
        ("ensemble", {}, {"family": "softmax", "ensemble": {"average": "logits"}}),
        ("sparsemax", {"weights": [0.5, 0.5]}, {"ensemble": {"average": "logits", "weights": [0.5, 0.5]}}),
    ],
    ids=str,
)
def test_the_file_says_what_it_computes(tmp_path: Path, family: str, parameters: Any, said: dict[str, Any]) -> None:
    assert export(tmp_path, family, parameters) == 0
    found = story(tmp_path)
    assert {key: getattr(found, key) for key in said} == said


WRONG: list[tuple[str, Any, str]] = [
    ("softmax", "{", "is not JSON"),
    ("softmax", "[]", "is not a JSON object; expected one of alpha, scale, bias"),
    ("softmax", {"slope": [1]}, "has the key 'slope'; expected alpha, scale"),
    ("softmax", {"alpha": 1.5}, "has an alpha, which entmax alone takes; the family is softmax"),
    ("entmax", {}, "--family entmax wants an alpha in --parameters, a number from 1 to 2"),
    ("entmax", {"alpha": 2.5}, "the alpha of entmax is 2.5; expected a number above 1 and below 2"),
    ("sparsemax", {"thresholds": [0.5]}, "has thresholds, of sigmoid alone; the family is sparsemax"),
    ("sigmoid", {"thresholds": [0.5, 1.5]}, "thresholds has a number below 0 or above 1; expected none"),
    ("sigmoid", {"scale": [1, "a"]}, "scale is not a list of finite numbers; expected one for each class"),
    ("sigmoid", {"scale": [1, 2], "bias": [1]}, "has 2 numbers in scale, 1 numbers in bias; expected one for each"),
    ("ensemble", {"average": "votes"}, "the average is 'votes'; expected logits or probabilities"),
    ("ensemble", {"weights": [0.5, 0.6]}, "the weights are [0.5, 0.6]; expected numbers from 0 that add up to 1"),
]


@pytest.mark.parametrize(("family", "parameters", "said"), WRONG, ids=[said for *_, said in WRONG])
def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], family: str, parameters: Any, said: str
) -> None:
    assert export(tmp_path, family, parameters) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "head.onnx").exists()


def test_options_that_contradict_the_parameters_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bias.txt").write_text("1 2")
    assert export(tmp_path, "softmax", {"bias": [1, 2]}, "--bias", str(tmp_path / "bias.txt")) == 2
    assert "both --bias and a bias in --parameters were given; expected one of them" in capsys.readouterr().err
    assert export(tmp_path, "softmax", {"prior": [0.5, 0.5]}, "--classes", "3") == 2
    assert "prior has 2 numbers; expected one for each of 3 classes" in capsys.readouterr().err
    assert export(tmp_path, "ensemble", {}, "--onto", "classifier.onnx", "--output", "logits") == 2
    assert "--onto has one classifier, which has no members" in capsys.readouterr().err
