"""What a head means, a file a family, in numpy: what can be asked of it, and how that follows from the graph's outputs.

A family's graph is built in `heads/`, by the file of the same name.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from service.families import softmax


class Family(Protocol):
    """The functions of a family; `arrays` are what the graph computed of N rows, by name."""

    @property
    def MADE_OF(self) -> Mapping[str, tuple[str, ...]]:  # noqa: N802 - a constant of a module
        """What can be asked for, and the outputs of the graph that it is made of."""

    def distribution(self, scores: NDArray[Any], temperature: Any, /) -> tuple[NDArray[Any], NDArray[Any], Any]:
        """Probabilities, log-probabilities and logsumexp of one row's allowed scores `[k]` over the temperature."""

    def prediction(self, arrays: Mapping[str, NDArray[Any]], /) -> NDArray[Any]:
        """The class that is predicted, int64 `[N]`; -1 where no class is left."""

    def top(self, arrays: Mapping[str, NDArray[Any]], k: int, /) -> list[NDArray[Any]]:
        """The best classes of each row, best first, at most k."""


FAMILIES: Final[Mapping[str, Family]] = {"softmax": softmax}
