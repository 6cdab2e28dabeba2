"""What a batch runs on."""

from typing import Any, Protocol

from numpy.typing import NDArray

from service.engine.rows import Rows

Arrays = dict[str, NDArray[Any]]


class Runner(Protocol):
    """What a batch runs on."""

    temperature: float

    def run(self, feed: Arrays, bits: int, /) -> Arrays:
        """Name to `[N, ...]` for name to `[N, ...]`; may be called from several threads."""

    def run_alone(self, rows: Rows, bits: int, /) -> Arrays:
        """The same for the rows of one request, called on the loop; good until the next call."""

    def cost_s(self, n_numbers: int, /) -> float:
        """What a run over so many input numbers is expected to take, seconds."""
