"""A decoded request: what to run, and how to say the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from service.rows import Input, Rows

DEFAULT_OUTPUTS = ("probabilities",)


class Served(Protocol):
    """What the codec must know of a model."""

    name: str
    version: str
    classes: int | None
    labels: Sequence[str] | None
    temperature: float
    inputs: Mapping[str, Input]
    takes_logits: bool
    masks_first: bool


@dataclass(slots=True)
class Query:
    """One request.

    Attributes:
        rows: the N rows to run, classes flattened to one axis.
        outputs: what to answer, in the order asked for.
        lead: `()` for one row without a batch axis, else `(N,)`.
        classes: the class axes' sizes, `(K,)` but for `axis` with several.
        lists_temperature: the request gave its temperature as a list, so the answer does.
    """

    rows: Rows
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    lead: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    lists_temperature: bool = False
    top_k: int | None = None
    timeout_s: float | None = None
    id: str | None = None
