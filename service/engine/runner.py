"""What a batch runs on, and what is wrong with a run."""

import logging
from collections.abc import Iterable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.entry import Piece
from service.engine.pace import Pace
from service.engine.rows import Runnable
from service.errors import AnsweredError, RunFailed, count

logger = logging.getLogger(__name__)

Arrays = dict[str, NDArray[Any]]
RUN_TIMEOUT: Final = "run_timeout"  # the codes of the errors for a run that did not end, and for what comes after it
HEAD_STOPPED: Final = "head_stopped"


class Runner(Protocol):
    """What a batch runs on."""

    temperature: float
    pace: Pace
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
            raise RunFailed(f"the head answered {count(len(values), 'row')} of {name} for {n_rows}")


def check_numbers(arrays: Arrays) -> None:
    """Before it is answered: nothing is NaN.

    Raises:
        RunFailed: something is.
    """
    for name, values in arrays.items():
        total = np.vdot(values, values)  # NaN where one number is, and else not; it costs a third of np.isnan
        if total != total:
            raise RunFailed(f"the head answered NaN in its {name}; expected numbers for any values")


def find_nan(runner: Runner, arrays: Arrays, batch: Iterable[Piece]) -> dict[int, RunFailed]:
    """The errors of those in a batch that would get NaN, by their number; the log has a line of it."""
    try:
        check_numbers(arrays)
    except RunFailed as error:
        logger.error("%s: %s", runner, error)  # noqa: TRY400 - the sentence says it all
    else:
        return {}
    errors, at = {}, 0
    for i, (_, first, stop) in enumerate(batch):
        start, at = at, at + stop - first
        try:
            check_numbers({name: values[start:at] for name, values in arrays.items()})
        except RunFailed as error:
            errors[i] = error
    return errors


def batch_error(error: Exception, n_entries: int) -> AnsweredError:
    """The error for those in a batch that could not be run; the log has the rest."""
    logger.error("a batch of %s failed", count(n_entries, "entry", "entries"), exc_info=error)
    if isinstance(error, AnsweredError):
        return error
    return RunFailed(f"the batch could not be run: {type(error).__name__}")
