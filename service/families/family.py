"""What every family of heads has in common: what can be asked of it, and how that follows from the graph's outputs.

x are the scores over the temperature; p = argmax <p, x> + H(p) for an entropy H of the family's own. Its loss is
L(x, y) = <p - y, x> + H(p), whose gradient with respect to x is p - y: the Fenchel-Young losses of Blondel, Martins and
Niculae 2020. All in numpy, in float64 but for what the graph answers.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# What can be asked of a family that chooses one class, and the graph outputs that it is made of.
ONE_CLASS: Final[Mapping[str, tuple[str, ...]]] = {
    "probabilities": ("probabilities",),
    "log_probabilities": ("log_probabilities",),
    "prediction": ("scores",),
    "confidence": ("probabilities",),
    "margin": ("probabilities",),
    "entropy": ("probabilities", "log_probabilities"),
    "logsumexp": ("logsumexp",),
    "top": ("scores", "probabilities"),
    "prediction_set": ("log_probabilities",),
    "scores": ("scores",),
}


class Answers(Protocol):
    """What a graph answered, by the names of its outputs, each `[N, ...]`: a dict, or a request's share of a batch."""

    def __getitem__(self, name: str, /) -> NDArray[Any]: ...

    def __contains__(self, name: object, /) -> bool: ...

    def keys(self) -> Iterable[str]:
        """The names."""


class Family(ABC):
    """A family of heads; `arrays` are what the graph computed of N rows, by name.

    Attributes:
        name: as `calibrant export --family` and a head's metadata have it.
        alpha: of entmax alone: what it is between softmax and sparsemax.
        use: when to use it, in three sentences.
        made_of: what can be asked for, and the outputs of the graph that it is made of.
        chooses_one: its prediction is one class; else any number of them.
        shifted: its scores are the calibrated logits less the row's maximum; else they are the logits themselves.
    """

    name: str
    alpha: Any = None
    use: str
    made_of: ClassVar[Mapping[str, tuple[str, ...]]] = ONE_CLASS
    shifted: ClassVar[bool] = True
    chooses_one: ClassVar[bool] = True

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @abstractmethod
    def distribution(self, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Probabilities and log-probabilities of `x` `[..., K]`, -inf where a class may not be chosen.

        In the float that `x` comes in, which is what the graph is held against; zeros and -inf where none is left.
        """

    @abstractmethod
    def entropies(self, p: Floats) -> Floats:
        """H(p) of each row of `p` `[N, K]`."""

    @abstractmethod
    def sensitivities(self, p: Floats) -> Floats:
        """s(p) `[N, K]`: the Jacobian of p with respect to x is diag(s) - s s' / sum s."""

    def losses(self, x: Floats, y: Floats) -> Floats:
        """L(x, y) of each row of `x` and of targets `y`, `[N, K]`; a target is 0 where x is -inf."""
        p, _ = self.distribution(x)
        return np.asarray(np.where(x > -np.inf, (p - y) * np.where(x > -np.inf, x, 0), 0).sum(axis=-1)) + (
            self.entropies(p)
        )

    def product(self, x: Floats, upstream: Floats) -> Floats:
        """The vector-Jacobian product of `upstream` `[N, K]` by the Jacobian of p with respect to x."""
        s = self.sensitivities(self.distribution(x)[0])
        total = s.sum(axis=-1, keepdims=True)
        mean = (s * upstream).sum(axis=-1, keepdims=True) / np.where(total > 0, total, 1)
        return np.asarray(s * (upstream - mean))

    def log_product(self, x: Floats, upstream: Floats) -> Floats:
        """The same of log p; where p is 0 it does not change."""
        p, _ = self.distribution(x)
        return self.product(x, np.where(p > 0, upstream / np.where(p > 0, p, 1), 0))

    def with_prior(self, x: Floats, shift: Floats) -> dict[str, NDArray[Any]]:
        """What a graph would answer if each log-probability was shifted by `shift` `[K]`, and all shared out anew.

        `x` `[N, K]` are the scores over the temperature: that comes first. A row of which nothing is left has no class.
        """
        p = self.distribution(x)[0] * np.exp(shift)
        total = p.sum(axis=1, keepdims=True)
        p = p / np.where(total > 0, total, 1)
        log_p = logarithms(p)
        return distributed(p, log_p, log_p)

    def prediction(self, arrays: Answers) -> NDArray[Any]:
        """The best class, int64 `[N]`; -1 where no class is left. Ranked in float64, before the temperature."""
        scores = arrays["scores"]
        best: NDArray[np.int64] = scores.argmax(axis=1)
        best[np.isneginf(scores.max(axis=1))] = -1
        return best

    def confidence(self, arrays: Answers) -> NDArray[np.float32]:
        """The largest probability, float32 `[N]`; 0 where no class is left."""
        return np.asarray(arrays["probabilities"].max(axis=1))

    def margin(self, arrays: Answers) -> NDArray[np.float32]:
        """The lead of the largest probability over the second, float32 `[N]`; of one class alone, its probability."""
        p = arrays["probabilities"]
        if p.shape[1] == 1:
            return np.asarray(p[:, 0])
        best = np.partition(p, -2, axis=1)
        return np.asarray(best[:, -1] - best[:, -2])

    def entropy(self, arrays: Answers) -> NDArray[np.float32]:
        """Shannon entropy in nats, float32 `[N]`, summed in float64; 0 log 0 is 0."""
        p = arrays["probabilities"].astype(np.float64)
        log_p = np.where(p > 0, arrays["log_probabilities"], 0.0)
        # + 0.0 turns the -0.0 of a certain row into 0.0
        return np.asarray(-(p * log_p).sum(axis=1) + 0.0, np.float32)

    def mutual_information(self, arrays: Answers) -> NDArray[np.float32]:
        """How members disagree, in nats, float32 `[N]`: the entropy of their mean less the mean of theirs."""
        return np.asarray(arrays["mutual_information"][:, 0])

    def logsumexp(self, arrays: Answers) -> NDArray[np.float32]:
        """Logarithm of the sum of exp(logit / T) over the allowed classes, float32 `[N]`; -inf where none is left."""
        return np.asarray(arrays["logsumexp"][:, 0])

    def top(self, arrays: Answers, k: int) -> list[NDArray[np.int64]]:
        """The best classes of each row, best first: at most k, and none that may not be chosen."""
        scores = arrays["scores"]
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


def logarithms(p: NDArray[Any]) -> NDArray[Any]:
    """log p, -inf where p is 0."""
    return np.asarray(np.where(p > 0, np.log(np.where(p > 0, p, 1)), -np.inf))


def distributed(p: Floats, log_p: Floats, scores: Floats) -> dict[str, NDArray[Any]]:
    """Arrays as a graph answers them."""
    return {
        "probabilities": p.astype(np.float32),
        "log_probabilities": log_p.astype(np.float32),
        "scores": scores,
    }
