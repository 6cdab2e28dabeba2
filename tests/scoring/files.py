"""Files to score, and what comes out of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from service.cli import main
from tests.conftest import ROOT

NAMES = ("cat", "dog", "eel")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MODELS = ("--models", str(ROOT / "models"))


def logits(n: int, k: int = 3, seed: int = 0) -> NDArray[np.float32]:
    return (3 * np.random.default_rng(seed).standard_normal((n, k))).astype(np.float32)


def table(values: NDArray[Any], names: tuple[str, ...], **others: Any) -> Any:
    """A column for each class, and others before them."""
    return pa.table(others | {name: values[:, i] for i, name in enumerate(names)})


def save(path: Path, rows: Any, **options: Any) -> Path:
    if path.suffix == ".csv":
        csv.write_csv(rows, path)
    else:
        parquet.write_table(rows, path, **options)
    return path


def read(path: Path) -> Mapping[str, Any]:
    """The columns of a file, or of the parts of a folder, as lists."""
    files = sorted(path.glob("part-*")) if path.is_dir() else [path]
    read_one = csv.read_csv if files[0].suffix == ".csv" else parquet.read_table
    columns: Mapping[str, Any] = pa.concat_tables([read_one(file) for file in files]).to_pydict()
    return columns


def score(data: Path | str, output: Path, *options: str, model: str = "digits") -> int:
    return main(["score", "--model", model, "--data", str(data), "--output", str(output), *MODELS, *options])
