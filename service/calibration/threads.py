"""One thread for linear algebra while fitting: small products spin when cores are shared, and sums stay the same."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@cache
def controller() -> Any:
    """The libraries' thread pools; finding them takes longer than a small fit."""
    from threadpoolctl import ThreadpoolController  # so that the methods can be named where it is not installed

    return ThreadpoolController()


def one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Run `function` with one BLAS thread."""

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        with controller().limit(limits=1):
            return function(*args, **kwargs)

    return limited
