"""Who else computes what a head does: numpy in float64, and torch and the entmax package where they are installed."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Call = Callable[[], Any]
Way = Callable[[NDArray[np.float32]], Call]
"""From logits `[n, K]`, of an ensemble `[n, M, K]`, to a call that computes the probabilities `[n, K]`."""

N_BISECTIONS: Final = 40


def ways(family: str) -> dict[str, Way]:
    """Those that can be timed here, by name; `family` as in `families.HEADS`."""
    found: dict[str, Way] = {"numpy, float64": lambda x: partial(NUMPY[family], x.astype(np.float64))}
    if find_spec("torch") is None:
        return found
    torch = import_module("torch")
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    functions = {
        "softmax": lambda x: torch.softmax(x, -1),
        "sigmoid": torch.sigmoid,
        "ensemble, mean of logits": lambda x: torch.softmax(x.mean(1), -1),
        "ensemble, mean of p": lambda x: torch.softmax(x, -1).mean(1),
    }
    if family in functions:
        for dtype in ("float32", "float64"):
            found[f"torch, {dtype}"] = with_torch(torch, dtype, functions[family])
    elif find_spec("entmax") is not None:
        for name, function in of_package(import_module("entmax"), family).items():
            found[f"entmax package, float32, {name}"] = with_torch(torch, "float32", function)
    return found


def with_torch(torch: Any, dtype: str, function: Callable[[Any], Any]) -> Way:
    return lambda x: partial(function, torch.tensor(x, dtype=getattr(torch, dtype)))


def of_package(package: Any, family: str) -> dict[str, Callable[[Any], Any]]:
    """Its ways to compute a sparse family."""
    name, _, alpha = family.partition(" ")
    if alpha:
        return {"bisect": partial(package.entmax_bisect, alpha=float(alpha), dim=-1)}
    exact, bisect = getattr(package, name), {"sparsemax": package.sparsemax_bisect, "entmax15": package.entmax_bisect}
    return {
        "sort": partial(exact, dim=-1),
        "k=100": partial(exact, dim=-1, k=100),
        "bisect": partial(bisect[name], dim=-1),
    }


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def sigmoid(x: Floats) -> Floats:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def sparsemax(x: Floats) -> Floats:
    s = np.sort(x, axis=-1)[..., ::-1]
    tau = ((s.cumsum(axis=-1) - 1) / np.arange(1, x.shape[-1] + 1)).max(axis=-1, keepdims=True)
    return np.asarray(np.maximum(x - tau, 0))


def entmax15(x: Floats) -> Floats:
    x = (x - x.max(axis=-1, keepdims=True)) / 2
    s, ranks = np.sort(x, axis=-1)[..., ::-1], np.arange(1, x.shape[-1] + 1)
    m = s.cumsum(axis=-1) / ranks
    t = m - np.sqrt(np.maximum(1 / ranks - ((s * s).cumsum(axis=-1) / ranks - m * m), 0))
    tau = np.where(s > np.maximum(t, -1), t, -1).max(axis=-1, keepdims=True)
    return np.asarray(np.maximum(x - tau, 0) ** 2)


def entmax(alpha: float, x: Floats) -> Floats:
    """By bisection, as nobody sorts for it."""
    x = (alpha - 1) * (x - x.max(axis=-1, keepdims=True))
    tau, width = np.full((*x.shape[:-1], 1), -1.0), 1.0
    for _ in range(N_BISECTIONS):
        width /= 2
        p = np.maximum(x - tau - width, 0) ** (1 / (alpha - 1))
        tau += np.where(p.sum(axis=-1, keepdims=True) >= 1, width, 0)
    return np.asarray(np.maximum(x - tau, 0) ** (1 / (alpha - 1)))


NUMPY: Final[dict[str, Callable[[Floats], Floats]]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "sparsemax": sparsemax,
    "entmax15": entmax15,
    "entmax 1.25": partial(entmax, 1.25),
    "entmax 1.75": partial(entmax, 1.75),
    "ensemble, mean of logits": lambda x: softmax(x.mean(axis=1)),
    "ensemble, mean of p": lambda x: np.asarray(softmax(x).mean(axis=1)),
}
