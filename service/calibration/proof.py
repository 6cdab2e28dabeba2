"""One calibration from data to proof: choose, fit, and measure on rows that the fit has not seen."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.calibration import classes, conformal, folds, groups, methods, select, temperature
from service.calibration.affine import Form
from service.calibration.methods import FORMS, Method, Plan
from service.calibration.select import Choice
from service.calibration.sparse import Criterion
from service.conformal import SCORES, By, Conformal, Score
from service.datasets.dataset import Dataset, Floats, Ints
from service.errors import FitError
from service.families import SOFTMAX, Family
from service.heads.stages import Stages
from service.measures import curve_fit
from service.measures.comparison import count_changes
from service.measures.curve import ReferenceCurve
from service.measures.metrics import intervals, measure
from service.measures.scores import Scores, collect, in_order, score

MOST_SCORED: Final = 20_000_000
"""Logits of the rows that are answered out of fold, in memory as float64."""

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Proof:
    """What was fitted, and how it does.

    Attributes:
        calibrator: fitted on all rows; nothing where every method makes the likelihood worse.
        error: the standard error of the temperature, where a temperature is all there is.
        choice: the candidates, and what was taken.
        fitted_on: the rows of the fit.
        held_out: where the measured rows come from: `test`, `out of fold`, or `fitted` with too few rows.
        before: of the measured rows as they are.
        after: of the same rows, calibrated.
        conformal: by score.
        curve: how often the best class is right at a confidence; none with too few rows to answer any out of fold.
        classes: what is known of single classes; none where there is no curve, or very many classes.
        groups: of the measured rows, `[n]`, counted as in `fitted_on`; none without.
    """

    calibrator: Stages
    error: float | None
    choice: Choice
    fitted_on: Dataset
    held_out: str
    before: Scores
    after: Scores
    conformal: dict[Score, Conformal]
    curve: ReferenceCurve | None = None
    classes: dict[str, Any] | None = None
    groups: Ints | None = None

    def metrics(self) -> dict[str, dict[str, float]]:
        """Every metric before and after."""
        return {"before": measure(self.before), "after": measure(self.after)}

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Bootstrap intervals of every metric before and after."""
        return {"before": intervals(self.before), "after": intervals(self.after)}

    def changes(self) -> dict[str, int]:
        """How many of the measured rows get another prediction, and how many of these become right and wrong."""
        return count_changes(self.before, self.after)


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    methods: tuple[Method, ...]
    laplace: bool | None = None
    grouped: bool = False
    by: By = "all"
    randomised: bool = False
    forms: tuple[Form, ...] = FORMS
    family: Family = SOFTMAX
    criterion: Criterion = "brier"


def prove(parts: dict[str, Dataset], wanted: Wanted, progress: Progress = lambda _: None) -> Proof:
    """Calibrate on the first of `parts` and measure on `test`, or out of fold where there is none.

    Raises:
        FitError: labels that say nothing, or no method can be fitted.
    """
    data = next(iter(parts.values()))
    if wanted.family is SOFTMAX:
        choice = select.choose(
            data, wanted.methods,
            laplace=wanted.laplace, forms=wanted.forms, grouped=wanted.grouped, progress=progress,
        )  # fmt: skip
    else:
        plan = Plan("temperature", family=wanted.family, criterion=wanted.criterion)
        choice = Choice(plan, (), float(np.mean(folds.negative_logs(Stages(family=wanted.family), data))))
    progress("the final fit")
    fits = Fits(data, choice, grouped=wanted.grouped)
    calibrator = fits.calibrator
    progress("held-out rows")
    rows, logs, where = fits.predict_held_out()
    progress("prediction sets")
    kept = {one: conformal.fit(logs, rows.labels, one, randomised=wanted.randomised, by=wanted.by, groups=rows.groups)
            for one in SCORES}  # fmt: skip
    progress("metrics")
    plain = Stages(family=wanted.family)
    after = collect(rows, in_order(logs))
    reference = None if where == "fitted" else reference_curve(after, score(rows, calibrator.predict))
    by_class = None if reference is None or data.weights is not None else classes.story(logs, rows.labels, reference)
    test = parts.get("test")
    if test is not None and test is not data:
        rows = test = groups.align(test, data.group_names)
        before, after, where = score(test, plain.predict), score(test, calibrator.predict), "test"
    else:
        before = score(rows, plain.predict)
    error = error_of(groups.cool(data, calibrator.group_temperatures), choice.plan)
    measured = where, before, after
    return Proof(calibrator, error, choice, data, *measured, kept, reference, by_class, rows.groups)


def reference_curve(unseen: Scores, own: Scores) -> ReferenceCurve:
    """The curve of rows that the folds' heads have not seen, and beside it that of the head's own answers to them."""
    curve, seen = (curve_fit.fit(one.confidence, one.correct, one.weights) for one in (unseen, own))
    return replace(curve, own=(seen.a, seen.b, seen.c))


class Fits:
    """What was chosen, fitted on all rows, and on all but those of each fold.

    What cross-validation has fitted serves again where it was on the same rows.
    """

    def __init__(self, data: Dataset, choice: Choice, *, grouped: bool) -> None:
        self._data, self._plan, self._grouped = data, choice.plan, grouped
        rows = methods.part(data)
        self._folds = None if rows is not data else choice.folds
        self.calibrator = self._below(data, None if self._folds is None else self._folds.calibrators[0])
        if choice.plan is not None and choice.plan.has_top:
            fitted = self._folds or folds.fit(rows, self._below).with_top(rows)
            self.calibrator = folds.with_top(self.calibrator, fitted.top)

    def _below(self, data: Dataset, start: Stages | None = None) -> Stages:
        """All but the top-label stage; or nothing, with a factor of 1 for each group that a request may name."""
        if self._plan is not None:
            return methods.fit(data, self._plan.below, start=start)
        return Stages(group_temperatures=np.ones(len(data.group_names)) if self._grouped else None)

    def predict_held_out(self) -> tuple[Dataset, Floats, str]:
        """Rows with their calibrated log-probabilities `[n,K]` from fits that have not seen them, and how they came.

        With rows too few or too uniform to fit on two thirds of them, the fit's own answers.
        """
        data = self._data
        most = max(1, MOST_SCORED // data.n_classes)
        rows = data if data.n_rows <= most else data.take(np.random.default_rng(1).permutation(data.n_rows)[:most])
        if rows.n_rows >= select.FEWEST_ROWS:
            try:
                return rows, self._fold_fits(rows).log_probabilities(rows), "out of fold"
            except FitError:
                pass
        logs = np.concatenate([self.calibrator.predict(chunk) for chunk in rows.chunks()])
        return rows, logs, "fitted"

    def _fold_fits(self, rows: Dataset) -> folds.Folds:
        if self._folds is not None and rows is self._data:
            return self._folds
        fitted = folds.fit(rows, self._below)
        return fitted.with_top(rows) if self._plan is not None and self._plan.has_top else fitted


def error_of(data: Dataset, plan: Plan | None) -> float | None:
    """The standard error of T, where the temperature is all that was fitted."""
    return (
        temperature.fit(data, plan.laplace).error
        if plan is not None and plan.method == "temperature" and plan.family is SOFTMAX
        else None
    )


def change_sentence(changes: dict[str, int], what: str = "row") -> str:
    """How many predictions the calibration changes, of `Proof.changes`; one is of a `what`."""
    n, measured = changes["changed"], changes["measured"]
    if not n:
        return f"no prediction changes in {measured:,} {what}{'s' * (measured > 1)}"
    outcome = f"{changes['became_right']:,} become{'s' * (n == 1)} right, {changes['became_wrong']:,} wrong"
    change = f"change{'s' * (n == 1)} ({100 * n / measured:.2f} %)"
    return f"{n:,} prediction{'s' * (n > 1)} of {measured:,} {change}: {outcome}"


def checksum(path: Path) -> str:
    """sha256 of a file, in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def candidates(choice: Choice) -> list[dict[str, Any]]:
    """The table of what was compared, as JSON."""
    return [
        {
            "method": one.plan.method,
            "form": one.plan.form,
            "multiplier": one.plan.multiplier,
            "laplace": one.plan.laplace,
            "n_parameters": one.n_parameters,
            "nll": one.nll,
            "difference": one.difference,
            "error": one.error,
            "chosen": one.plan == choice.plan,
        }
        for one in choice.candidates
    ]
