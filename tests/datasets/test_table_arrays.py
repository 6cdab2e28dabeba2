"""Ten dirty files, as they come from notebooks and spreadsheets: each is read right, or refused with its sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from service.cli import main
from service.datasets import files
from service.errors import DataError
from service.metadata import Metadata
from tests.calibration.conftest import drawn
from tests.commands.test_fit import fitted
from tests.scoring.files import NAMES, save, table

N = 300
CLEAN = drawn(N, 3)


def columns(**others: Any) -> Any:
    """A table of 300 rows with names as labels, and other columns before them."""
    return table(CLEAN.logits, NAMES, **others, label=[NAMES[i] for i in CLEAN.labels])


def fold() -> list[int]:
    return [i % 5 for i in range(N)]


def with_missing(row: int) -> Any:
    values = [None if i == row else float(x) for i, x in enumerate(CLEAN.logits[:, 1])]
    return columns().set_column(2, "dog", pa.array(values, pa.float32()))


def numbered(**others: Any) -> Any:
    """The same with labels by number."""
    return table(CLEAN.logits, NAMES, **others, label=CLEAN.labels)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "an index": (lambda: columns(**{"": np.arange(N)}), "the column '' could be a logit or not: by its name"),
    "an index with a name": (lambda: columns(n=np.arange(7, N + 7)), "the column 'n' could be a logit or not: it"),
    "an id": (lambda: columns(id=np.arange(N)[::-1] * 3), "the column 'id' could be a logit or not: by its name"),
    "a fold": (lambda: columns(part=fold()), "the column 'part' could be a logit or not: it holds whole numbers"),
    "a date": (lambda: columns(day=["2026-01-05"] * N), "row 0, column day: '2026-01-05' is not a number; where the"),
    "a missing number": (lambda: with_missing(7), "row 7, class 1 (dog): the logit is missing or NaN; expected"),
    "a column of one name twice": (
        lambda: pa.Table.from_arrays([*map(pa.array, ([1.5], [2.5], ["a"]))], ["a", "a", "label"]),
        "has the column 'a' twice",
    ),
    "an unknown label": (
        lambda: table(CLEAN.logits, NAMES, label=["cat"] * (N - 1) + ["cow"]), "row 299: the label is 'cow'; expected"
    ),
}  # fmt: skip
READ: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "clean": (columns, ()),
    "shuffled columns": (lambda: columns().select(["eel", "label", "dog", "cat"]), ("--classes", "CLASSES")),
    "labels by number": (numbered, ()),
    "an id, a fold and a date, told": (
        lambda: columns(id=np.arange(N), fold=fold(), date=["2026-01-05"] * N), ("--logits", "cat,dog,eel")
    ),
    "the same by the names of the classes": (
        lambda: columns(id=np.arange(N), fold=fold(), date=["2026-01-05"] * N), ("--classes", "CLASSES")
    ),
    "a prefix": (
        lambda: columns(id=np.arange(N)).rename_columns(["id", "label", "z_cat", "z_dog", "z_eel"]), ("--logits", "z_*")
    ),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_something_else_is_refused(
    tmp_path: Path, name: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make, sentence = REFUSED[name]
    data = save(tmp_path / f"rows.{suffix}", make())
    assert main(["fit", "--data", str(data), "--to", str(tmp_path / "head.onnx")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "head.onnx").exists()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("name", READ)
def test_what_is_plain_is_read_right(tmp_path: Path, name: str, suffix: str) -> None:
    make, options = READ[name]
    data = save(tmp_path / f"rows.{suffix}", make())
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    told = [str(tmp_path / "classes.txt") if word == "CLASSES" else word for word in options]
    found = fitted(tmp_path, "--data", str(data), "--method", "temperature", "--no-report", *told)
    assert found.labels == NAMES
    assert found.temperature == pytest.approx(temperature(), rel=1e-6)


def temperature() -> float:
    """What is fitted to the clean rows."""
    from service.calibration.methods import Plan, fit

    return float(fit(CLEAN, Plan("temperature")).temperature)


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_missing_numbers_mask_where_that_is_asked_for(tmp_path: Path, suffix: str) -> None:
    logits = CLEAN.logits.copy()
    row = int(np.argmax(CLEAN.labels != 1))
    logits[row, 1] = np.nan
    path = tmp_path / f"rows.{suffix}"
    if suffix == "npz":
        np.savez(path, logits=logits, labels=CLEAN.labels, classes=np.array(NAMES))
    else:
        save(path, table(logits, NAMES, label=CLEAN.labels))
    with pytest.raises(DataError, match=rf"row {row}, class 1 \(dog\): the logit is missing or NaN"):
        files.load(path)
    data = files.load(path, missing_is_masked=True)["all"]
    assert data.mask is not None
    assert np.argwhere(~data.mask).tolist() == [[row, 1]]
    probabilities = np.exp(logits) / np.nansum(np.exp(logits), axis=1, keepdims=True)
    np.savez(tmp_path / "p.npz", logits=probabilities, labels=CLEAN.labels)
    assert files.load(tmp_path / "p.npz", from_probabilities=True, missing_is_masked=True)["all"].mask is not None


def test_a_class_without_rows_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = CLEAN.labels != 2
    data = save(tmp_path / "rows.csv", table(CLEAN.logits[rows], NAMES, label=CLEAN.labels[rows]))
    fitted(tmp_path, "--data", str(data), "--method", "temperature", "--no-report")
    assert "no row is labelled eel: is it a class?" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["npz", "csv", "npy"])
def test_a_binary_decision_function_is_understood_or_explained(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    z = random.standard_normal(N) * 4
    y = (z / 2 + random.logistic(size=N) > 0).astype(int)
    path = tmp_path / f"rows.{suffix}"
    more = ["--data", str(path), "--method", "temperature", "--no-report"]
    if suffix == "npz":
        np.savez(path, logits=z, labels=y)
    elif suffix == "npy":
        np.save(path, z)
        np.save(tmp_path / "y.npy", y)
        more += ["--labels", str(tmp_path / "y.npy")]
    else:
        save(path, pa.table({"score": z, "label": y}))
    assert main(["fit", *more, "--to", str(tmp_path / "head.onnx")]) == 2
    assert "logits are one number a row" in (told := capsys.readouterr().err)
    assert "or --binary where they are a decision_function's" in told
    found = fitted(tmp_path, *more, "--binary")
    assert (found.classes, found.labels) == (2, None)
    both = np.stack([np.zeros(N), z], axis=1)
    np.savez(tmp_path / "both.npz", logits=both, labels=y)
    expected = fitted(tmp_path, "--data", str(tmp_path / "both.npz"), *more[2:], "--name", "both")
    assert isinstance(found, Metadata)
    assert found.temperature == expected.temperature


def test_logits_of_two_columns_are_not_binary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = save(tmp_path / "rows.csv", columns())
    assert main(["fit", "--data", str(data), "--binary", "--to", str(tmp_path / "head.onnx")]) == 2
    assert "logits are [300, 3]; expected one number a row for --binary" in capsys.readouterr().err
