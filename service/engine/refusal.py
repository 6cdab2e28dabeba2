"""What ONNX Runtime refuses because of a value: the client's fault, and which row it is in.

A graph that takes a client's own inputs can meet a number that it has no answer to: a token beyond its vocabulary, a
class that its encoder does not know. Its neighbours in the batch are to be answered all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.sentence import harmless
from service.errors import InvalidValue, OutOfMemory, RunFailed

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], dict[str, NDArray[Any]]]
Ran = tuple[dict[str, NDArray[Any]], dict[int, InvalidValue]]  # the arrays, and the refusals by number of the request

MEMORY_SIGNS: Final = ("bad_alloc", "Failed to allocate", "MemoryError", "BFCArena", "allocate memory", "out of memory")
OURS: Final = ("alloc", "memory", "CUDA", "cuda")  # in what ONNX Runtime says where the fault is the machine's
MOST_SHOWN: Final = 160  # characters


class ValueRefused(InvalidValue):
    """ONNX Runtime refused the inputs for their values; `row` counts in the feed, and is none where it is not known."""

    code = "bad_input"


def run_error(error: Exception, *, takes_inputs: bool = False, may_quote: bool = True) -> InvalidValue | RunFailed:
    """The error for a run that ONNX Runtime refused: the client's where the head `takes_inputs`, else ours.

    Its reason is told where it cannot quote a client's string.
    """
    text = str(error).strip().partition("\n")[0]
    if isinstance(error, MemoryError) or any(sign in text for sign in MEMORY_SIGNS):
        return OutOfMemory(
            "there was not enough memory for the run; try again in a moment, with fewer numbers in a request or in a "
            "batch (--max-batch-rows)"
        )
    # what is not ONNX Runtime's own is ours
    if not takes_inputs or "[ONNXRuntimeError]" not in text or any(word in text for word in OURS):
        return RunFailed(f"the head could not run: {type(error).__name__}")
    reason = text.rpartition("Status Message: ")[2].rpartition(" was false. ")[2].rpartition("[ONNXRuntimeError] : ")[2]
    why = f": {harmless(reason[:MOST_SHOWN])}" if may_quote else ""
    return ValueRefused(f"the classifier refuses the values of its inputs{why}")


def first_refused(run: Run, feed: Arrays, n: int) -> ValueRefused | None:
    """The refusal of the first of `n` rows that is refused, found by halves; none where every part of them runs."""
    start, stop, refusal = 0, n, None
    while stop > start:
        half = max(start + 1, (start + stop) // 2)
        try:
            run(cut(feed, start, half))
        except ValueRefused as error:
            refusal, stop = error, half
            if half - start == 1:
                refusal.row = start
                return refusal
        else:
            start = half
    return None


def run_apart(run: Run, feed: Arrays, spans: Sequence[tuple[int, int]]) -> Ran:
    """What `run` answers to the requests that it does not refuse, and the refusals of the others.

    The rows of `feed` are those of the requests in turn, of each the rows from start to stop in `spans`. Where a
    request is refused the rows are zeros. Of n requests of m rows at most 2 n (1 + log m) parts are run.
    """
    sizes = [stop - start for start, stop in spans]
    edges = np.cumsum([0, *sizes]).tolist()
    refused: dict[int, InvalidValue] = {}
    parts: list[tuple[int, int, dict[str, NDArray[Any]]]] = []
    waiting = [(0, len(sizes))]
    while waiting:
        first, last = waiting.pop()
        part = cut(feed, edges[first], edges[last])
        try:
            parts.append((edges[first], edges[last], run(part)))
        except ValueRefused as error:
            if last - first > 1:
                middle = (first + last) // 2
                waiting += [(first, middle), (middle, last)]
            else:
                refused[first] = name_row(run, part, spans[first], error)
    return join(parts, edges[-1]), refused


def name_row(run: Run, feed: Arrays, span: tuple[int, int], error: ValueRefused) -> InvalidValue:
    """The refusal of one request, with the row where one can be found that is refused alone."""
    start, stop = span
    found = first_refused(run, feed, stop - start)
    if found is None or found.row is None:
        return error
    row = start + found.row
    return InvalidValue(f"row {row}: {found}", code=found.code, row=row)


def run_whole(run: Run, feed: Arrays, spans: Sequence[tuple[int, int]]) -> Ran:
    """As `run_apart`, but in one run where nothing is refused."""
    try:
        return run(feed), {}
    except ValueRefused:
        return run_apart(run, feed, spans)


def cut(feed: Arrays, start: int, stop: int) -> dict[str, NDArray[Any]]:
    """The rows from `start` to `stop` of everything that has rows."""
    return {name: values[start:stop] for name, values in feed.items()}


def join(parts: Sequence[tuple[int, int, dict[str, NDArray[Any]]]], n: int) -> dict[str, NDArray[Any]]:
    """Arrays of `n` rows with each part in its place, zeros elsewhere."""
    arrays: dict[str, NDArray[Any]] = {}
    for start, stop, part in parts:
        for name, values in part.items():
            arrays.setdefault(name, np.zeros((n, *values.shape[1:]), values.dtype))[start:stop] = values
    return arrays
