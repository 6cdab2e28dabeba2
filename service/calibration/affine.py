"""The affine calibrators: bias, structured vector scaling and structured matrix scaling (Berta et al. 2025).

After the temperature, y = (1 + v) x + b or y = (I + diag(v) + M) x + b, with a ridge of K/n on v and b and of
K(K-1)/n on the off-diagonal M, times a multiplier. x is either centred, z / T - mean, and then all of it folds into
a linear head's own weights, or log_softmax(z / T), as in the paper, and then it does not. Analytic gradients,
L-BFGS-B over variables scaled by the curvature at the start, float64.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from service.datasets.dataset import Bools, Dataset, Floats, Ints, usable_classes
from service.heads.stages import Stages, affine_input

Shape = Literal["bias", "vector", "matrix"]
Form = Literal["centred", "log_softmax"]

MAX_ITERATIONS: Final = 300
BLOCK: Final = 1 << 16  # logits of a block, which stays in the cache


class Inputs(NamedTuple):
    """What an affine fit reads, in memory: `x` float64 `[n,K]` with 0 where `read` is false, `allowed` bool or none.

    beta: `[n,1]`, what multiplies the row's y = A x + b, one over the factor of its group; none where there are none.
    """

    x: Floats
    read: Bools | None
    allowed: Bools | None
    labels: Ints
    weights: Floats
    beta: Floats | None = None


@dataclass(frozen=True)
class Affine:
    """Parameters of y = A x + b before they are folded with the temperature: A = I + diag(v) + M."""

    v: Floats
    bias: Floats
    off_diagonal: Floats | None = None


def inputs(
    data: Dataset, temperature: float, form: Form | None, *, masks_first: bool, factors: Floats | None = None
) -> Inputs:
    """The logits of `data` over `temperature`, in the form that a scale wants; none for a bias alone.

    `factors` `[G]` are what the temperature of each group is to that of all.
    """
    read = usable_classes(data.logits, data.mask if masks_first else None) & (data.logits < np.inf)
    x = np.where(read, data.logits, 0).astype(np.float64) / temperature
    if form is not None:
        x = affine_input(x, read, 1.0 if form == "log_softmax" else None)
    allowed = read if data.mask is None else read & data.mask
    weights = np.ones(data.n_rows) if data.weights is None else data.weights
    whole = bool(read.all()), bool(allowed.all())
    beta = None if factors is None or data.groups is None else 1 / factors[data.groups][:, None]
    return Inputs(x, None if whole[0] else read, None if whole[1] else allowed, data.labels, weights, beta)


def fit(x: Inputs, shape: Shape, multiplier: float, laplace: float = 0.0, start: Affine | None = None) -> Affine:
    """The parameters that minimise the mean negative log-likelihood plus the ridge times `multiplier`."""
    n, k = x.x.shape
    problem = Problem(x, shape, multiplier * k / n, multiplier * k * (k - 1) / n, laplace)
    scale = problem.scale()
    first = np.zeros(scale.size) if start is None else problem.pack(start) / scale

    def scaled(u: Floats) -> tuple[float, Floats]:
        value, gradient = problem.value(u * scale)
        return value, gradient * scale

    from scipy.optimize import minimize  # so that the methods can be named where scipy is not installed

    found = minimize(
        scaled,
        first,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxcor": 20, "gtol": 1e-6, "ftol": 1e-10},
    )
    return problem.unpack(found.x * scale)


class Problem:
    """The penalised likelihood as a function of one vector: b, then v, then M row by row."""

    def __init__(self, x: Inputs, shape: Shape, ridge: float, ridge_off: float, laplace: float) -> None:
        self.x, self.shape, self.laplace = x, shape, laplace
        self.ridge, self.ridge_off = ridge, ridge_off
        self.k = x.x.shape[1]
        self.total = float(x.weights.sum())
        self.rows = max(64, BLOCK // self.k) if shape != "matrix" else 2048

    def pack(self, affine: Affine) -> Floats:
        parts = [affine.bias]
        if self.shape != "bias":
            parts.append(affine.v)
        if self.shape == "matrix":
            off = np.zeros((self.k, self.k)) if affine.off_diagonal is None else affine.off_diagonal
            parts.append(off.ravel())
        return np.concatenate(parts)

    def unpack(self, flat: Floats) -> Affine:
        k = self.k
        v = np.zeros(k) if self.shape == "bias" else flat[k : 2 * k]
        off = flat[2 * k :].reshape(k, k) if self.shape == "matrix" else None
        return Affine(v, flat[:k], off)

    def scale(self) -> Floats:
        """One over the root of the curvature's diagonal at the start, for each variable."""
        first, second, cross = np.zeros(self.k), np.zeros(self.k), np.zeros((self.k, self.k))
        for part, e, total, _ in self._blocks(self.unpack(np.zeros(self.size))):
            p = e / total[:, None]
            spread = p * (1 - p) * self.x.weights[part, None] / self.total
            spread = spread if self.x.beta is None else spread * self.x.beta[part] ** 2
            squares = self.x.x[part] ** 2
            first += spread.sum(0)
            second += np.einsum("ij,ij->j", spread, squares)
            if self.shape == "matrix":
                cross += spread.T @ squares
        curvatures = {"bias": [first], "vector": [first, second], "matrix": [first, second, cross.ravel()]}
        curvature = np.concatenate(curvatures[self.shape])
        ridge = np.full(curvature.size, 2 * self.ridge)
        ridge[2 * self.k :] = 2 * self.ridge_off
        return np.asarray(1 / np.sqrt(curvature + ridge + 1e-12))

    @property
    def size(self) -> int:
        sizes: dict[Shape, int] = {"bias": self.k, "vector": 2 * self.k, "matrix": 2 * self.k + self.k**2}
        return sizes[self.shape]

    def value(self, flat: Floats) -> tuple[float, Floats]:
        """Value and gradient at `flat`."""
        affine = self.unpack(flat)
        k = self.k
        gradient = np.zeros(flat.size)
        loss = 0.0
        for part, e, total, own_log in self._blocks(affine):
            weights = self.x.weights[part] / self.total
            if self.laplace:
                k_row = k if self.x.allowed is None else self.x.allowed[part].sum(1)
                kept = (1 - self.laplace) * np.exp(own_log)
                mixed = kept + self.laplace / k_row
                loss -= float(weights @ np.log(mixed))
                weights = weights * kept / mixed
            else:
                loss -= float(weights @ own_log)
            residual = e
            residual *= (weights / total)[:, None]
            residual[np.arange(len(e)), self.x.labels[part]] -= weights
            if self.x.beta is not None:
                residual *= self.x.beta[part]
            gradient[:k] += np.ones(len(e)) @ residual
            if self.shape != "bias":
                x = self.x.x[part]
                if self.shape == "matrix":
                    cross = residual.T @ x
                    gradient[k : 2 * k] += np.diag(cross)
                    gradient[2 * k :] += cross.ravel()
                else:
                    gradient[k : 2 * k] += np.einsum("ij,ij->j", residual, x)
        loss += self.ridge * float(flat[: 2 * k] @ flat[: 2 * k])
        gradient[: 2 * k] += 2 * self.ridge * flat[: 2 * k]
        if self.shape == "matrix":
            off = flat[2 * k :]
            loss += self.ridge_off * float(off @ off)
            gradient[2 * k :] += 2 * self.ridge_off * off
            gradient[2 * k :: k + 1] = 0  # the diagonal belongs to v
        return loss, gradient

    def _blocks(self, affine: Affine) -> Any:
        """Of each block of rows: its slice, exp(y), its sums, and the labels' log-probabilities."""
        x = self.x
        ones = np.ones(self.k)
        matrix = None if affine.off_diagonal is None else affine.off_diagonal.T + np.diag(1 + affine.v)
        for begin in range(0, len(x.labels), self.rows):
            part = slice(begin, begin + self.rows)
            block = x.x[part]
            y = block * (1 + affine.v) if matrix is None else block @ matrix
            y += affine.bias
            if x.beta is not None:
                y *= x.beta[part]
            if x.allowed is not None:
                y[~x.allowed[part]] = -np.inf
            y -= y.max(axis=1, keepdims=True)
            own = y[np.arange(len(y)), x.labels[part]]
            np.exp(y, out=y)
            total = y @ ones
            yield part, y, total, own - np.log(total)


def fold(affine: Affine, temperature: float, form: Form | None) -> Stages:
    """The calibrator of a fit at `temperature`: in a bias alone and in the log form it stays, centred it folds in."""
    if form is None:
        return Stages(temperature, bias=affine.bias * temperature, method="bias")
    log_input, divisor = (temperature, 1.0) if form == "log_softmax" else (None, temperature)
    diagonal = (1 + affine.v) / divisor
    if affine.off_diagonal is None:
        return Stages(bias=affine.bias, scale=diagonal, log_input=log_input, method="vector")
    matrix = affine.off_diagonal / divisor
    np.fill_diagonal(matrix, diagonal)
    return Stages(bias=affine.bias, matrix=matrix, log_input=log_input, method="matrix")


def unfold(calibrator: Stages, temperature: float, form: Form | None) -> Affine:
    """The fit that `fold` made `calibrator` of: where the next one begins."""
    bias = calibrator.vector("bias")
    if form is None:
        return Affine(np.zeros_like(bias), bias / temperature)
    divisor = 1.0 if form == "log_softmax" else temperature
    if calibrator.matrix is None:
        return Affine(calibrator.vector("scale") * divisor - 1, bias)
    matrix = calibrator.matrix * divisor
    v = np.diag(matrix) - 1
    np.fill_diagonal(matrix, 0)
    return Affine(v, bias, matrix)
