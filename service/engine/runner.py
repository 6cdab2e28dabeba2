"""What a batch runs on, and what is wrong with a run."""

import logging
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from service.engine.rows import Runnable
from service.errors import AnsweredError, RunFailed

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
RUN_TIMEOUT: Final = "run_timeout"  # the codes of the errors for a run that did not end, and for what comes after it
HEAD_STOPPED: Final = "head_stopped"


class Runner(Protocol):
    """What a batch runs on."""

    temperature: float
    stopped: str  # why it was told to stop, else empty

    def run(self, feed: Arrays, bits: int, /) -> Arrays:
        """Name to `[N, ...]` for name to `[N, ...]`; may be called from several threads."""

    def run_alone(self, rows: Runnable, bits: int, /) -> Arrays:
        """The same for the rows of one request, called on the loop; good until the next call."""

    def cost_s(self, n_numbers: int, /) -> float:
        """What a run over so many input numbers is expected to take, seconds."""

    def stop(self, why: str, /) -> None:
        """Run no more, and end what runs as far as that can be done; called from any thread."""


def run_bits(runner: Runner, bits: int, feed: Arrays) -> Arrays:
    """`runner.run`, with what is to be run as its last argument."""
    return runner.run(feed, bits)


def check_lengths(arrays: Arrays, n_rows: int) -> None:
    """Before the split: as many rows came out as went in.

    Raises:
        RunFailed: others did.
    """
    for name, values in arrays.items():
        if len(values) != n_rows:
            raise RunFailed(f"the head answered {len(values)} rows of {name} for {n_rows}")


def batch_error(error: Exception, n_entries: int) -> AnsweredError:
    """The error for those in a batch that could not be run; the log has the rest."""
    logger.error("a batch of %d entries failed", n_entries, exc_info=error)
    if isinstance(error, AnsweredError):
        return error
    return RunFailed(f"the batch could not be run: {type(error).__name__}")
