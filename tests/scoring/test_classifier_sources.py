"""A classifier's own inputs, from files: the answers are those of the service."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest

from service.cli import main
from tests.conftest import serving
from tests.heads.classifiers import linear
from tests.scoring.files import read, save

X = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32)
COLUMNS = {f"x_{i}": X[:, i] for i in range(6)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a classifier of six numbers."""
    folder = tmp_path_factory.mktemp("models")
    onnx.save(linear(), folder / "classifier.onnx")
    options = ["--onto", str(folder / "classifier.onnx"), "--output", "logits", "--temperature", "1.5"]
    assert main(["export", "--models", str(folder), "--name", "six", *options]) == 0
    (folder / "classifier.onnx").unlink()
    return folder


def score(models: Path, data: Path, output: Path, *options: str) -> int:
    where = ["--data", str(data), "--output", str(output), "--models", str(models)]
    return main(["score", "--model", "six", *where, "--outputs", "probabilities,prediction,entropy", *options])


@pytest.mark.parametrize("form", ["csv", "parquet", "lists", "npz"])
def test_inputs_are_scored_as_the_service_answers_them(tmp_path: Path, models: Path, form: str) -> None:
    path = tmp_path / f"rows.{'parquet' if form == 'lists' else form}"
    ids = [f"r{i}" for i in range(300)]
    if form == "npz":
        np.savez(path, x=X, id=np.array(ids))
    elif form == "lists":
        save(path, pa.table({"id": ids, "x": X.tolist()}))
    else:
        save(path, pa.table({"id": ids, **COLUMNS}))
    assert score(models, path, tmp_path / "out.parquet") == 0
    found = read(tmp_path / "out.parquet")
    with serving(models=models) as running:
        asked: dict[str, Any] = {"inputs": {"x": X.tolist()}, "outputs": ["probabilities", "prediction", "entropy"]}
        answer = running.predict(asked, "six").json()
    assert found["id"] == ids
    for name in ("probabilities", "entropy"):
        assert np.array(found[name], np.float32).tobytes() == np.array(answer[name], np.float32).tobytes()
    assert found["prediction"] == answer["prediction"]


@pytest.mark.parametrize(
    ("columns", "options", "sentence"),
    [
        ({"x_0": X[:, 0]}, (), "the input x takes 6 columns, found 1"),
        ({**COLUMNS, "x_3": ["a"] * 300}, (), "column x_3: 'a' is not a number"),
        ({**COLUMNS, "x_3": [None if i == 7 else 0.5 for i in range(300)]}, (), "row 7, input x: a number is missing"),
        (COLUMNS, ("--logits", "x_*"), "--logits is for logits; the head takes a classifier's inputs"),
        (COLUMNS, ("--missing-is-masked",), "--missing-is-masked is for logits"),
        (COLUMNS, ("--group", "tenant"), "no group"),
    ],
    ids=str,
)
def test_inputs_that_cannot_be_meant_are_refused(
    tmp_path: Path, models: Path, columns: Any, options: tuple[str, ...], sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = save(tmp_path / "rows.parquet", pa.table(columns))
    assert score(models, path, tmp_path / "out.parquet", *options) == 2
    assert sentence in capsys.readouterr().err


def test_arrays_that_are_none_of_the_inputs_are_refused(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", x=X[:, :4])
    np.savez(tmp_path / "b.npz", y=X)
    np.savez(tmp_path / "c.npz", x=np.where(X > 2.5, np.nan, X))
    row = int(np.argwhere(X > 2.5)[0, 0])
    sentences = (
        "the input x has the shape [300, 4]", "the input x is missing, found y", f"c.npz, row {row}, input x: a number"
    )  # fmt: skip
    for name, sentence in zip("abc", sentences, strict=True):
        assert score(models, tmp_path / f"{name}.npz", tmp_path / "out.parquet") == 2
        assert sentence in capsys.readouterr().err
    assert score(models, tmp_path / "nowhere.npz", tmp_path / "out.parquet") == 3
