"""Files to datasets: .npz, a pair of .npy, .csv, .parquet. What a dataset must be stands in `dataset`.

A table has a column `label`, optionally `weight` and one of groups, and a column per class, named after the class or
`logit_` and the class; an empty cell is a class that may not be chosen. A table with a column `split` and an .npz
with the prefixes `val_` and `test_` hold two datasets: fitted on the first, measured on the second.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets import npz
from service.datasets.dataset import Dataset
from service.errors import DataError

Arrays = Mapping[str, NDArray[Any]]

PARTS: Final = ("val", "test")
COLUMNS: Final = {
    "label": "labels",
    "labels": "labels",
    "weight": "weights",
    "group": "groups",
    "split": "split",
}


def load(
    path: Path,
    labels: Path | None = None,
    *,
    from_probabilities: bool = False,
    group: str | None = None,
    named: tuple[str, ...] | None = None,
) -> dict[str, Dataset]:
    """The parts of a file: `{"val": ..., "test": ...}` where it has two, else `{"all": ...}`.

    `labels` is the second of a pair of .npy files. `from_probabilities` takes the logarithm of the numbers.
    `group` names the array or the column that holds each row's group. `named` are the classes' names in the order of
    the logits, in place of the data's own; labels may be of either.

    Raises:
        DataError: not there, not readable, or not a dataset; with the row where it can be named.
    """
    parts = split_parts(read_arrays(path, labels, group))
    return {name: dataset(part, group, named, from_probabilities=from_probabilities) for name, part in parts.items()}


def read_arrays(path: Path, labels: Path | None, group: str | None) -> Arrays:
    """The arrays of a file by name, whatever its format."""
    for needed in (path, labels):
        if needed is not None and not needed.is_file():
            raise DataError(f"there is no file {needed}")
    match path.suffix:
        case ".npz":
            return npz.arrays(path)
        case ".npy":
            if labels is None:
                raise DataError(f"{path.name} holds logits only; expected the labels as a second .npy: --labels FILE")
            return {"logits": npy(path), "labels": npy(labels)}
        case ".csv":
            return from_columns(read_columns(path), group)
        case ".parquet":
            return _parquet(path, group)
    raise DataError(f"{path.name}: expected a file .npz, .npy, .csv or .parquet")


def npy(path: Path) -> NDArray[Any]:
    try:
        return np.asanyarray(np.load(path, mmap_mode="r"))
    except ValueError as error:
        raise DataError(f"{path.name} does not read as .npy: {error}") from error


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a .csv file, as text, or of a .parquet file."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        if any(len(row) != len(header) for row in rows):
            row = next(i for i, row in enumerate(rows) if len(row) != len(header))
            raise DataError(f"row {row}: {len(rows[row])} cells, the header has {len(header)}", row=row)
        columns = zip(*rows, strict=True) if rows else ([] for _ in header)
        return dict(zip(header, map(np.array, columns), strict=True))
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError("reading .parquet needs pyarrow: pip install 'calibrant[tables]'") from error
    table = parquet.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}


def _parquet(path: Path, group: str | None) -> Arrays:
    columns = read_columns(path)
    if "logits" in columns:
        return from_columns({name: c for name, c in columns.items() if name != "logits"}, group) | {
            "logits": np.stack(list(columns["logits"]))
        }
    return from_columns(columns, group)


def from_columns(columns: Arrays, group: str | None) -> dict[str, NDArray[Any]]:
    if group is not None and group not in columns:
        raise DataError(f"there is no array or column {group!r}, found {', '.join(columns)}")
    names = COLUMNS if group is None else COLUMNS | {group: group}
    known = {names[name]: column for name, column in columns.items() if name in names}
    classes = {name: column for name, column in columns.items() if name not in names}
    if classes:
        called = [name.removeprefix("logit_") for name in classes]
        logits = np.stack([numbers(name, column) for name, column in classes.items()], axis=1)
        known |= {"logits": logits, "classes": np.array(called)}
        if np.isnan(logits).any():
            known["mask"] = ~np.isnan(logits)
    if "weights" in known:
        known["weights"] = numbers("weight", known["weights"])
    return known


def numbers(name: str, column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    values = np.empty(len(column))
    for row, cell in enumerate(column):
        try:
            values[row] = float(cell) if cell not in ("", None) else np.nan
        except ValueError as error:
            raise DataError(f"row {row}, column {name}: {str(cell)!r} is not a number", row=row) from error
        if str(cell).strip().lower() == "nan":
            raise DataError(f"row {row}, column {name}: the logit is NaN; expected a number or -inf", row=row)
    return values


def split_parts(arrays: Arrays) -> dict[str, Arrays]:
    if "split" in arrays:
        split = arrays["split"]
        if not np.isin(split, PARTS).all() or not all((split == part).any() for part in PARTS):
            raise DataError(f"the column split holds {sorted(set(map(str, split)))[:5]}; expected val and test")
        rows = {name: a for name, a in arrays.items() if name not in ("split", "classes")}
        shared = {name: a for name, a in arrays.items() if name == "classes"}
        return {part: {name: a[split == part] for name, a in rows.items()} | shared for part in PARTS}
    if any(name.startswith("val_") for name in arrays):
        shared = {name: a for name, a in arrays.items() if not name.startswith(("val_", "test_"))}
        found = [part for part in PARTS if any(name.startswith(f"{part}_") for name in arrays)]
        return {part: shared | _own(arrays, f"{part}_") for part in found}
    return {"all": arrays}


def _own(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def dataset(arrays: Arrays, group: str | None, named: tuple[str, ...] | None, *, from_probabilities: bool) -> Dataset:
    if "features" in arrays and "head_W" in arrays:
        arrays = {**arrays, "logits": linear(arrays)}
    if missing := {"logits", "labels"} - arrays.keys():
        raise DataError(f"{' and '.join(sorted(missing))} missing, found {', '.join(arrays) or 'nothing'}")
    logits = arrays["logits"]
    if logits.ndim in (2, 3) and logits.dtype.kind in "iu":
        logits = logits.astype(np.float32)
    if from_probabilities:
        logits = log_of_probabilities(logits)
    elif looks_like_probabilities(logits):
        raise DataError(
            "these look like probabilities (between 0 and 1, rows sum to 1); expected logits: "
            "with --from-probabilities their logarithm is taken, and serving then wants logarithms too"
        )
    own = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    if named is not None:
        check_names(named, own, logits.shape[-1])
    if group is not None and group not in arrays:
        raise DataError(f"there is no array or column {group!r}, found {', '.join(arrays)}")
    mask, weights = (arrays.get(name) for name in ("mask", "weights"))
    groups = None if group is None else arrays[group]
    return Dataset.from_arrays(logits, arrays["labels"], mask, weights, groups, named or own, own or ())


def check_names(named: tuple[str, ...], own: tuple[str, ...] | None, k: int) -> None:
    """Refuse names that are not those of the columns, as far as these have any that do not just count them."""
    if len(named) != k:
        raise DataError(f"the logits have {k} classes, there are {len(named)} names for them")
    if own is None or own == tuple(map(str, range(k))):
        return
    for index, (given, called) in enumerate(zip(named, own, strict=False)):
        if given != called and (given in own or called in named):
            raise DataError(
                f"class {index} is {called} in the data, but {given} in the names given: expected one order"
            )


def linear(arrays: Arrays) -> NDArray[np.float32]:
    """Features `[n,D]` times a linear head `[K,D]`, `[K]`, in float32."""
    weights = np.asarray(arrays["head_W"], np.float32)
    bias = np.asarray(arrays.get("head_b", np.zeros(len(weights))), np.float32)
    return np.asarray(np.asarray(arrays["features"], np.float32) @ weights.T + bias, np.float32)


def looks_like_probabilities(logits: NDArray[Any], rows: int = 1000) -> bool:
    """Whether the first rows lie in [0,1] and sum to 1."""
    head = np.asarray(logits[:rows], np.float64)
    if head.ndim not in (2, 3) or not ((head >= 0) & (head <= 1)).all():
        return False
    return bool(np.abs(head.sum(axis=-1) - 1).max() < 1e-3) if head.size else False


def log_of_probabilities(probabilities: NDArray[Any]) -> NDArray[np.float32]:
    """Their logarithm, float32; a 0 counts as the smallest positive number among them, at most 1e-12.

    An exact 0 is a rounding of the writer's, not a class without a score; with -inf no temperature could mend it.

    Raises:
        DataError: a number outside [0,1], with its row.
    """
    odd = ~((probabilities >= 0) & (probabilities <= 1 + 1e-3))
    if odd.any():
        row = int(np.argwhere(odd)[0, 0])
        raise DataError(
            f"row {row}: {probabilities[odd][0]} is not a probability; expected a number from 0 to 1", row=row
        )
    positive = probabilities[probabilities > 0]
    floor = min(float(positive.min()), 1e-12) if positive.size else 1e-12
    return np.asarray(np.log(np.maximum(probabilities, floor, dtype=np.float64)), np.float32)
