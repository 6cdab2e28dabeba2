"""Which calibrator: cross-validated, compared row by row, and the simplest that is not clearly worse.

Multipliers and forms are chosen by the out-of-fold negative log-likelihood, with and without the top-label stage.
Among the candidates the simplest one wins whose paired difference to the best lies within one standard error of that
difference; of those with hardly more parameters than it has, the best. Nothing is accepted that the out-of-fold
likelihood finds worse than the logits as they are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.calibration import folds, methods
from service.calibration.affine import Form
from service.calibration.folds import N_FOLDS, Folds, negative_logs
from service.calibration.methods import FORMS, METHODS, MULTIPLIERS, Method, Plan
from service.calibration.threads import one_thread
from service.datasets.dataset import Dataset, Floats
from service.errors import FitError
from service.heads.stages import Stages

FEWEST_ROWS: Final = 50
"""With fewer there is nothing to cross-validate on, and one parameter is all that the rows can bear."""
MOST_MATRIX_CLASSES: Final = 128
FIRST_MULTIPLIER: Final = 0.3
AS_SIMPLE: Final = 1.05
"""With so many times the parameters a candidate is as simple: four more, of a top-label stage, are few beside 110."""
AUTO: Final[tuple[Method, ...]] = (
    "temperature", "bias", "vector", "vector+entropy", "matrix+entropy",
    *(method for method in METHODS if Plan(method).has_top),
)  # fmt: skip
"""A matrix or an entropy alone was never better than with what is fitted behind it, on 18 real sets."""
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
        folds: what was fitted for it.
    """

    plan: Plan
    n_parameters: int
    nll: float
    difference: float
    error: float
    rows: Floats
    folds: Folds | None = None


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, from what, and whether it is accepted.

    Attributes:
        plan: to fit on all rows; none where every candidate makes the likelihood worse.
        candidates: from simple to rich; empty with too few rows to cross-validate.
        before: mean negative log-likelihood of the same rows as they are.
        refused: methods that could not be candidates, and why.
    """

    plan: Plan | None
    candidates: tuple[Candidate, ...]
    before: float
    refused: tuple[tuple[Method, str], ...] = ()

    @property
    def folds(self) -> Folds | None:
        """What cross-validation fitted for the plan, on `methods.part` of the rows."""
        return next((one.folds for one in self.candidates if one.plan == self.plan), None)


@one_thread
def choose(
    data: Dataset,
    wanted: Iterable[Method],
    *,
    laplace: bool | None,
    forms: tuple[Form, ...] = FORMS,
    grouped: bool = False,
    progress: Progress = lambda _: None,
) -> Choice:
    """Cross-validate the `wanted` methods on `data` and take one, of the `forms` that are allowed.

    `laplace` says whether the Laplace mix is in; none lets the data decide, by the temperature with it and without.
    `grouped`: each candidate is fitted and compared as it would ship, with a temperature for each group.

    Raises:
        FitError: labels that say nothing, or none of the methods can be fitted.
    """
    rows = methods.part(data)
    wanted = tuple(wanted)
    for method in wanted:
        if len(wanted) == 1:
            methods.check_classes(rows, Plan(method), MOST_MATRIX_CLASSES)
    before = _mean(negative_logs(Stages(), rows), rows)
    weight = methods.laplace_weight(data)
    if rows.n_rows < FEWEST_ROWS:
        method = wanted[0] if len(wanted) == 1 else "temperature"
        if Plan(method).has_top:
            raise FitError(f"{rows.n_rows} rows are too few for {method}; expected {FEWEST_ROWS} or more")
        return Choice(Plan(method, _form(method), 1.0, weight if laplace else 0.0, grouped=grouped), (), before)
    trial = Trial(rows, forms, progress, grouped=grouped)
    mix = weight if laplace or (laplace is None and trial.laplace_decides(weight)) else 0.0
    tried = [(method, mix) for method in wanted]
    if laplace is None and mix:
        tried.insert(0, ("temperature", 0.0))
    found = [one for method, mix in tried if (one := trial.candidate(method, mix)) is not None]
    if not found:
        raise trial.failure or FitError("none of the methods can be fitted in every fold")
    candidates = compare(found, rows.weights)
    accepted = [one for one in candidates if one.nll < before]
    return Choice(simplest(accepted), tuple(candidates), before, tuple(trial.refused.items()))


def simplest(candidates: list[Candidate]) -> Plan | None:
    """The plan of the best candidate that is as simple as the simplest within one standard error of the best."""
    close = [one for one in candidates if one.difference <= one.error]
    simple = [one for one in close if one.n_parameters <= AS_SIMPLE * close[0].n_parameters]
    return min(simple, key=lambda one: one.nll).plan if simple else None


class Trial:
    """The folds of some rows, and what has been fitted on them so far."""

    def __init__(self, data: Dataset, forms: tuple[Form, ...], progress: Progress, *, grouped: bool) -> None:
        self.data = data
        self._grouped = grouped
        self.failure: FitError | None = None
        self.refused: dict[Method, str] = {}
        self._forms = forms
        self._progress = progress
        self._of = folds.numbers(data.n_rows)
        self._trains = [data.take(self._of != fold) for fold in range(N_FOLDS)]
        self._bases: dict[tuple[float, bool], list[float]] = {}
        self._known: dict[tuple[Method, float], Candidate] = {}

    def laplace_decides(self, weight: float) -> bool:
        """Whether the mix makes the temperature clearly better: by a standard error, and by 0.001 at least."""
        plain, mixed = self.candidate("temperature", 0.0), self.candidate("temperature", weight)
        if plain is None or mixed is None:
            return False
        gain = plain.rows - mixed.rows
        return bool(gain.mean() > max(1e-3, gain.std() / np.sqrt(len(gain))))

    def candidate(self, method: Method, laplace: float) -> Candidate | None:
        """`method` with the best multiplier and form; none where it cannot be fitted in a fold."""
        try:
            return self._candidate(method, laplace)
        except FitError as error:
            self.failure = error
            self.refused[method] = str(error)
            return None

    def _candidate(self, method: Method, laplace: float) -> Candidate:
        if (method, laplace) not in self._known:
            plan = Plan(method, laplace=laplace, grouped=self._grouped)
            methods.check_classes(self.data, plan, MOST_MATRIX_CLASSES)
            if plan.has_top:
                below = self._candidate(plan.below.method, laplace)
                assert below.folds is not None  # noqa: S101 - it comes from here
                found = self._scored(below.plan.with_top(), below.folds.with_top(self.data))
            else:
                self._progress(method + (" with Laplace mix" if laplace else ""))
                found = self._fit(plan)
            self._known[method, laplace] = found
        return self._known[method, laplace]

    def _fit(self, plan: Plan) -> Candidate:
        if plan.has_entropy:
            before = self._candidate(plan.shape or "temperature", plan.laplace)
            assert before.folds is not None  # noqa: S101 - it comes from here
            plan = replace(before.plan, method=plan.method)
            pairs = zip(before.folds.calibrators, self._trains, strict=True)
            return self._scored(plan, self._folds(methods.with_entropy(one, train, plan) for one, train in pairs))
        if plan.shape is None:
            bases = self._base(plan)
            fits = (methods.fit(train, plan, base) for train, base in zip(self._trains, bases, strict=True))
            return self._scored(plan, self._folds(fits))
        return self._best_multiplier(plan)

    def _best_multiplier(self, plan: Plan) -> Candidate:
        """Of each form with one multiplier; the better form then walks down or up as long as it gets better."""
        forms = (None,) if plan.shape == "bias" else self._forms
        first = [self._affine(replace(plan, form=form, multiplier=FIRST_MULTIPLIER), None) for form in forms]
        best = min(first, key=lambda one: one.nll)
        middle = MULTIPLIERS.index(FIRST_MULTIPLIER)
        for way in (MULTIPLIERS[middle - 1 :: -1], MULTIPLIERS[middle + 1 :]):
            began = best
            for multiplier in way:
                found = self._affine(replace(best.plan, multiplier=multiplier), best.folds)
                if found.nll >= best.nll:
                    break
                best = found
            if best is not began:
                break
        return best

    def _affine(self, plan: Plan, near: Folds | None) -> Candidate:
        """Fitted in each fold, from the fit of another multiplier that is `near`."""
        starts = (None,) * N_FOLDS if near is None else near.calibrators
        each = zip(self._trains, self._base(plan), starts, strict=True)
        return self._scored(plan, self._folds(methods.fit(train, plan, base, start) for train, base, start in each))

    def _base(self, plan: Plan) -> list[float]:
        """The temperature that the stages of each fold begin with; an affine stage may begin where there is none."""
        alone = plan.shape is None
        if (plan.laplace, True) not in self._bases and (plan.laplace, alone) not in self._bases:
            found = [methods.first_temperature(train, plan) for train in self._trains]
            self._bases[plan.laplace, alone] = found
        return self._bases.get((plan.laplace, True)) or self._bases[plan.laplace, alone]

    def _folds(self, calibrators: Iterable[Stages]) -> Folds:
        return Folds(self._of, tuple(calibrators))

    def _scored(self, plan: Plan, fitted: Folds) -> Candidate:
        rows = fitted.negative_logs(self.data)
        return Candidate(plan, fitted.calibrators[0].n_parameters, _mean(rows, self.data), 0.0, 0.0, rows, fitted)


def _form(method: Method) -> Form | None:
    return None if Plan(method).shape in (None, "bias") else "centred"


def compare(found: list[Candidate], weights: Floats | None) -> list[Candidate]:
    """The candidates from simple to rich, each with its paired difference to the best; `weights` are of the rows."""
    best = min(found, key=lambda one: one.nll)
    weights = np.ones(len(best.rows)) if weights is None else weights
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
