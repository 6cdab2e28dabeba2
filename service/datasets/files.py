"""Files to datasets: .npz, a pair of .npy, .csv, .parquet. What a dataset must be stands in `dataset`.

A table with a column `split` and an .npz with the prefixes `val_` and `test_` hold two datasets: fitted on the first,
measured on the second. What the columns of a table mean stands in `table_arrays`.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets import npz
from service.datasets.dataset import Dataset, check_mask
from service.datasets.table_arrays import Arrays, read_table, two_classes
from service.errors import CannotStart, DataError

PARTS: Final = ("val", "test")


def load(
    path: Path,
    labels: Path | None = None,
    *,
    from_probabilities: bool = False,
    group: str | None = None,
    named: tuple[str, ...] | None = None,
    logits: str | None = None,
    missing_is_masked: bool = False,
    binary: bool = False,
) -> dict[str, Dataset]:
    """The parts of a file: `{"val": ..., "test": ...}` where it has two, else `{"all": ...}`.

    `labels` is the second of a pair of .npy files. `from_probabilities` takes the logarithm of the numbers.
    `group` names the array or the column that holds each row's group. `named` are the classes' names in the order of
    the logits, in place of the data's own; labels may be of either. `logits` names their array or their columns.
    `missing_is_masked`: an empty cell or NaN is a class that may not be chosen. `binary`: the logits are one number a
    row, for the second of two classes.

    Raises:
        CannotStart: it is not there.
        DataError: not readable, or not a dataset; with the row where it can be named.
    """
    read = {"logits": logits, "binary": binary, "named": named}
    found = {}
    for name, part in split_parts(read_arrays(path, labels, group, **read)).items():
        arrays = prepare(part, logits, missing_is_masked=missing_is_masked, binary=binary)
        found[name] = dataset(arrays, group, named, from_probabilities=from_probabilities)
    return found


def read_arrays(path: Path, labels: Path | None, group: str | None, **columns: Any) -> Arrays:
    for needed in (path, labels):
        if needed is not None and not needed.is_file():
            raise CannotStart(f"there is no file {needed}")
    match path.suffix:
        case ".npz":
            return npz.arrays(path)
        case ".npy":
            if labels is None:
                raise DataError(f"{path.name} holds logits only; expected the labels as a second .npy: --labels FILE")
            return {"logits": npy(path), "labels": npy(labels)}
        case ".csv" | ".parquet":
            return read_table(path, group, **columns)
    raise DataError(f"{path.name}: expected a file .npz, .npy, .csv or .parquet")


def npy(path: Path) -> NDArray[Any]:
    try:
        return np.asanyarray(np.load(path, mmap_mode="r"))
    except ValueError as error:
        raise DataError(f"{path.name} does not read as .npy: {error}") from error


def split_parts(arrays: Arrays) -> dict[str, Arrays]:
    if "split" in arrays:
        column = arrays["split"]
        if not np.isin(column, PARTS).all() or not all((column == part).any() for part in PARTS):
            raise DataError(f"the column split holds {sorted(set(map(str, column)))[:5]}; expected val and test")
        rows = {name: a for name, a in arrays.items() if name not in ("split", "classes")}
        shared = {name: a for name, a in arrays.items() if name == "classes"}
        return {part: {name: a[column == part] for name, a in rows.items()} | shared for part in PARTS}
    if any(name.startswith("val_") for name in arrays):
        shared = {name: a for name, a in arrays.items() if not name.startswith(("val_", "test_"))}
        found = [part for part in PARTS if any(name.startswith(f"{part}_") for name in arrays)]
        return {part: shared | _own(arrays, f"{part}_") for part in found}
    return {"all": arrays}


def _own(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def prepare(arrays: Arrays, logits: str | None, *, missing_is_masked: bool, binary: bool) -> Arrays:
    """The arrays with `logits` under that name, `[n,2]` if they are binary, and a mask where a number is missing."""
    if logits is not None and logits in arrays:
        arrays = {**arrays, "logits": arrays[logits]}
    values = arrays.get("logits", np.empty((0, 2)))
    if binary:
        values = two_classes(values)
    elif values.ndim == 1 or values.shape[1:] == (1,):
        raise DataError(
            f"logits are one number a row, {list(values.shape)}; expected [rows, classes], or --binary where they are "
            "a decision_function's for the second of two classes"
        )
    if missing_is_masked and values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        known = ~missing if values.ndim == 2 else ~missing.any(axis=1)
        given = check_mask(arrays["mask"], *known.shape) if "mask" in arrays else np.True_
        arrays = {**arrays, "mask": np.asarray(known & given)}
        values = np.where(missing, values.dtype.type(0), values)
    return {**arrays, "logits": values} if "logits" in arrays else arrays


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
