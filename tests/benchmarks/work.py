"""What is sent and what must come back: made-up inputs, the request body, and the answer by numpy in float64.

The same bytes go to every server. Logits are float32, a mask allows 80 % of the classes, each row has a temperature;
`/logits` after a shape sends the logits alone.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

SHAPE: Final = re.compile(r"(?P<n>[1-9]\d*)x(?P<k>[1-9]\d*)(?P<alone>/logits)?")
TOLERANCE: Final = 1e-6


class WrongAnswer(Exception):
    """A server that answers something else is not timed."""


@dataclass(frozen=True, eq=False)
class Work:
    """One kind of request.

    Attributes:
        name: as in a cell, `64x1000`.
        body: JSON.
        expected: the probabilities, float64 `[N, K]`.
        allowed: bool `[N, K]`; elsewhere a probability is exactly 0.
        tolerance: largest absolute error.
    """

    name: str
    body: bytes = field(repr=False)
    expected: NDArray[np.float64] = field(repr=False)
    allowed: NDArray[np.bool_] = field(repr=False)
    tolerance: float = TOLERANCE

    @property
    def answer_bytes(self) -> int:
        """How long an answer is that has the probabilities and nothing else."""
        return len(dumped({"probabilities": self.expected.astype(np.float32)}))

    def check(self, answer: bytes) -> None:
        """Compare an answer with what is expected.

        Raises:
            WrongAnswer: it has another shape, or is off by more than the tolerance.
        """
        self.compare(orjson.loads(answer)["probabilities"])

    def compare(self, probabilities: object) -> float:
        """The largest absolute error of `[N, K]` probabilities; raises WrongAnswer as `check` does."""
        given = np.asarray(probabilities, np.float64)
        if given.shape != self.expected.shape:
            raise WrongAnswer(f"{self.name}: the shape is {given.shape}; expected {self.expected.shape}")
        if (given[~self.allowed] != 0).any():
            raise WrongAnswer(f"{self.name}: a masked class has a probability; expected exactly 0")
        error = float(np.abs(given - self.expected).max())
        if not error <= self.tolerance:
            raise WrongAnswer(f"{self.name}: off by {error:.1e}; expected at most {self.tolerance:.0e}")
        return error


@dataclass(frozen=True, eq=False)
class Inputs:
    """logits float32 `[N, K]`, mask bool `[N, K]`, temperature float64 `[N]`."""

    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]
    temperature: NDArray[np.float64]


@cache
def made(shape: str) -> Work:
    """The work of a shape such as `1x1000` or `64x1000/logits`.

    Raises:
        ValueError: it is no shape.
    """
    match = SHAPE.fullmatch(shape)
    if match is None:
        raise ValueError(f"{shape!r} is no shape; expected 1x1000, or 1x1000/logits")
    given = inputs(int(match["n"]), int(match["k"]))
    sent = {"logits": given.logits, "mask": given.mask, "temperature": given.temperature}
    allowed, temperature = given.mask, given.temperature
    if match["alone"]:
        sent = {"logits": given.logits}
        allowed, temperature = np.ones_like(allowed), np.ones_like(temperature)
    return Work(shape, dumped(sent), softmax(given.logits, allowed, temperature), allowed)


def inputs(n: int, k: int) -> Inputs:
    """N rows of K classes, the same ones every time; in each row a class may be chosen."""
    random = np.random.default_rng(n * 1_000_003 + k)
    mask = random.random((n, k)) < 0.8
    mask[:, 0] = True
    logits = (4 * random.standard_normal((n, k))).astype(np.float32)
    return Inputs(logits, mask, random.uniform(0.5, 2.5, n).round(3))


def softmax(
    logits: NDArray[np.floating], allowed: NDArray[np.bool_], temperature: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Masked softmax of logits / T, in float64 throughout."""
    scores = np.where(allowed, logits.astype(np.float64), -np.inf)
    scores -= scores.max(axis=1, keepdims=True)
    powers = np.exp(scores / temperature[:, np.newaxis])
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def dumped(value: object) -> bytes:
    """JSON."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
