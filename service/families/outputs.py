"""The outputs: what can be asked for, and what a head's graph computes."""

from functools import cache, lru_cache
from typing import Final, Literal, get_args

from service.errors import InvalidValue
from service.families import SOFTMAX, Family

Output = Literal[
    "probabilities",
    "log_probabilities",
    "prediction",
    "confidence",
    "margin",
    "entropy",
    "logsumexp",
    "mutual_information",
]
OUTPUTS: Final[tuple[Output, ...]] = get_args(Output)
PER_CLASS: Final = frozenset({"probabilities", "log_probabilities"})  # the others are one value a row
# The outputs of a head's graph, in the order of their bits.
GRAPH_OUTPUTS: Final = ("probabilities", "log_probabilities", "scores", "logsumexp", "mutual_information")
OF_MEMBERS: Final = "mutual_information"
CLASSIFIER_LOGITS: Final = "calibrant/logits"
"""One more, of a head behind a classifier: the logits, float32 `[N, K]`, that a request cannot ask for."""
CLASSIFIER_BIT: Final = 1 << len(GRAPH_OUTPUTS)


@lru_cache(maxsize=256)
def graph_bits(outputs: tuple[str, ...], family: Family = SOFTMAX, averages: bool = False) -> int:
    """The graph outputs that `outputs` are made of in a head of that family, as bits; `averages` members or not.

    Raises:
        InvalidValue: the head does not have one of them.
    """
    bits = 0
    made_of = family.made_of
    if averages:
        made_of = {**made_of, OF_MEMBERS: (OF_MEMBERS,)}
    for output in outputs:
        if output not in made_of:
            what = f"of the family {family.name}" if output != OF_MEMBERS else "that averages no members"
            known = ", ".join(name for name in OUTPUTS if name in made_of)
            raise InvalidValue(f"a head {what} has no {output}; expected {known}", code="unknown_output")
        for name in made_of[output]:
            bits |= 1 << GRAPH_OUTPUTS.index(name)
    return bits


@cache
def graph_outputs(bits: int) -> tuple[str, ...]:
    """The names behind the bits of `graph_bits`, and behind `CLASSIFIER_BIT`."""
    return tuple(name for i, name in enumerate((*GRAPH_OUTPUTS, CLASSIFIER_LOGITS)) if bits >> i & 1)


@cache
def outputs_of(family: Family, averages: bool) -> tuple[Output, ...]:
    """Those of `OUTPUTS` that a head of that family has."""
    return tuple(name for name in OUTPUTS if name in family.made_of or (averages and name == OF_MEMBERS))
