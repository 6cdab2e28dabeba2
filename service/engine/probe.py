"""Rows made up to try a head on, as many and as wide as one likes."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import Input

STEPS: Final = (8, 48, 224)  # sizes of a dimension that a classifier leaves open, such as a sequence's length: one fits
WORD: Final = "a"


def make_probe(
    inputs: Mapping[str, Input], n: int, open_size: int, example: Mapping[str, Any] | None = None
) -> dict[str, NDArray[Any]]:
    """`n` rows of `inputs`, `open_size` in each open dimension; copies of the row `example` where there is one."""
    feed: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in inputs.items():
        full = (n, *(open_size if size is None else size for size in shape))
        if example is not None:
            row = np.array(example[name], dtype)
            feed[name] = np.broadcast_to(row, (n, *row.shape)).copy()
        elif dtype is np.object_:
            feed[name] = np.full(full, WORD, object)
        elif np.dtype(dtype).kind == "f":
            # numpy.random would take 3 MB for this
            feed[name] = np.sin(np.arange(math.prod(full), dtype=np.float64)).reshape(full).astype(dtype)
        else:
            feed[name] = np.ones(full, dtype)
    return feed


def fastest_s(run: Callable[[], object], *, times: int = 5, budget_s: float = 0.1) -> float:
    """Seconds of the fastest of up to `times` runs, fewer once `budget_s` is spent."""
    best, spent = float("inf"), 0.0
    for _ in range(times):
        start = time.perf_counter()
        run()
        took = time.perf_counter() - start
        best, spent = min(best, took), spent + took
        if spent > budget_s:
            break
    return best
