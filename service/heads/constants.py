"""The constants of a head's graph, by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Floats
from service.errors import HeadError

Constants = Mapping[str, NDArray[Any]]


def array(constants: Constants, name: str) -> Floats | None:
    """A constant in float64, or none where there is none of this name."""
    return constants[name].astype(np.float64) if name in constants else None


def number(constants: Constants, name: str) -> float:
    """The one number of a constant that must be there."""
    if name not in constants:
        raise HeadError("lacks a constant of its calibrator: make it with `calibrant fit`")
    return float(constants[name].reshape(()))
