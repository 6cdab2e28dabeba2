"""The first runs of a head, on rows made up: does it answer as many rows as it gets, and what does a run cost."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.probe import STEPS, fastest_s, make_probe
from service.engine.reading import NEEDED
from service.engine.session import AGAIN
from service.errors import HeadError, InvalidValue, RunFailed
from service.families.outputs import GRAPH_OUTPUTS, OF_MEMBERS, graph_bits

if TYPE_CHECKING:
    from service.engine.head import Head

JUST_BITS: Final = graph_bits(("probabilities",))
LOGSUMEXP_BIT: Final = graph_bits(("logsumexp",))
N_PROBE_CLASSES: Final = 16
N_PROBE_ROWS: Final = 64
ROUNDING: Final = 1e-5  # of float32
ALL_OUTPUTS: Final = sum(1 << i for i, name in enumerate(GRAPH_OUTPUTS) if name in NEEDED)


def probe(head: "Head", n: int, open_size: int) -> dict[str, NDArray[Any]]:
    """Made-up inputs: `n` rows, `open_size` classes where their number is open; a classifier has its own size."""
    size = open_size if head.signature.takes == "logits" else head.open_size
    return make_probe(head.signature.inputs, n, size, head.metadata.example)


def warm_up(head: "Head") -> tuple[float, float]:
    """Run one and two rows, which a fixed batch dimension does not survive, and time small and large runs.

    Returns:
        Seconds a run, and seconds a number of input on top.
    """
    find_open_size(head)
    for n in (1, 2):
        check_run(head, n)
    if {head.short, head.without_logsumexp} != {head.session}:
        check_short(head)
    small, large = probe(head, 1, N_PROBE_CLASSES), probe(head, N_PROBE_ROWS, N_PROBE_CLASSES**2)
    seconds = [fastest_s(partial(head.run, feed, 1)) for feed in (small, large)]
    numbers = [sum(values.size for values in feed.values()) for feed in (small, large)]
    slope = max(0.0, (seconds[1] - seconds[0]) / (numbers[1] - numbers[0]))
    return max(0.0, seconds[0] - slope * numbers[0]), slope


def find_open_size(head: "Head") -> None:
    """Take the first size for a classifier's open dimensions that it runs on; the first of all where none is."""
    is_open = any(None in shape for _, shape in head.signature.inputs.values())
    for size in STEPS if is_open and head.signature.takes == "inputs" else ():
        head.open_size = size
        try:
            head.run(probe(head, 1, size), JUST_BITS)
        except (InvalidValue, RunFailed):
            head.open_size = STEPS[0]
        else:
            return


def check_run(head: "Head", n: int) -> None:
    """One run of `n` rows that must answer `n` rows of every output."""
    again = "export it again with a dynamic first dimension"
    try:
        outputs = head.run(
            probe(head, n, N_PROBE_CLASSES),
            ALL_OUTPUTS | head.signature.bits((OF_MEMBERS,) * head.signature.averages),
        )
    except (InvalidValue, RunFailed) as error:
        fixed = [i.shape[0] for i in head.session.get_inputs() if isinstance(i.shape[0], int) and i.shape[0] != n]
        why = f"its batch dimension is fixed at {fixed[0]}" if fixed else str(error.__cause__).splitlines()[0]
        raise HeadError(f"{head.path} cannot run {n} row{'s' * (n > 1)}, {why}: {again}") from error
    for name, values in outputs.items():
        if len(values) != n:
            raise HeadError(f"{head.path} answers {len(values)} rows of {name} for {n} rows of input: {again}")
    if head.signature.takes == "logits" or head.metadata.example is not None:  # others may not suit what is made up
        check_answers(head, outputs)


def check_answers(head: "Head", outputs: Mapping[str, NDArray[Any]]) -> None:
    """No output may be NaN, and probabilities lie between 0 and 1."""
    for name, values in outputs.items():
        if np.isnan(values).any():
            raise HeadError(f"{head.path} answers NaN in its {name}; expected numbers for any logits: {AGAIN}")
    p = outputs["probabilities"]
    if p.min() < -ROUNDING or p.max() > 1 + ROUNDING:
        raise HeadError(f"{head.path} answers probabilities from {p.min():g} to {p.max():g}; expected 0 to 1: {AGAIN}")


def check_short(head: "Head") -> None:
    """Runs by the short graphs that must answer what the whole one does."""
    feed = probe(head, 2, N_PROBE_CLASSES) | ({"temperature": np.full((2, 1), 2.0)} if head.takes_temperature else {})
    whole = head.run(feed, ALL_OUTPUTS)
    try:
        found = [*head.run(feed, JUST_BITS).items(), *head.run(feed, ALL_OUTPUTS & ~LOGSUMEXP_BIT).items()]
    except RunFailed as error:
        raise HeadError(f"{head.path} has a short graph that cannot run: {AGAIN}") from error
    for name, values in found:
        if values.shape != whole[name].shape or not np.allclose(values, whole[name], rtol=0, atol=1e-6):
            raise HeadError(f"{head.path} has a short graph with other {name} than its whole one: {AGAIN}")
