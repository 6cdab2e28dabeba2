"""Newton's method for the beta = 1/T at which a convex loss is least, kept inside a bracket."""

import math
from collections.abc import Callable
from typing import Final

MAX_STEPS: Final = 100


def find_root(
    derivatives: Callable[[float], tuple[float, float]], beta: float, low: float, high: float, tolerance: float
) -> tuple[float, float, int]:
    """The beta where the slope is 0, its curvature and the number of passes; `low` or `high` where it is beyond.

    Args:
        derivatives: slope and curvature of the loss by beta.
        beta: where to begin, between `low` and `high`; where a step leaves what is left of them, their geometric mean.
        low: the least beta.
        high: the largest.
        tolerance: of the last step, relative.
    """
    for step in range(1, MAX_STEPS + 1):
        slope, curvature = derivatives(beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        following = beta - slope / curvature if curvature > 0 else math.inf
        if not low < following < high:
            following = math.sqrt(low * high)
        if abs(following - beta) <= tolerance * beta:
            return following, curvature, step
        beta = following
    return beta, curvature, MAX_STEPS
