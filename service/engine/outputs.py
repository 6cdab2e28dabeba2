"""The outputs: what a head's graph computes, and what can be asked for."""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Final

# The outputs of a head's graph, in the order of their bits in a `wants`.
GRAPH_OUTPUTS: Final = ("probabilities", "log_probabilities", "scores", "logsumexp")


# What can be asked for, and the graph outputs that it is made of.
MADE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "probabilities": ("probabilities",),
    "log_probabilities": ("log_probabilities",),
    "prediction": ("scores",),
    "confidence": ("probabilities",),
    "entropy": ("probabilities", "log_probabilities"),
    "logsumexp": ("logsumexp",),
    "top": ("scores", "probabilities"),
    "prediction_set": ("log_probabilities",),
}


@lru_cache(maxsize=256)
def wants(outputs: tuple[str, ...]) -> int:
    """The graph outputs that `outputs` are made of, as bits."""
    bits = 0
    for output in outputs:
        for name in MADE_OF[output]:
            bits |= 1 << GRAPH_OUTPUTS.index(name)
    return bits


@cache
def graph_outputs(bits: int) -> tuple[str, ...]:
    """The names behind the bits of a `wants`."""
    return tuple(name for i, name in enumerate(GRAPH_OUTPUTS) if bits >> i & 1)
