"""A decoded request: what to run, and how to say the answer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import Runnable

DEFAULT_OUTPUTS = ("probabilities",)


@dataclass(slots=True)
class Query:
    """One request.

    Attributes:
        rows: the N rows to run, classes flattened to one axis.
        outputs: what to answer, in the order asked for.
        lead: `()` for one row without a batch axis, else `(N,)`.
        classes: the class axes' sizes, `(K,)` but for `axis` with several.
        alpha: the largest share of rows whose prediction set may miss the true class.
        groups: the group of each row, int64 `[N, 1]`, 0 for one that the head does not know.
        group: their names as they came, one for all rows or one a row.
        sets: the prediction sets that were answered, bool `[N, K]`, once they are.
        lists_temperature: the request gave its temperature as a list, so the answer does.
        prior: what to add to each class's log-probability, or to its log-odds of a sigmoid; float64 `[K]`.
        abstain_below: no prediction where the confidence is lower.
        binary: its numbers come and go as bytes, which takes next to no time.
        plain: one row, probabilities only, no warnings.
    """

    rows: Runnable
    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    lead: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    lists_temperature: bool = False
    top_k: int | None = None
    timeout_s: float | None = None
    id: str | None = None
    alpha: float | None = None
    groups: NDArray[np.int64] | None = None
    binary: bool = False
    plain: bool = False
    prior: NDArray[np.float64] | None = None
    abstain_below: float | None = None
    group: str | list[str] | None = None
    sets: NDArray[np.bool_] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the answer is made of."""
        return list_needs(self)


def list_needs(query: Query) -> tuple[str, ...]:
    """What the outputs and the options of a query are made of."""
    if query.top_k is None and query.alpha is None and query.prior is None and query.abstain_below is None:
        return query.outputs
    options = {
        "top": query.top_k,
        "prediction_set": query.alpha,
        "scores": query.prior,
        "confidence": query.abstain_below,
    }
    return (*query.outputs, *(name for name, option in options.items() if option is not None))
