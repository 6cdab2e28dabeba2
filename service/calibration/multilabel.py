"""One calibration of a sigmoid head from data to proof: as it is, one temperature, or a scale and a bias a class.

As `proof` does it where one class a row is right: compared out of fold, row by row, and measured on rows that the fit
has not seen. The likelihood of a row is that of all its labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.calibration import folds, platt
from service.calibration.folds import N_FOLDS, Folds
from service.calibration.methods import Method, Plan, part
from service.calibration.proof import Progress
from service.calibration.select import FEWEST_ROWS, Candidate, Choice, compare, simplest
from service.datasets.dataset import Floats
from service.datasets.multilabel import MultiLabel
from service.errors import FitError
from service.families import find_family
from service.heads.stages import Stages
from service.measures.multilabel import MultiScores, intervals, measure

SIGMOID: Final = find_family("sigmoid")
METHODS: Final[tuple[Method, ...]] = ("temperature", "vector")
"""From simple to rich: one temperature, a scale and a bias a class."""
HALF: Final = np.array([0.5], np.float32)


@dataclass(frozen=True, eq=False)
class MultiProof:
    """What was fitted, and how it does.

    Attributes:
        calibrator: fitted on all rows; nothing where every method makes the likelihood worse.
        choice: the candidates, and what was taken.
        fitted_on: the rows of the fit.
        held_out: where the measured rows come from: `test`, `out of fold`, or `fitted` with too few rows.
        before: of the measured rows as they are.
        after: of the same rows, calibrated.
    """

    calibrator: Stages
    choice: Choice
    fitted_on: MultiLabel
    held_out: str
    before: MultiScores
    after: MultiScores

    def metrics(self) -> dict[str, dict[str, float]]:
        """Every metric before and after."""
        return {"before": measure(self.before), "after": measure(self.after)}

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Bootstrap intervals of every metric before and after."""
        return {"before": intervals(self.before), "after": intervals(self.after)}

    def changes(self) -> dict[str, int]:
        """How many labels of the measured rows are predicted anew, and how many of these become right and wrong."""
        changed = self.before.predicted != self.after.predicted
        now = (self.after.predicted == self.after.right)[changed]
        labels = {"measured": self.after.allowed.sum(), "changed": changed.sum(), "became_right": now.sum()}
        return {name: int(n) for name, n in (labels | {"became_wrong": (~now).sum()}).items()}


def prove(
    parts: Mapping[str, MultiLabel],
    methods: tuple[Method, ...] = METHODS,
    thresholds: NDArray[np.float32] = HALF,
    progress: Progress = lambda _: None,
) -> MultiProof:
    """Calibrate on the first of `parts` and measure on `test`, or out of fold where there is none.

    `thresholds` `[K]` or `[1]` are the probabilities from which a class is predicted.

    Raises:
        FitError: labels that say nothing, or no method can be fitted.
    """
    data = next(iter(parts.values()))
    platt.check_evidence(data)
    if "vector" in methods:
        platt.check_classes(data)
    choice = choose(data, methods, progress)
    progress("the final fit")
    calibrator = Stages(family=SIGMOID) if choice.plan is None else fit(data, choice.plan.method)
    progress("metrics")
    test = parts.get("test", data)
    x = scores_of(calibrator, test)
    where = "fitted" if test is data else "test"
    if test is data and data.n_rows >= FEWEST_ROWS:
        where = "out of fold"
        x = x if choice.plan is None else held_out_scores(choice.folds or fit_folds(data, choice.plan.method), data)
    before, after = (scored(one, test, thresholds) for one in (scores_of(Stages(family=SIGMOID), test), x))
    return MultiProof(calibrator, choice, data, where, before, after)


def fit(data: MultiLabel, method: Method) -> Stages:
    """What `method` finds for `data`.

    Raises:
        FitError: no finite temperature.
    """
    data = part(data)
    masks_first = data.mask is not None
    if method == "temperature":
        t = platt.common_temperature(data)
        return Stages(t, family=SIGMOID, masks_first=masks_first, method=method)
    lines = platt.fit(data)
    return Stages(bias=lines.bias, slope=lines.slope, family=SIGMOID, masks_first=masks_first, method=method)


def choose(data: MultiLabel, wanted: tuple[Method, ...], progress: Callable[[str], None]) -> Choice:
    """Cross-validate the `wanted` methods and take the simplest that is not clearly worse, as `select.choose` does."""
    before = float(scored(scores_of(Stages(family=SIGMOID), data), data, HALF).row_losses.mean())
    if data.n_rows < FEWEST_ROWS:
        method = wanted[0] if len(wanted) == 1 else "temperature"
        return Choice(Plan(method, family=SIGMOID), (), before)
    found: list[Candidate] = []
    failures: dict[Method, FitError] = {}
    for method in wanted:
        progress(method)
        try:
            fitted = fit_folds(data, method)
        except FitError as error:
            failures[method] = error
            continue
        losses = scored(held_out_scores(fitted, data), data, HALF).row_losses
        n = fitted.calibrators[0].n_parameters
        plan = Plan(method, family=SIGMOID)
        found.append(Candidate(plan, n, float(losses.mean()), 0.0, 0.0, losses, fitted))
    if not found:
        raise failures[wanted[-1]]
    candidates = compare(found, None)
    accepted = [one for one in candidates if one.nll < before]
    refused = tuple((method, str(error)) for method, error in failures.items())
    return Choice(simplest(accepted), tuple(candidates), before, refused)


def fit_folds(data: MultiLabel, method: Method) -> Folds:
    """The calibrator of each fold, fitted without its rows."""
    of = folds.numbers(data.n_rows)
    return Folds(of, tuple(fit(data.take(of != fold), method) for fold in range(N_FOLDS)))


def held_out_scores(fitted: Folds, data: MultiLabel) -> Floats:
    """Calibrated log-odds of every row from a fit that has not seen it, float64 `[n,K]`."""
    x = np.empty(data.logits.shape)
    for fold, one in enumerate(fitted.calibrators):
        held = fitted.of == fold
        x[held] = scores_of(one, data.take(held))
    return x


def scores_of(calibrator: Stages, data: MultiLabel) -> Floats:
    """Calibrated log-odds, float64 `[n,K]`; -inf where a class is not allowed."""
    return calibrator.scores(np.asarray(data.logits), data.mask)


def scored(x: Floats, data: MultiLabel, thresholds: NDArray[np.float32]) -> MultiScores:
    """Log-odds measured; a class is predicted as serving predicts it, in float32."""
    p, _ = SIGMOID.distribution(x)
    predicted = (p.astype(np.float32) >= thresholds) & (x > -np.inf)
    return MultiScores.from_scores(x, data.targets, predicted)
