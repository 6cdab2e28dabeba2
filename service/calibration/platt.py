"""Each class on its own: x = a z + b, by logistic regression on its logit (Platt 1999), with a little ridge.

A class that separates perfectly would send a to infinity: a ridge pulls it towards what one temperature for all classes
says, a = 1/T and b = 0. Newton's steps, halved while they do not help.
"""

import math
from typing import Final, NamedTuple

import numpy as np
from scipy.special import expit

from service.calibration.evidence import ERRORS, FEW_ROWS
from service.calibration.newton import find_root
from service.calibration.threads import one_thread
from service.datasets.dataset import Floats
from service.datasets.multilabel import MultiLabel
from service.errors import FitError

RIDGE: Final = 1e-4
MAX_STEPS: Final = 100
MAX_HALVINGS: Final = 30
TOLERANCE: Final = 1e-10  # of the loss, and of beta = 1/T, relative
STEP: Final = 1e-7
RANGE: Final = 1e4
"""1/T is searched within this factor of what the size of the logits says."""


class Lines(NamedTuple):
    """What was fitted, float64 `[K]` each."""

    slope: Floats
    bias: Floats


@one_thread
def fit(data: MultiLabel, ridge: float = RIDGE) -> Lines:
    """A slope and a bias a class, which minimise the mean binary cross-entropy plus the ridge.

    A class without a right row, or without a wrong one, keeps to the ridge; `check_classes` refuses it.
    """
    try:
        beta = 1 / common_temperature(data)
    except FitError:  # a bias that no temperature mends
        beta = 1 / size(data)
    allowed = data.allowed
    slopes, biases = np.full(data.n_classes, beta), np.zeros(data.n_classes)
    for k in range(data.n_classes):
        rows = allowed[:, k]
        if rows.any():
            z, y = data.logits[rows, k].astype(np.float64), data.targets[rows, k].astype(np.float64)
            slopes[k], biases[k] = fit_line(z, y, beta, ridge)
    return Lines(slopes, biases)


def fit_line(z: Floats, y: Floats, slope: float, ridge: float) -> tuple[float, float]:
    """a and b of one class: the least mean of -log p(y | a z + b) plus ridge / 2 ((a - slope)^2 + b^2)."""
    centre = np.array([slope, 0.0])
    basis = np.stack([z, np.ones_like(z)], axis=1)
    w, loss = centre.copy(), line_loss(basis, y, centre, centre, ridge)
    for _ in range(MAX_STEPS):
        p = expit(basis @ w)
        gradient = basis.T @ (p - y) / len(y) + ridge * (w - centre)
        hessian = (basis * (p * (1 - p))[:, None]).T @ basis / len(y) + ridge * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        for _halving in range(MAX_HALVINGS):
            following = line_loss(basis, y, w - step, centre, ridge)
            if following <= loss:
                break
            step = step / 2
        else:
            break
        w, gain, loss = w - step, loss - following, following
        if gain <= TOLERANCE * (1 + abs(loss)) and np.abs(step).max() <= STEP * (1 + np.abs(w).max()):
            break
    return float(w[0]), float(w[1])


def line_loss(basis: Floats, y: Floats, w: Floats, centre: Floats, ridge: float) -> float:
    """What a class's line minimises."""
    x = basis @ w
    return float((np.logaddexp(0, x) - y * x).mean() + ridge / 2 * ((w - centre) ** 2).sum())


@one_thread
def common_temperature(data: MultiLabel) -> float:
    """The one temperature of all classes: Newton on the convex mean binary cross-entropy of z / T.

    Raises:
        FitError: the best temperature is 0 or infinite.
    """
    allowed = data.allowed
    z, y = data.logits[allowed].astype(np.float64), data.targets[allowed].astype(np.float64)
    if (z * (2 * y - 1) >= 0).all():
        raise FitError("no class is on the wrong side of 0, so the best temperature is 0; expected some mistakes")
    scale = size(data)
    low, high = 1 / (RANGE * scale), RANGE / scale
    beta = min(max(1.0, low * 2), high / 2)

    def derivatives(beta: float) -> tuple[float, float]:
        p = expit(beta * z)
        return float(z @ (p - y)), float((z * z) @ (p * (1 - p)))

    beta, _, _ = find_root(derivatives, beta, low, high, TOLERANCE)
    if not 1.01 * low < beta < high / 1.01:
        raise FitError(
            f"the best temperature of all classes is {'infinite' if beta * scale < 1 else '0'}; "
            "expected logits that are above 0 mostly where a class is right"
        )
    return 1 / beta


def size(data: MultiLabel) -> float:
    """The root mean square of the logits that take part; 1 where all are 0."""
    z = data.logits[data.allowed].astype(np.float64)
    return float(np.sqrt(np.mean(z * z))) or 1.0


def check_classes(data: MultiLabel) -> None:
    """Refuse classes that no scale and bias can be fitted to.

    Raises:
        FitError: a class that is right in every row, or in none.
    """
    right = data.targets.sum(axis=0)
    for rows, where in ((right, "no row"), (data.allowed.sum(axis=0) - right, "every row that allows it")):
        if (rows == 0).any():
            class_ = int((rows == 0).argmax())
            raise FitError(
                f"{data.name(class_)} is right in {where}; expected rows where it is and rows where it is not, "
                "or --method temperature"
            )


def check_evidence(data: MultiLabel) -> None:
    """Refuse labels that know nothing of the logits, such as shuffled ones, or columns in another order.

    The advantage of a row sums (y - the class's frequency) p over its classes, p from the logits less each class's
    mean. For shuffled labels its mean is 0, whatever bias the logits have.

    Raises:
        FitError: the mean advantage is not above 0 by as much as so many rows could show.
    """
    allowed = data.allowed
    n = np.maximum(allowed.sum(axis=0), 1)
    z = np.where(allowed, data.logits, 0).astype(np.float64)
    p = np.where(allowed, expit(z - z.sum(axis=0) / n), 0)
    gains = ((data.targets - data.targets.sum(axis=0) / n) * p).sum(axis=1)
    mean, error = float(gains.mean()), float(gains.std() / math.sqrt(data.n_rows))
    if mean > ERRORS * error:
        return
    found = f"right classes are on average {mean:.2g} +- {error:.2g} more probable than chance"
    if data.n_rows < FEW_ROWS:
        raise FitError(f"{data.n_rows} rows are too few to tell these labels from shuffled ones: {found}")
    raise FitError(
        f"the labels look shuffled: {found}; expected {ERRORS:g} standard errors at least, "
        "and the same order of classes in labels and logits"
    )
