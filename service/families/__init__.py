"""What a head means, a file a family, in numpy: what can be asked of it, and how that follows from the graph's outputs.

A family's graph is built in `heads/`, by the file of the same name.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from service.errors import UsedWrongly
from service.families.entmax import Entmax, Entmax15
from service.families.family import Answers as Answers
from service.families.family import Family as Family
from service.families.sigmoid import Sigmoid
from service.families.softmax import Softmax
from service.families.sparsemax import Sparsemax

# Each by its name, and what makes it of its one parameter alpha, which entmax alone has.
FAMILIES: Final[Mapping[str, Callable[[float | None], Family]]] = {
    "softmax": lambda _: Softmax(),
    "sigmoid": lambda _: Sigmoid(),
    "sparsemax": lambda _: Sparsemax(),
    "entmax15": lambda _: Entmax15(),
    "entmax": Entmax.of,
}


def find_family(name: str, alpha: float | None = None) -> Family:
    """The family of that name, the same object each time.

    Raises:
        UsedWrongly: there is none, or alpha is not one of it.
    """
    if name not in FAMILIES:
        raise UsedWrongly(f"the family {name!r} is unknown; expected {', '.join(FAMILIES)}")
    return known_family(name, alpha)


@cache
def known_family(name: str, alpha: float | None) -> Family:
    return FAMILIES[name](alpha)


SOFTMAX: Final = find_family("softmax")
