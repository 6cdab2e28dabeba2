"""One row of logits as bytes until its batch is joined, for speed: 16 % at 1x1000 and 16 connections.

Its plain twin is `rows.Rows`, which the same tests run on.
"""

from collections.abc import Sequence
from typing import Any, Final, Self, TypeGuard

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import SAFE_POWER, SUM_TOLERANCE, Arrays, Runnable, with_minus_infinity

FLOAT32: Final = np.dtype(np.float32)
WIDE_ROW: Final = 4096  # classes; wider rows are cheaper as arrays than as bytes that are joined


class Row(Runnable):
    """One row of logits for a head that masks first: those of a batch become one array, and are masked, at once.

    Attributes:
        numbers: float32 `[K]` as bytes; -inf is not allowed.
        allowed: a mask that is not in the numbers yet, a byte 0 or 1 each, or none.
    """

    __slots__ = ("allowed", "numbers")

    def __init__(self, numbers: bytes, allowed: bytes | None, temperature: float | None, empty: Sequence[int]) -> None:
        k = len(numbers) // 4
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
    def from_plain(
        cls, logits: NDArray[np.float64] | NDArray[np.float32], allowed: bytes | None, temperature: float | None
    ) -> Self | None:
        """The row of `logits` `[K]`, or none where they want a closer look, that of `Rows.from_logits`."""
        if not are_plain(logits):
            return None
        return cls(logits.astype(np.float32, copy=False).tobytes(), allowed, temperature, empty_row(allowed))

    @classmethod
    def from_bytes(cls, numbers: bytes, allowed: bytes | None, temperature: float | None) -> Self | None:
        """The same of float32 `[K]` as bytes."""
        if not are_plain(np.frombuffer(numbers, FLOAT32)):
            return None
        return cls(numbers, allowed, temperature, empty_row(allowed))

    @property
    def inputs(self) -> Arrays:
        """As of any rows."""
        return {"logits": join_logits([self])}

    def part(self, start: int, stop: int) -> Self:
        """The row itself: there is no smaller part of it."""
        assert (start, stop) == (0, 1)  # noqa: S101 - one row is never cut
        return self


def are_plain(logits: NDArray[Any]) -> bool:
    """Whether numbers `[K]` are finite and within float32, and surely no probabilities."""
    power = np.vdot(logits, logits)
    return bool(1 + SUM_TOLERANCE < power < SAFE_POWER[logits.dtype])  # probabilities have no more than 1


def empty_row(allowed: bytes | None) -> tuple[int, ...]:
    """The row's number, if no class of it is allowed."""
    return () if allowed is None or 1 in allowed else (0,)


def join_logits(many: Sequence[Row]) -> NDArray[np.float32]:
    """float32 `[N, K]` of rows of the same K, -inf where a class is not allowed."""
    k = many[0].n_numbers
    logits = np.frombuffer(b"".join([row.numbers for row in many]), np.float32)
    masks = [row.allowed for row in many]
    if masks.count(None) < len(masks):
        allowed = b"".join([mask or b"\1" * k for mask in masks])
        logits = with_minus_infinity(logits, np.frombuffer(allowed, np.bool_))
    return logits.reshape(-1, k)


def all_single(many: Sequence[Runnable]) -> TypeGuard[Sequence[Row]]:
    """Whether each is a `Row`."""
    return {*map(type, many)} == {Row}
