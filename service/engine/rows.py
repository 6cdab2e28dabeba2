"""Rows to score, as checked numpy arrays. Knows neither JSON nor ONNX.

What passes `Rows.checked` can be run beside anybody else's rows: a bad request never reaches a batch.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, Self, TypeGuard, TypeVar, Union

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidValue

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
# Sums of squares below these prove that every number is finite and within float32, in one pass.
SAFE_POWER: Final = {np.dtype(np.float64): 1e76, np.dtype(np.float32): np.inf}
MINUS_INFINITY_BITS: Final = np.float32(-np.inf).view(np.uint32)
# float64 numbers in one SIMD register of ONNX Runtime's wheels (SSE2, NEON): a head pads its rows to a multiple.
LANES: Final = 2
SUM_TOLERANCE: Final = 1e-3  # float16 probabilities add up to 1 within this

# The outputs of a head's graph, in the order of their bits in a `wants`.
GRAPH_OUTPUTS: Final = ("probabilities", "log_probabilities", "scores", "logsumexp")
# What can be asked for, and the graph outputs that it is made of.
MADE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "probabilities": ("probabilities",),
    "log_probabilities": ("log_probabilities",),
    "prediction": ("scores",),
    "confidence": ("probabilities",),
    "entropy": ("probabilities", "log_probabilities"),
    "logsumexp": ("logsumexp",),
    "top": ("scores", "probabilities"),
    "prediction_set": ("log_probabilities",),
}

Made = TypeVar("Made")
Temperature = float | NDArray[np.float64]
Numbers = Union["array[float]", NDArray[np.float32]]  # read as buffers
Arrays = Mapping[str, NDArray[Any]]
Input = tuple[type[np.generic], tuple[int | None, ...]]  # dtype, and the shape without the batch axis; none is open


@lru_cache(maxsize=256)
def wants(outputs: tuple[str, ...]) -> int:
    """The graph outputs that `outputs` are made of, as bits."""
    bits = 0
    for output in outputs:
        for name in MADE_OF[output]:
            bits |= 1 << GRAPH_OUTPUTS.index(name)
    return bits


@cache
def graph_outputs(bits: int) -> tuple[str, ...]:
    """The names behind the bits of a `wants`."""
    return tuple(name for i, name in enumerate(GRAPH_OUTPUTS) if bits >> i & 1)


class Rows:
    """N rows for one head.

    Attributes:
        inputs: name to array, each `[N, ...]`; a head of its own has `logits`, float32 `[N, K]`.
        mask: bool `[N, K]`, true = the class may be chosen; none where the mask is already in the logits, as -inf.
        temperature: T > 0 for all rows, or float64 `[N, 1]`; none takes the head's.
        empty: the rows in which no class is left.
        looks_like_probabilities: every row is in [0, 1] and adds up to 1.
        n: how many they are.
        n_numbers: how many numbers of input.
        shape: what must agree for rows to share a batch: all dimensions but the first.
    """

    __slots__ = ("empty", "inputs", "looks_like_probabilities", "mask", "n", "n_numbers", "shape", "temperature")

    def __init__(
        self,
        inputs: Arrays,
        mask: NDArray[np.bool_] | None = None,
        temperature: Temperature | None = None,
        empty: Sequence[int] = (),
        looks_like_probabilities: bool = False,
    ) -> None:
        self.inputs = inputs
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

    def part(self, start: int, stop: int) -> "Rows":
        """The rows `start:stop`, as views."""
        temperature = self.temperature
        return Rows(
            {name: values[start:stop] for name, values in self.inputs.items()},
            None if self.mask is None else self.mask[start:stop],
            temperature[start:stop] if isinstance(temperature, np.ndarray) else temperature,
        )

    def grouped(self, groups: NDArray[np.int64] | None) -> "Rows":
        """The rows in groups, int64 `[N, 1]`; a temperature of the rows' own goes before that of a group."""
        if groups is None or self.temperature is not None:
            return self
        return Rows({**self.inputs, "group": groups}, self.mask, None, self.empty, self.looks_like_probabilities)

    @classmethod
    def checked(
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


class Row(Rows):
    """One row of logits for a head that masks first: those of a batch become one array, and are masked, at once.

    Attributes:
        numbers: float32, K of them; what is not allowed is finite, too.
        allowed: the mask, a byte 0 or 1 each; none allows all.
    """

    __slots__ = ("allowed", "numbers")

    def __init__(
        self, numbers: Numbers, allowed: bytes | None, temperature: float | None, empty: Sequence[int]
    ) -> None:
        k = len(numbers)
        self.numbers = numbers
        self.allowed = allowed
        self.mask = None
        self.temperature = temperature
        self.empty = empty
        self.looks_like_probabilities = False
        self.n = 1
        self.n_numbers = k
        self.shape = (k, -1)

    @classmethod
    def usual(cls, logits: NDArray[np.float64], allowed: bytes | None, temperature: float | None) -> Self | None:
        """The row of `logits` `[K]`, or none where they want a closer look, that of `Rows.checked`."""
        power = np.vdot(logits, logits)
        if not 1 + SUM_TOLERANCE < power < SAFE_POWER[logits.dtype]:  # probabilities have no more than 1
            return None
        empty = () if allowed is None or 1 in allowed else (0,)
        return cls(logits.astype(np.float32), allowed, temperature, empty)

    @property
    def inputs(self) -> Arrays:  # type: ignore[override]
        """As of any rows."""
        return {"logits": joined_row_logits([self])}


def joined_row_logits(many: Sequence[Row]) -> NDArray[np.float32]:
    """float32 `[N, K]` of rows of the same K, -inf where a class is not allowed."""
    k = many[0].n_numbers
    numbers: list[Any] = [row.numbers for row in many]
    logits = np.frombuffer(b"".join(numbers), np.float32)
    masks = [row.allowed for row in many]
    if masks.count(None) < len(masks):
        allowed = b"".join([mask or b"\1" * k for mask in masks])
        logits = with_minus_infinity(logits, np.frombuffer(allowed, np.bool_))
    return logits.reshape(-1, k)


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
            f"logits{place} is {what}; a finite number within float32, or null for a class without a score, "
            "was expected",
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


def joined(many: Sequence[Rows], default_temperature: float) -> dict[str, NDArray[Any]]:
    """One feed for a run over all rows of `many`, in order: name to array.

    A row without a temperature gets `default_temperature`; a row without a mask may choose every class.
    """
    feed: dict[str, NDArray[Any]] = {}
    if any(rows.temperature is not None for rows in many):
        feed["temperature"] = joined_temperatures(many, default_temperature)
    if only_single(many):
        feed["logits"] = joined_row_logits(many)
        return feed
    for name, values in many[0].inputs.items():
        feed[name] = values if len(many) == 1 else np.concatenate([rows.inputs[name] for rows in many])
    masks = [rows.mask for rows in many if rows.mask is not None]
    if masks:
        k = masks[0].shape[1]
        feed["mask"] = np.concatenate(
            [np.ones((rows.n, k), np.bool_) if rows.mask is None else rows.mask for rows in many]
        )
    return feed


def only_single(many: Sequence[Rows]) -> TypeGuard[Sequence[Row]]:
    """Whether each is a `Row`."""
    return {*map(type, many)} == {Row}


def joined_temperatures(many: Sequence[Rows], default: float) -> NDArray[np.float64]:
    """float64 `[N, 1]` over all rows of `many`."""
    if len(many) == 1 and isinstance(many[0].temperature, np.ndarray):
        return many[0].temperature
    column: list[float] = []
    for rows in many:
        given = rows.temperature
        if given is None:
            given = default
        if isinstance(given, np.ndarray):
            column += given[:, 0].tolist()
        elif rows.n == 1:
            column.append(given)
        else:
            column += [given] * rows.n
    return np.array(column, np.float64).reshape(-1, 1)


class Batch:
    """What a head said of all rows of a batch, and what is made of it for all of them together.

    Attributes:
        arrays: the head's outputs by name, each `[N, ...]`.
        of_single_rows: every request in it is one row.
    """

    __slots__ = ("arrays", "made", "of_single_rows")

    def __init__(self, arrays: Arrays, *, of_single_rows: bool) -> None:
        self.arrays = arrays
        self.of_single_rows = of_single_rows
        self.made: dict[Callable[[Arrays], Any], Any] = {}

    def once(self, make: "Callable[[Arrays], Made]") -> "Made":
        """What `make` makes of the arrays; made for the first who asks, the same for the others."""
        if make not in self.made:
            self.made[make] = make(self.arrays)
        made: Made = self.made[make]
        return made


class Part(Mapping[str, NDArray[Any]]):
    """One request's share of a batch: output name to the rows from `start` to `stop`."""

    __slots__ = ("batch", "start", "stop")

    def __init__(self, batch: Batch, start: int, stop: int) -> None:
        self.batch = batch
        self.start = start
        self.stop = stop

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.batch.arrays[name][self.start : self.stop]

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.arrays)

    def __len__(self) -> int:
        return len(self.batch.arrays)


class Answers:
    """What a head said of N rows; the rest is derived here, once, when asked for.

    Attributes:
        arrays: the head's outputs by name, each `[N, ...]`.
    """

    __slots__ = ("arrays",)

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def prediction(self) -> NDArray[np.int64]:
        """The best class, int64 `[N]`; -1 where no class is left. Ranked in float64, before the temperature."""
        scores = self.arrays["scores"]
        best: NDArray[np.int64] = scores.argmax(axis=1)
        best[np.isneginf(scores.max(axis=1))] = -1
        return best

    def confidence(self) -> NDArray[np.float32]:
        """The largest probability, float32 `[N]`; 0 where no class is left."""
        return np.asarray(self.arrays["probabilities"].max(axis=1))

    def entropy(self) -> NDArray[np.float32]:
        """Shannon entropy in nats, float32 `[N]`, summed in float64; 0 log 0 is 0."""
        p = self.arrays["probabilities"].astype(np.float64)
        log_p = np.where(p > 0, self.arrays["log_probabilities"], 0.0)
        # + 0.0 turns the -0.0 of a certain row into 0.0
        return np.asarray(-(p * log_p).sum(axis=1) + 0.0, np.float32)

    def logsumexp(self) -> NDArray[np.float32]:
        """Logarithm of the sum of exp(logit / T) over the allowed classes, float32 `[N]`; -inf where none is left."""
        return np.asarray(self.arrays["logsumexp"][:, 0])

    def top(self, k: int) -> list[NDArray[np.int64]]:
        """The best classes of each row, best first: at most k, and none that may not be chosen."""
        scores = self.arrays["scores"]
        k = min(k, scores.shape[1])
        # equal scores keep the order of the classes, as argmax does
        if k < scores.shape[1]:
            edge = np.partition(scores, -k, axis=1)[:, -k, np.newaxis]
            candidates = [np.flatnonzero(row) for row in scores >= edge]
        else:
            candidates = [np.arange(scores.shape[1])] * len(scores)
        best = []
        for row, some in zip(scores, candidates, strict=True):
            ranked = some[np.argsort(-row[some], kind="stable")][:k]
            best.append(ranked[row[ranked] > -np.inf])
        return best
