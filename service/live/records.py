"""The record of an answered row whose label came back, as the monitor reads it."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Records = NDArray[Any]
"""A structured array `[n]` of `RECORD`."""

RECORD: Final = np.dtype(
    [
        ("index", "<i8"),  # the label's number in the order of counting: 0, 1, 2, ... of a model's version
        ("predicted", "<i4"),  # the class that was answered
        ("label", "<i4"),  # the class that it was
        ("confidence", "<f8"),  # the probability of the predicted class
        ("log_p", "<f8"),  # the log-probability of the label; -inf is possible
        ("brier", "<f8"),  # sum over the classes of (p - y)^2, in [0,2]
        ("alpha", "<f8"),  # of the prediction set that was answered; NaN without one
        ("in_set", "?"),  # whether that set held the label
        ("apart", "?"),  # the row had a temperature, mask or allowed set of its own
        ("predicted_ns", "<i8"),  # since 1970
        ("labelled_ns", "<i8"),
        ("group", "O"),  # a string, or None
    ]
)


def right(rows: Records) -> NDArray[np.bool_]:
    """Whether the answered class was the label, `[n]`."""
    return np.asarray(rows["predicted"] == rows["label"])
