"""Rows to score, as checked numpy arrays. Knows neither JSON nor ONNX.

What passes `Rows.from_logits` can be run beside anybody else's rows: a bad request never reaches a batch.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidValue

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
# Sums of squares below these prove that every number is finite and within float32, in one pass.
SAFE_POWER: Final = {np.dtype(np.float64): 1e76, np.dtype(np.float32): np.inf}
MINUS_INFINITY_BITS: Final = np.float32(-np.inf).view(np.uint32)
# float64 numbers in one SIMD register of ONNX Runtime's wheels (SSE2, NEON): a head pads its rows to a multiple.
PACKET: Final = 2
SUM_TOLERANCE: Final = 1e-3  # float16 probabilities add up to 1 within this


Temperature = float | NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
Input = tuple[type[np.generic], tuple[int | None, ...]]  # dtype, and the shape without the batch axis; none is open


class Runnable:
    """Rows that can be run beside anybody else's: `Rows`, or `single.Row`.

    A class and no protocol: where it is compiled, what is read of each row in a batch is a place in memory.

    Attributes:
        mask: bool `[N, K]`, true = the class may be chosen; none where the mask is already in the logits, as -inf.
        temperature: T > 0 for all rows, or float64 `[N, 1]`; none takes the head's.
        empty: the rows in which no class is left.
        looks_like_probabilities: every row is in [0, 1] and adds up to 1.
        n: how many they are.
        n_numbers: how many numbers of input.
        shape: what must agree for rows to share a batch: all dimensions but the first.
    """

    __slots__ = ("empty", "looks_like_probabilities", "mask", "n", "n_numbers", "shape", "temperature")

    mask: NDArray[np.bool_] | None
    temperature: Temperature | None
    empty: Sequence[int]
    looks_like_probabilities: bool
    n: int
    n_numbers: int
    shape: tuple[int, ...]

    @property
    @abstractmethod
    def inputs(self) -> Arrays:
        """Name to array, each `[N, ...]`; a head of its own has `logits`, float32 `[N, K]`."""

    @abstractmethod
    def part(self, start: int, stop: int) -> "Runnable":
        """The rows `start:stop`."""


class Rows(Runnable):
    """N rows for one head."""

    __slots__ = ("arrays",)

    def __init__(
        self,
        inputs: Arrays,
        mask: NDArray[np.bool_] | None = None,
        temperature: Temperature | None = None,
        empty: Sequence[int] = (),
        looks_like_probabilities: bool = False,
    ) -> None:
        self.arrays = inputs
        self.mask = mask
        self.temperature = temperature
        self.empty = empty
        self.looks_like_probabilities = looks_like_probabilities
        self.n_numbers = 0
        self.shape: tuple[int, ...] = ()
        for values in inputs.values():
            self.n, *rest = values.shape
            self.shape += (*rest, -1)  # -1 ends an input's
            self.n_numbers += values.size

    @property
    def inputs(self) -> Arrays:
        return self.arrays

    def part(self, start: int, stop: int) -> "Rows":
        """The rows `start:stop`, as views."""
        temperature = self.temperature
        return Rows(
            {name: values[start:stop] for name, values in self.inputs.items()},
            None if self.mask is None else self.mask[start:stop],
            temperature[start:stop] if isinstance(temperature, np.ndarray) else temperature,
        )

    def with_groups(self, groups: NDArray[np.int64] | None) -> "Rows":
        """The rows in groups, int64 `[N, 1]`; a temperature of the rows' own goes before that of a group."""
        if groups is None or self.temperature is not None:
            return self
        return Rows({**self.inputs, "group": groups}, self.mask, None, self.empty, self.looks_like_probabilities)

    @classmethod
    def from_logits(
        cls,
        logits: NDArray[np.float64] | NDArray[np.float32],
        mask: NDArray[np.bool_] | None = None,
        temperature: Temperature | None = None,
        *,
        masks_first: bool = True,
        came_as: tuple[int, ...] | None = None,
    ) -> Self:
        """Rows of logits that are safe to run.

        Args:
            logits: `[N, K]`, N >= 1, K >= 1. -inf is a class without a score. Under a false mask anything may stand.
            mask: `[N, K]`.
            temperature: finite and positive, checked by the caller.
            masks_first: the head's graph reads no masked logit: the mask goes into the logits here and now.
            came_as: the shape in which the logits came, `[N, K]` if they came so.

        Raises:
            InvalidValue: NaN, +inf or a number beyond float32 on an allowed class; names it as it came.
        """
        flat = logits.reshape(-1)
        power = np.vdot(flat, flat)  # as dot, but does not warn where it overflows: that shows in the power
        if power < SAFE_POWER[logits.dtype]:
            gaps = False
            values = logits.astype(np.float32, copy=False)
        else:
            allowed = logits if mask is None else np.where(mask, logits, -np.inf)
            values = within_float32(allowed, came_as or logits.shape)
            gaps = True
        if mask is not None:
            if masks_first:
                values = with_minus_infinity(values, mask)
            elif gaps:
                values[~mask & ~np.isfinite(values)] = 0.0
        return cls(
            {"logits": values},
            None if masks_first else mask,
            temperature,
            empty_rows(values, mask, gaps=gaps),
            bool(power <= len(logits) * (1 + SUM_TOLERANCE)) and looks_like_probabilities(logits),
        )

    @classmethod
    def from_members(
        cls,
        logits: NDArray[np.float64] | NDArray[np.float32],
        mask: NDArray[np.bool_] | None = None,
        temperature: Temperature | None = None,
        *,
        came_as: tuple[int, ...] | None = None,
    ) -> Self:
        """Rows of an ensemble: `logits` `[N, M, K]`, of M members each; `mask` `[N, K]` is one for all of them.

        A class that any member has no score for is not left. Otherwise as `from_logits`.

        Raises:
            InvalidValue: as there.
        """
        n, m, k = logits.shape
        every = None if mask is None else np.repeat(mask, m, axis=0)
        try:
            rows = cls.from_logits(logits.reshape(n * m, k), every, came_as=came_as or logits.shape)
        except InvalidValue as error:
            error.row = None if error.row is None else error.row // m
            raise
        values = rows.inputs["logits"].reshape(n, m, k)
        left = np.asarray(np.isfinite(values).all(axis=1))
        empty = np.flatnonzero(~left.any(axis=1)).tolist()
        return cls({"logits": values}, None, temperature, empty, rows.looks_like_probabilities)


def within_float32(values: NDArray[Any], came_as: tuple[int, ...]) -> NDArray[np.float32]:
    """`values` `[N, K]` as float32, with -inf passed through.

    Raises:
        InvalidValue: the first NaN, +inf or number beyond float32, by its place in the shape in which they came.
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    good = np.isfinite(narrow) | np.isneginf(values)
    if not good.all():
        row, class_ = (int(i) for i in np.argwhere(~good)[0])
        found = values[row, class_]
        what = "not a number" if np.isnan(found) else f"{found:g}"
        place = "".join(f"[{i}]" for i in np.unravel_index(row * values.shape[1] + class_, came_as))
        raise InvalidValue(
            f"logits{place} is {what}; expected a finite number within float32, or -inf (null in JSON) for a class "
            "without a score",
            code="bad_logit",
            row=row,
            class_=class_,
        )
    return narrow


def with_minus_infinity(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`values`, none of them NaN, with -inf wherever `mask`, of the same shape, is false.

    By way of bounds, -inf or NaN, which `fmin` passes over: one is the other's bits shifted by one. Booleans are hard
    to predict, and what branches on each of them (`putmask`, `where`) takes ten times as long.
    """
    bounds = np.right_shift(MINUS_INFINITY_BITS, mask, dtype=np.uint32, order="C").view(np.float32)
    return np.fmin(values, bounds, out=bounds)


def empty_rows(values: NDArray[np.float32], mask: NDArray[np.bool_] | None, *, gaps: bool) -> list[int]:
    """The rows in which no class is left: masked or -inf throughout."""
    if gaps:
        left = values > -np.inf
        if mask is not None:
            left &= mask
        return np.flatnonzero(~left.any(axis=1)).tolist()
    if mask is None or (len(mask) == 1 and b"\1" in mask.tobytes()):  # the usual cases, fast
        return []
    return np.flatnonzero(~mask.any(axis=1)).tolist()


def looks_like_probabilities(logits: NDArray[Any]) -> bool:
    """Whether all rows of `[N, K]`, K >= 2, are in [0, 1] and add up to 1: softmax applied twice is a classic."""
    if logits.shape[1] < 2 or not (logits >= 0).all():
        return False
    return bool((np.abs(logits.sum(axis=1) - 1) <= SUM_TOLERANCE).all())
