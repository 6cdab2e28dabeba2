"""Prediction sets: which requests may ask for them, and what they are."""

from random import SystemRandom
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.codec.query import Query
from service.conformal import Conformal
from service.engine.signature import Signature
from service.errors import InvalidValue

# a row on the edge is in by chance, which nobody shall foresee
RANDOM: Final = SystemRandom()


def check_sets(model: Signature, groups: NDArray[np.int64] | None, *, temperature: Any, prior: Any) -> None:
    """Refuse an `alpha` that no guarantee could be given for; `temperature` and `prior` as the request has them."""
    if model.conformal is None:
        why = "was not fitted with scores for prediction sets; `calibrant fit` does it"
        raise InvalidValue(f"the model {model.name} {why}", code="no_conformal")
    if temperature is not None:
        raise InvalidValue("alpha holds at the head's own temperature only; expected no temperature beside it")
    if prior is not None:
        raise InvalidValue("alpha holds under the prior of the fit only; expected no prior beside it")
    if model.conformal.by == "group" and (groups is None or not groups.all()):
        raise InvalidValue(
            f"the model {model.name} knows sets by group; expected a group that it knows", code="no_group"
        )


def find_sets(
    log_probabilities: NDArray[np.float32], query: Query, alpha: float, conformal: Conformal
) -> NDArray[np.bool_]:
    """The prediction set of each row, bool `[N, K]`."""
    groups = None if query.groups is None else query.groups[:, 0] - 1
    uniforms = np.array([RANDOM.random() for _ in range(query.rows.n)]) if conformal.randomised else None
    return conformal.sets(log_probabilities, alpha, groups=groups, uniforms=uniforms)
