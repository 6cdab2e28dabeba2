"""The rows of a request as the store keeps them: arrays as bytes, log-probabilities in half precision.

Of more than 64 classes the 32 likeliest are kept, and what the others have together.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MOST_CLASSES: Final = 64
LIKELIEST: Final = 32
WIDE: Final = np.dtype(
    [("classes", "<i4", (LIKELIEST,)), ("log_p", "<f2", (LIKELIEST,)), ("rest", "<f2"), ("k", "<i4")]
)
LOWEST: Final = float(np.finfo(np.float16).min)  # what is lower is -inf to float16; that is for what is impossible

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Kept:
    """A request in the store.

    Attributes:
        key: the digest of its id.
        day: of the answer, as 20261231; seq: its number within the day; none before it is stored.
        at_ns: when it was answered, since 1970.
        model: its `MODEL/VERSION`, by number.
        n: rows.
        apart: it had a mask or a temperature of its own.
        classes: int32 `[n]`, confidences: float32 `[n]`, as bytes.
        log_p: of all rows, as `pack_log_p` has them, or none.
        group: of all rows, or a list of one a row, as JSON, or none.
        alpha: of the prediction sets, or none; sets: uint8 `[n, w]` as bytes, a bit a class, or none.
    """

    key: bytes
    day: int
    seq: int
    at_ns: int
    model: int
    n: int
    apart: bool
    classes: bytes
    confidences: bytes
    log_p: bytes | None
    group: str | None = None
    alpha: float | None = None
    sets: bytes | None = None

    def group_of(self, row: int) -> str | None:
        """The name of a row's group, as it came."""
        found = None if self.group is None else json.loads(self.group)
        return found[row] if isinstance(found, list) else found

    def set_holds(self, row: int, label: int) -> bool:
        """Whether the prediction set of a row holds a class."""
        packed = b"" if self.sets is None else row_of(self.sets, self.n, row)
        return label // 8 < len(packed) and bool(packed[label // 8] >> label % 8 & 1)


def pack_log_p(log_p: NDArray[np.float32]) -> tuple[NDArray[Any], int]:
    """`[n, K]` as bytes, uint8 `[n, w]`, and w."""
    low = np.where(np.isneginf(log_p), -np.inf, np.maximum(log_p, LOWEST))
    n, k = log_p.shape
    if k <= MOST_CLASSES:
        return low.astype("<f2").view(np.uint8), 2 * k
    found = np.zeros(n, WIDE)
    best = np.argpartition(low, k - LIKELIEST, axis=1)[:, k - LIKELIEST :]
    found["classes"] = best
    found["log_p"] = np.take_along_axis(low, best, axis=1)
    p = np.exp(low, dtype=np.float64)
    np.put_along_axis(p, best, 0.0, axis=1)
    with np.errstate(divide="ignore"):
        found["rest"] = np.maximum(np.log(p.sum(axis=1)), LOWEST)
    found["k"] = k
    return found.view(np.uint8).reshape(n, WIDE.itemsize), WIDE.itemsize


def row_of(packed: bytes, n: int, row: int) -> bytes:
    """The bytes of one row."""
    width = len(packed) // n
    return packed[row * width : (row + 1) * width]


def n_classes(row: bytes) -> int:
    """K of a row."""
    return int(np.frombuffer(row, WIDE)["k"][0]) if len(row) == WIDE.itemsize else len(row) // 2


def unpack_log_p(row: bytes) -> Floats:
    """The log-probabilities of a row, float64 `[K]`; each of those that were not kept has its share of the rest."""
    if len(row) != WIDE.itemsize:
        return np.frombuffer(row, "<f2").astype(np.float64)
    (wide,) = np.frombuffer(row, WIDE)
    k = int(wide["k"])
    found = np.full(k, float(wide["rest"]) - np.log(k - LIKELIEST))
    found[wide["classes"]] = wide["log_p"]
    return found


def unpack_columns(row: bytes) -> Floats:
    """The log-probabilities of a row, float64 `[C]`: of wide rows those that were kept, and what each other has."""
    if len(row) != WIDE.itemsize:
        return np.frombuffer(row, "<f2").astype(np.float64)
    (wide,) = np.frombuffer(row, WIDE)
    return np.append(wide["log_p"].astype(np.float64), float(wide["rest"]) - np.log(int(wide["k"]) - LIKELIEST))


def sizes_of(row: bytes) -> Floats:
    """How many classes each of these columns stands for, float64 `[C]`."""
    if len(row) != WIDE.itemsize:
        return np.ones(len(row) // 2)
    return np.append(np.ones(LIKELIEST), n_classes(row) - LIKELIEST)


def column_of(row: bytes, label: int) -> int:
    """The column of a class."""
    if len(row) != WIDE.itemsize:
        return label
    found = np.flatnonzero(np.frombuffer(row, WIDE)["classes"][0] == label)
    return int(found[0]) if len(found) else LIKELIEST
