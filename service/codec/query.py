"""A decoded request: what to run, and how to say the answer."""

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import Runnable

DEFAULT_OUTPUTS = ("probabilities",)


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

    __slots__ = (
        "abstain_below",
        "alpha",
        "binary",
        "classes",
        "group",
        "groups",
        "id",
        "lead",
        "lists_temperature",
        "outputs",
        "plain",
        "prior",
        "rows",
        "sets",
        "timeout_s",
        "top_k",
    )

    def __init__(
        self,
        rows: Runnable,
        outputs: tuple[str, ...] = DEFAULT_OUTPUTS,
        lead: tuple[int, ...] = (),
        classes: tuple[int, ...] = (),
        lists_temperature: bool = False,
        top_k: int | None = None,
        timeout_s: float | None = None,
        id: str | None = None,  # noqa: A002 - as the request calls it
        alpha: float | None = None,
        groups: NDArray[np.int64] | None = None,
        binary: bool = False,
        plain: bool = False,
        prior: NDArray[np.float64] | None = None,
        abstain_below: float | None = None,
        group: str | list[str] | None = None,
    ) -> None:
        self.rows = rows
        self.outputs = outputs
        self.lead = lead
        self.classes = classes
        self.lists_temperature = lists_temperature
        self.top_k = top_k
        self.timeout_s = timeout_s
        self.id = id
        self.alpha = alpha
        self.groups = groups
        self.binary = binary
        self.plain = plain
        self.prior = prior
        self.abstain_below = abstain_below
        self.group = group
        self.sets: NDArray[np.bool_] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the answer is made of."""
        if self.plain:  # for speed: a call less for most requests
            return self.outputs
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
