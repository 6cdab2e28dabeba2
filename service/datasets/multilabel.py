"""Logits with any number of right classes a row: a matrix of zeros and ones beside them, checked once.

In .npz, and in a pair of .npy: `logits` `[n,K]` and `labels` `[n,K]` of 0 and 1, with `mask`, `classes` and the
prefixes `val_` and `test_` as everywhere. In .csv and .parquet a column `logit_NAME` and a column `label_NAME` for each
class, or in .parquet two columns `logits` and `labels` of lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets import files, table_arrays
from service.datasets.dataset import Bools, check_mask, usable_classes
from service.datasets.table_arrays import Arrays
from service.errors import DataError

LOGIT, LABEL = "logit_", "label_"
UNHEARD: Final = ("weights", "groups")
"""What a dataset of one label a row may bring, and this one does not take."""


@dataclass(frozen=True)
class MultiLabel:
    """Rows to fit on or to measure on; made by `from_arrays`, never by hand.

    logits: `[n,K]` float32 or float64, -inf for a class without a score.
    targets: `[n,K]` bool, true = the class is right.
    mask: `[n,K]` bool, true = the class may be chosen; none where every class may.
    """

    logits: NDArray[Any]
    targets: Bools
    mask: Bools | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def n_rows(self) -> int:
        return len(self.logits)

    @property
    def n_classes(self) -> int:
        return int(self.logits.shape[1])

    @property
    def allowed(self) -> Bools:
        """The classes that take part, `[n,K]`: allowed, and with a score."""
        return usable_classes(np.asarray(self.logits), self.mask)

    def name(self, class_: int) -> str:
        """A class, for a sentence."""
        return f"class {class_}" + ("" if self.class_names is None else f" ({self.class_names[class_]})")

    def take(self, rows: NDArray[Any] | slice) -> "MultiLabel":
        """Some of the rows: indices `[m]`, bool `[n]` or a slice."""
        mask = None if self.mask is None else self.mask[rows]
        return replace(self, logits=self.logits[rows], targets=self.targets[rows], mask=mask)

    @classmethod
    def from_arrays(
        cls,
        logits: NDArray[Any],
        labels: NDArray[Any],
        mask: NDArray[Any] | None = None,
        class_names: tuple[str, ...] | None = None,
    ) -> "MultiLabel":
        """Rows that can be fitted on.

        Raises:
            DataError: a shape or a number that cannot be meant, with the row where it stands.
        """
        if logits.ndim != 2 or logits.dtype.kind not in "fiu" or 0 in logits.shape:
            raise DataError(f"logits are {logits.dtype} {list(logits.shape)}; expected numbers [rows, classes]")
        n, k = logits.shape
        if labels.shape != (n, k):
            raise DataError(f"labels have the shape {list(labels.shape)}; expected {[n, k]} of 0 and 1, as the logits")
        if class_names is not None and len(class_names) != k:
            raise DataError(f"there are {len(class_names)} class names, the logits have {k} classes")
        allowed = None if mask is None else check_mask(np.asarray(mask), n, k)
        values = logits if logits.dtype in (np.float32, np.float64) else logits.astype(np.float32)
        data = cls(values, np.asarray(labels == 1), allowed, class_names)
        data._check_values(labels)
        return data

    def _check_values(self, labels: NDArray[Any]) -> None:
        """Refuse labels other than 0 and 1, NaN and +inf where they are read, and right classes that take no part."""
        read = np.ones(self.targets.shape, np.bool_) if self.mask is None else self.mask
        for wrong, what in (
            (read & ~(self.targets | np.asarray(labels == 0)), "the label is {label}; expected 0 or 1"),
            (read & ~(self.logits < np.inf), "the logit is {logit}; expected a number or -inf"),
            (self.targets & ~self.allowed, "the label is 1 and the class is {how}; expected a class that may be right"),
        ):
            if wrong.any():
                row, class_ = map(int, np.argwhere(wrong)[0])
                how = "without a score" if read[row, class_] else "masked out"
                told = what.format(label=labels[row, class_], logit=self.logits[row, class_], how=how)
                raise DataError(f"row {row}, {self.name(class_)}: {told}", row=row)


def load(
    path: Path,
    labels: Path | None = None,
    *,
    from_probabilities: bool = False,
    named: tuple[str, ...] | None = None,
) -> dict[str, MultiLabel]:
    """The parts of a file, as `files.load` has them; `from_probabilities` takes the log-odds of the numbers.

    Raises:
        DataError: not there, not readable, or not such rows.
    """
    parts = files.split_parts(read_arrays(path, labels))
    return {name: read_part(arrays, named, from_probabilities=from_probabilities) for name, arrays in parts.items()}


def read_arrays(path: Path, labels: Path | None) -> Arrays:
    """The arrays of a file by name, whatever its format."""
    if path.suffix in (".csv", ".parquet") and path.is_file():
        return from_columns(table_arrays.read_table_columns(path))
    return files.read_arrays(path, labels, None)


def from_columns(columns: Arrays) -> Arrays:
    """Pairs of columns as two matrices; an empty logit is a class that may not be chosen."""
    if {"logits", "labels"} <= columns.keys():
        return {**columns, **{name: np.stack(list(columns[name])) for name in ("logits", "labels")}}
    names = [name.removeprefix(LOGIT) for name in columns if name.startswith(LOGIT)]
    missing = [name for name in names if f"{LABEL}{name}" not in columns]
    if not names or missing:
        lacking = f"there is no {LABEL}{missing[0]}" if names else f"found {', '.join(columns)}"
        raise DataError(f"expected a column {LOGIT}NAME and a column {LABEL}NAME for each class; {lacking}")
    logits, targets = (
        np.stack([table_arrays.numbers(prefix + name, columns[prefix + name]) for name in names], axis=1)
        for prefix in (LOGIT, LABEL)
    )
    found: dict[str, NDArray[Any]] = {"logits": logits, "labels": targets, "classes": np.array(names)}
    if np.isnan(logits).any():
        found["mask"] = ~np.isnan(logits)
    return found | {name: columns[column] for column, name in table_arrays.COLUMNS.items() if column in columns}


def read_part(arrays: Mapping[str, Any], named: tuple[str, ...] | None, *, from_probabilities: bool) -> MultiLabel:
    """Arrays by name as rows."""
    if missing := {"logits", "labels"} - arrays.keys():
        raise DataError(f"{' and '.join(sorted(missing))} missing, found {', '.join(arrays) or 'nothing'}")
    if unheard := [name for name in UNHEARD if name in arrays]:
        raise DataError(f"the data have {unheard[0]}; expected none, for every row of a sigmoid counts once")
    own = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    logits = arrays["logits"]
    if named is not None:
        files.check_names(named, own, logits.shape[-1])
    if from_probabilities:
        logits = files.log_of_probabilities(logits) - files.log_of_probabilities(1 - logits)
    elif logits.dtype.kind == "f" and logits.ndim == 2 and ((logits >= 0) & (logits <= 1)).all():
        raise DataError(
            "these look like probabilities (all between 0 and 1); expected logits: "
            "with --from-probabilities their log-odds are taken, and serving then wants log-odds too"
        )
    return MultiLabel.from_arrays(logits, arrays["labels"], arrays.get("mask"), named or own)
