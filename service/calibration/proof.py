"""One calibration from data to proof: choose, fit, and measure on rows that the fit has not seen."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.calibration import conformal, groups, methods, select, temperature
from service.calibration.affine import Form
from service.calibration.methods import FORMS, Method, Plan
from service.calibration.select import Choice
from service.conformal import SCORES, By, Conformal, Score
from service.datasets.dataset import Dataset, Floats
from service.errors import FitError
from service.heads.stages import Stages
from service.measures.metrics import intervals, measure
from service.measures.scores import Scores, score

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
    """

    calibrator: Stages
    error: float | None
    choice: Choice
    fitted_on: Dataset
    held_out: str
    before: Scores
    after: Scores
    conformal: dict[Score, Conformal]

    def metrics(self) -> dict[str, dict[str, float]]:
        """Every metric before and after."""
        return {"before": measure(self.before), "after": measure(self.after)}

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Bootstrap intervals of every metric before and after."""
        return {"before": intervals(self.before), "after": intervals(self.after)}


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    methods: tuple[Method, ...]
    laplace: bool | None = None
    grouped: bool = False
    by: By = "all"
    randomised: bool = False
    forms: tuple[Form, ...] = FORMS


def prove(parts: dict[str, Dataset], wanted: Wanted, progress: Progress = lambda _: None) -> Proof:
    """Calibrate on the first of `parts` and measure on `test`, or out of fold where there is none.

    Raises:
        FitError: labels that say nothing, or no method can be fitted.
    """
    data = next(iter(parts.values()))
    compared = cool_logits(data) if wanted.grouped else data
    choice = select.choose(compared, wanted.methods, laplace=wanted.laplace, forms=wanted.forms, progress=progress)
    progress("the final fit")
    fit = fitter(choice.plan, grouped=wanted.grouped)
    calibrator = fit(data)
    progress("held-out rows")
    rows, logs, where = predict_held_out(data, fit)
    progress("prediction sets")
    kept = {one: conformal.fit(logs, rows.labels, one, randomised=wanted.randomised, by=wanted.by, groups=rows.groups)
            for one in SCORES}  # fmt: skip
    progress("metrics")
    test = parts.get("test")
    if test is not None and test is not data:
        before, after, where = score(test, Stages().predict), score(test, calibrator.predict), "test"
    else:
        before = score(rows, Stages().predict)
        after = score(replace(rows, logits=logs, mask=None), Stages().predict)
    return Proof(calibrator, error_of(data, choice.plan), choice, data, where, before, after, kept)


def cool_logits(data: Dataset) -> Dataset:
    """The data with each group at its own temperature, so that no candidate has to stand in for the groups."""
    factors = groups.fit(data, methods.fit(data, methods.Plan("temperature"))).group_temperatures
    if factors is None or data.groups is None:
        return data
    return replace(data, logits=(data.logits / factors[data.groups][:, None]).astype(np.float32))


def fitter(plan: Plan | None, *, grouped: bool) -> Callable[[Dataset], Stages]:
    """What fits `plan`, with group temperatures where they are wanted; without a plan, nothing."""

    def fit(data: Dataset) -> Stages:
        calibrator = Stages() if plan is None else methods.fit(data, plan)
        return groups.fit(data, calibrator) if grouped else calibrator

    return fit


def predict_held_out(data: Dataset, fit: Callable[[Dataset], Stages]) -> tuple[Dataset, Floats, str]:
    """Rows with their calibrated log-probabilities `[n,K]` from fits that have not seen them, and how they came.

    With rows too few or too uniform to fit on two thirds of them, the fit's own answers.
    """
    most = max(1, MOST_SCORED // data.n_classes)
    rows = data if data.n_rows <= most else data.take(np.random.default_rng(1).permutation(data.n_rows)[:most])
    if rows.n_rows >= select.FEWEST_ROWS:
        try:
            return rows, select.out_of_fold(rows, fit), "out of fold"
        except FitError:
            pass
    calibrator = fit(data)
    return rows, np.concatenate([calibrator.predict(chunk) for chunk in rows.chunks()]), "fitted"


def error_of(data: Dataset, plan: Plan | None) -> float | None:
    """The standard error of T, where the temperature is all that was fitted."""
    return temperature.fit(data, plan.laplace).error if plan is not None and plan.method == "temperature" else None


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
