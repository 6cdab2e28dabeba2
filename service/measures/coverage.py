"""Whether prediction sets hold the label, and how large they are, counted while a head answers."""

from collections.abc import Callable

import numpy as np

from service.conformal import Conformal
from service.datasets.dataset import Bools, Chunk, Dataset, Floats, Ints
from service.engine.signature import Signature
from service.measures.scores import Answers


class Coverage:
    """A head's answers as they come, with what they say of its prediction sets at `alpha`.

    A randomised score draws its uniform numbers here, seeded.
    """

    def __init__(
        self, answer: Callable[[Chunk], Answers], conformal: Conformal, alpha: float, numbers: Ints | None
    ) -> None:
        """`numbers` are the indices of the data's groups among the tables of a score by group."""
        self._answer = answer
        self._conformal = conformal
        self._alpha = alpha
        self._numbers = numbers
        self._random = np.random.default_rng(0)
        self._covered: list[Bools] = []
        self._sizes: list[Ints] = []

    def __call__(self, chunk: Chunk) -> Answers:
        """The answers to a chunk."""
        answers = self._answer(chunk)
        with np.errstate(divide="ignore"):
            logs = np.log(answers.probabilities)
        groups = None if self._numbers is None or chunk.groups is None else self._numbers[chunk.groups]
        inside = self._conformal.sets(logs, self._alpha, groups=groups, uniforms=self._random.random(len(logs)))
        self._covered.append(inside[np.arange(len(logs)), chunk.labels])
        self._sizes.append(inside.sum(axis=1))
        return answers

    @property
    def covered(self) -> Bools:
        """Whether each row's set holds its label, `[n]`."""
        return np.concatenate(self._covered)

    @property
    def sizes(self) -> Ints:
        """The number of classes in each row's set, `[n]`."""
        return np.concatenate(self._sizes)

    def metrics(self, weights: Floats) -> dict[str, float]:
        """The share of sets that hold the label, and their mean size, over rows of the `weights` `[n]`."""
        parts = {"coverage": self.covered.astype(np.float64), "set_size": self.sizes.astype(np.float64)}
        return {name: float(weights @ values / weights.sum()) for name, values in parts.items()}


def observe_sets(model: Signature, data: Dataset, answer: Callable[[Chunk], Answers], alpha: float) -> Coverage | None:
    """`answer` with the prediction sets counted; none where the model has none, or none for the groups of the data."""
    conformal, numbers = model.conformal, None
    if conformal is None or (conformal.by == "group" and data.groups is None):
        return None
    if conformal.by == "group":
        if not set(data.group_names) <= model.groups.keys():
            return None
        numbers = np.array([model.groups[name] - 1 for name in data.group_names], np.int64)  # the first is of none
    return Coverage(answer, conformal, alpha, numbers)
