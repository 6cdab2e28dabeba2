"""Labels of any form to targets: what is known of each row, a number a class."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.codec.arrays import json_type
from service.codec.query import Query
from service.engine.signature import Signature
from service.errors import InvalidValue, count

SUM_TOLERANCE: Final = 1e-6


def read_labels(value: Any, query: Query, shape: tuple[int, ...], model: Signature) -> NDArray[np.float64]:
    """1 for each class that is right, 0 for the others, float64 `[N, K]`.

    Raises:
        InvalidValue: another number of labels than rows, or one that is no class.
    """
    n, k = shape
    many = not model.family.chooses_one
    if not query.lead and not (isinstance(value, list) and (not many or (value[:1] and isinstance(value[0], list)))):
        value = [value]  # that of one row, without a batch axis
    expected = "a list of classes a row" if many else "a class a row"
    if not isinstance(value, list) or len(value) != n:
        found = f"has {count(len(value), 'item')}" if isinstance(value, list) else f"is {json_type(value)}"
        raise InvalidValue(f"labels {found}; expected {expected}, for {count(n, 'row')}", code="bad_label")
    index = {label: i for i, label in enumerate(model.labels or ())}
    targets = np.zeros(shape)
    for row, label in enumerate(value):
        if many and not isinstance(label, list):
            raise InvalidValue(f"labels[{row}] is {json_type(label)}; expected {expected}", code="bad_label", row=row)
        for one in label if many else [label]:
            targets[row, class_of(one, row, k, index)] = 1
    return targets


def class_of(label: Any, row: int, k: int, index: dict[str, int]) -> int:
    """The index of a class, given as index or label."""
    if type(label) is int and 0 <= label < k:
        return label
    if type(label) is str and label in index:
        return index[label]
    what = "not a label of this model" if type(label) is str else f"not one of {count(k, 'class', 'classes')}"
    if type(label) not in (int, str):
        what = json_type(label)
    expected = f"an index from 0 to {k - 1}" + (", or a label" if index else "")
    raise InvalidValue(f"labels[{row}] is {what}; expected {expected}", code="bad_label", row=row)


def check_targets(targets: NDArray[np.float64], model: Signature) -> None:
    """Refuse soft labels that are no probabilities.

    Raises:
        InvalidValue: names the row.
    """
    wrong = ((targets < 0) | (targets > 1)).any(axis=1)
    if model.family.chooses_one:
        totals = targets.sum(axis=1)
        wrong |= np.abs(totals - 1) > SUM_TOLERANCE
    if wrong.any():
        row = int(wrong.argmax())
        what = "numbers from 0 to 1" + (" that add up to 1" if model.family.chooses_one else "")
        raise InvalidValue(
            f"the targets of row {row} add up to {targets[row].sum():g}; expected {what}", code="bad_target", row=row
        )


def smooth(
    targets: NDArray[np.float64], epsilon: float, allowed: NDArray[np.bool_], model: Signature
) -> NDArray[np.float64]:
    """Label smoothing over the classes that are allowed and have a score (Szegedy et al. 2016).

    (1 - epsilon) y + epsilon / n for n such classes; of a sigmoid (1 - epsilon) y + epsilon / 2.
    """
    if not epsilon:
        return targets
    n = np.maximum(allowed.sum(axis=1, keepdims=True), 1) if model.family.chooses_one else 2
    return np.asarray(np.where(allowed, (1 - epsilon) * targets + epsilon / n, 0))
