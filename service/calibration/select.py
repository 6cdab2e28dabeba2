"""Which calibrator: cross-validated, compared row by row, and the simplest that is not clearly worse.

Multipliers and forms are chosen by the out-of-fold negative log-likelihood. Among the candidates the simplest one
wins whose paired difference to the best lies within one standard error of that difference. Nothing is accepted that
the out-of-fold likelihood finds worse than the logits as they are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.calibration import methods
from service.calibration.affine import Form
from service.calibration.methods import FORMS, MULTIPLIERS, Method, Plan
from service.calibration.threads import one_thread
from service.datasets.dataset import Dataset, Floats, Ints
from service.errors import FitError
from service.heads.stages import Stages

N_FOLDS: Final = 3
FEWEST_ROWS: Final = 50
"""With fewer there is nothing to cross-validate on, and one parameter is all that the rows can bear."""
MOST_MATRIX_CLASSES: Final = 128
AUTO: Final[tuple[Method, ...]] = ("temperature", "bias", "vector", "vector+entropy", "matrix+entropy")

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan and how it did out of fold.

    Attributes:
        plan: with the multiplier and the form that did best.
        n_parameters: numbers that it fits.
        nll: mean out-of-fold negative log-likelihood.
        difference: to the best candidate, paired; 0 for the best.
        error: the standard error of `difference`.
        rows: negative log-likelihood of each row, `[n]`.
    """

    plan: Plan
    n_parameters: int
    nll: float
    difference: float
    error: float
    rows: Floats


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, from what, and whether it is accepted.

    Attributes:
        plan: to fit on all rows; none where every candidate makes the likelihood worse.
        candidates: from simple to rich; empty with too few rows to cross-validate.
        before: mean negative log-likelihood of the same rows as they are.
    """

    plan: Plan | None
    candidates: tuple[Candidate, ...]
    before: float


@one_thread
def choose(
    data: Dataset,
    wanted: Iterable[Method],
    *,
    laplace: bool | None,
    forms: tuple[Form, ...] = FORMS,
    progress: Progress = lambda _: None,
) -> Choice:
    """Cross-validate the `wanted` methods on `data` and take one, of the `forms` that are allowed.

    `laplace` says whether the Laplace mix is in; none lets the data decide, by the temperature with it and without.

    Raises:
        FitError: labels that say nothing, or none of the methods can be fitted.
    """
    rows = methods.part(data)
    wanted = tuple(wanted)
    for method in wanted:
        if len(wanted) == 1:
            methods.check_classes(rows, Plan(method), MOST_MATRIX_CLASSES)
    before = negative_logs(Stages(), rows)
    weight = methods.laplace_weight(data)
    if rows.n_rows < FEWEST_ROWS:
        method = wanted[0] if len(wanted) == 1 else "temperature"
        return Choice(Plan(method, _form(method), 1.0, weight if laplace else 0.0), (), _mean(before, rows))
    trial = Trial(rows, forms, progress)
    mix = weight if laplace or (laplace is None and trial.laplace_decides(weight)) else 0.0
    tried = [(method, mix) for method in wanted]
    if laplace is None and mix:
        tried.insert(0, ("temperature", 0.0))
    found = [one for method, mix in tried if (one := trial.candidate(method, mix)) is not None]
    if not found:
        raise trial.failure or FitError("none of the methods can be fitted in every fold")
    candidates = compare(found, rows)
    accepted = [one for one in candidates if one.nll < _mean(before, rows)]
    return Choice(simplest(accepted), tuple(candidates), _mean(before, rows))


def simplest(candidates: list[Candidate]) -> Plan | None:
    """The plan of the first candidate, from simple to rich, within one standard error of the best."""
    return next((one.plan for one in candidates if one.difference <= one.error), None)


def folds(n: int, k: int = N_FOLDS) -> Ints:
    """The fold of each row, `[n]`: a fixed shuffle, folds of equal size."""
    return np.random.default_rng(0).permutation(n) % k


def negative_logs(calibrator: Stages, data: Dataset) -> Floats:
    """Minus the labels' log-probabilities, `[n]`."""
    parts = [-calibrator.predict(chunk)[np.arange(len(chunk.labels)), chunk.labels] for chunk in data.chunks()]
    return np.concatenate(parts)


def out_of_fold(data: Dataset, fit: Callable[[Dataset], Stages]) -> Floats:
    """Log-probabilities of every row from a calibrator that has not seen it, float64 `[n,K]`."""
    found = np.empty(data.logits.shape)
    of = folds(data.n_rows)
    for fold in range(N_FOLDS):
        held = np.flatnonzero(of == fold)
        calibrator, start = fit(data.take(of != fold)), 0
        for chunk in data.take(held).chunks():
            stop = start + len(chunk.labels)
            found[held[start:stop]] = calibrator.predict(chunk)
            start = stop
    return found


class Trial:
    """The folds of some rows, and what has been fitted on them so far."""

    def __init__(self, data: Dataset, forms: tuple[Form, ...], progress: Progress) -> None:
        self.data = data
        self._forms = forms
        self.of = folds(data.n_rows)
        self.failure: FitError | None = None
        self._progress = progress
        self._known: dict[Plan, list[Stages]] = {}

    def laplace_decides(self, weight: float) -> bool:
        """Whether the mix makes the temperature clearly better: by a standard error, and by 0.001 at least."""
        plain, mixed = self.candidate("temperature", 0.0), self.candidate("temperature", weight)
        if plain is None or mixed is None:
            return False
        gain = plain.rows - mixed.rows
        return bool(gain.mean() > max(1e-3, gain.std() / np.sqrt(len(gain))))

    def candidate(self, method: Method, laplace: float) -> Candidate | None:
        """`method` with the best multiplier and form; none where it cannot be fitted in a fold."""
        self._progress(method + (" with Laplace mix" if laplace else ""))
        plan = Plan(method, laplace=laplace)
        if plan.shape == "matrix" and self.data.n_classes > MOST_MATRIX_CLASSES:
            return None
        try:
            options = [replace(plan, form=form, multiplier=m) for form, m in _options(plan, self._forms)]
            held = [self._held_out(option) for option in options]
        except FitError as error:
            self.failure = error
            return None
        losses = [_mean(rows, self.data) for rows in held]
        best = int(np.argmin(losses))
        n_parameters = self._fitted(options[best])[0].n_parameters
        return Candidate(options[best], n_parameters, losses[best], 0.0, 0.0, held[best])

    def _fitted(self, plan: Plan) -> list[Stages]:
        """The calibrators of `plan`, one for each fold; what two methods share is fitted once."""
        if plan not in self._known:
            trains = (self.data.take(self.of != fold) for fold in range(N_FOLDS))
            if plan.method.endswith("+entropy"):
                before = self._fitted(replace(plan, method=plan.shape or "temperature"))
                pairs = zip(before, trains, strict=True)
                self._known[plan] = [methods.with_entropy(one, train, plan) for one, train in pairs]
            else:
                self._known[plan] = [methods.fit(train, plan) for train in trains]
        return self._known[plan]

    def _held_out(self, plan: Plan) -> Floats:
        rows = np.empty(self.data.n_rows)
        for fold, calibrator in enumerate(self._fitted(plan)):
            rows[self.of == fold] = negative_logs(calibrator, self.data.take(self.of == fold))
        return rows


def _options(plan: Plan, forms: tuple[Form, ...]) -> list[tuple[Form | None, float]]:
    if plan.shape is None:
        return [(None, 1.0)]
    return [(form, m) for form in ((None,) if plan.shape == "bias" else forms) for m in MULTIPLIERS]


def _form(method: Method) -> Form | None:
    return None if Plan(method).shape in (None, "bias") else "centred"


def compare(found: list[Candidate], data: Dataset) -> list[Candidate]:
    """The candidates from simple to rich, each with its paired difference to the best."""
    best = min(found, key=lambda one: one.nll)
    weights = np.ones(data.n_rows) if data.weights is None else data.weights
    share = weights / weights.sum()
    compared = []
    for one in sorted(found, key=lambda one: one.n_parameters):
        gap = one.rows - best.rows
        mean = float(share @ gap)
        error = float(np.sqrt(share**2 @ (gap - mean) ** 2))
        compared.append(replace(one, difference=mean, error=error))
    return compared


def _mean(rows: Floats, data: Dataset) -> float:
    return float(np.average(rows, weights=data.weights))
