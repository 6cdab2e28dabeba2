"""The outputs: what can be asked for, and what a head's graph computes."""

from functools import cache, lru_cache
from typing import Final, Literal, get_args

from service.errors import InvalidValue
from service.families import FAMILIES

Output = Literal["probabilities", "log_probabilities", "prediction", "confidence", "entropy", "logsumexp"]
OUTPUTS: Final[tuple[Output, ...]] = get_args(Output)
PER_CLASS: Final = frozenset({"probabilities", "log_probabilities"})  # the others are one value a row
# The outputs of a head's graph, in the order of their bits.
GRAPH_OUTPUTS: Final = ("probabilities", "log_probabilities", "scores", "logsumexp")


@lru_cache(maxsize=256)
def graph_bits(outputs: tuple[str, ...], family: str = "softmax") -> int:
    """The graph outputs that `outputs` are made of in a head of that family, as bits.

    Raises:
        InvalidValue: the family does not have one of them.
    """
    bits = 0
    made_of = FAMILIES[family].MADE_OF
    for output in outputs:
        if output not in made_of:
            raise InvalidValue(
                f"a head of the family {family} has no {output}; expected {', '.join(made_of)}", code="unknown_output"
            )
        for name in made_of[output]:
            bits |= 1 << GRAPH_OUTPUTS.index(name)
    return bits


@cache
def graph_outputs(bits: int) -> tuple[str, ...]:
    """The names behind the bits of `graph_bits`."""
    return tuple(name for i, name in enumerate(GRAPH_OUTPUTS) if bits >> i & 1)
