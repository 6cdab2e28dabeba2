"""The calibrators by name: from a plan and data to fitted numbers. Which plan to take is decided in `select`."""

from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar, cast, get_args

import numpy as np

from service.calibration import affine, entropy, evidence, folds, groups, sparse, temperature
from service.calibration.affine import Form, Shape
from service.calibration.sparse import Criterion
from service.calibration.threads import one_thread
from service.datasets.dataset import Dataset, Floats
from service.datasets.multilabel import MultiLabel
from service.errors import FitError
from service.families import SOFTMAX, Family
from service.heads.stages import Stages

Method = Literal[
    "temperature", "bias", "vector", "matrix", "entropy", "vector+entropy", "matrix+entropy",
    "temperature+top", "bias+top", "vector+top", "matrix+top", "entropy+top", "vector+entropy+top",
    "matrix+entropy+top",
]  # fmt: skip
METHODS: Final[tuple[Method, ...]] = get_args(Method)
"""From simple to rich, and the same with the top-label stage behind."""
KEEPING: Final[tuple[Method, ...]] = ("temperature", "entropy", "temperature+top", "entropy+top")
"""Those that leave the predicted class of every row; beside them a bias or a scale may change it."""
FORMS: Final[tuple[Form, ...]] = ("centred", "log_softmax")
MULTIPLIERS: Final = (0.01, 0.1, 0.3, 1.0)
MOST_LOGITS: Final = 40_000_000
"""The richer fits hold this many in memory as float64; of more rows they take a random part."""


Rows = TypeVar("Rows", Dataset, MultiLabel)


@dataclass(frozen=True)
class Plan:
    """What to fit.

    Attributes:
        method: one of `METHODS`.
        form: what a scale or a matrix multiplies; none for the others.
        multiplier: of the ridge.
        laplace: weight of the uniform distribution in the answer.
        family: what the head computes; of a sparse one the temperature is all that is fitted.
        criterion: what the temperature of a sparse family is fitted by.
        grouped: each group of the data has a temperature of its own, fitted together with the rest.
    """

    method: Method
    form: Form | None = None
    multiplier: float = 1.0
    laplace: float = 0.0
    family: Family = SOFTMAX
    criterion: Criterion = "brier"
    grouped: bool = False

    @property
    def shape(self) -> Shape | None:
        """The affine part; none for a temperature or an entropy temperature alone."""
        name = self.method.removesuffix("+top").removesuffix("+entropy")
        return cast(Shape, name) if name in ("bias", "vector", "matrix") else None

    @property
    def has_top(self) -> bool:
        """Whether the top-label stage stands behind the others."""
        return self.method.endswith("+top")

    @property
    def has_entropy(self) -> bool:
        return self.below.method.endswith("entropy")

    @property
    def below(self) -> "Plan":
        """What the top-label stage stands on, and the plan itself where there is none."""
        return replace(self, method=cast(Method, self.method.removesuffix("+top")))

    def with_top(self) -> "Plan":
        return replace(self, method=cast(Method, f"{self.below.method}+top"))


def laplace_weight(data: Dataset) -> float:
    """1/(n+1), the weight of the Laplace mix (Berta et al. 2025)."""
    return 1 / (data.n_rows + 1)


@one_thread
def fit(data: Dataset, plan: Plan, base: float | None = None, start: Stages | None = None) -> Stages:
    """Fit what `plan` says, and the top-label stage on the answers of as many fits as there are folds.

    Args:
        data: the rows.
        plan: what to fit.
        base: the temperature that the other stages begin with, where it is known.
        start: a fit of the same shape and form at `base`, with any multiplier, to begin from.

    Raises:
        FitError: labels that say nothing, no finite optimum, or a top-label stage that would rank rows anew.
    """
    calibrator = fit_below(data, plan.below, base, start)
    if not plan.has_top:
        return calibrator
    rows = part(data)
    return folds.with_top(calibrator, folds.fit(rows, lambda train: fit_below(train, plan.below)).with_top(rows).top)


def fit_below(data: Dataset, plan: Plan, base: float | None = None, start: Stages | None = None) -> Stages:
    """All but the top-label stage."""
    if plan.grouped:

        def fit_rest(factors: Floats, near: Stages | None) -> Stages:
            # beside a bias the temperature is fitted with those of the groups
            at = near.temperature if near is not None and plan.shape == "bias" else None
            return fit_stages(data, plan, at, near, factors)

        return groups.alternate(data, fit_rest, start)
    return fit_stages(data, plan, base, start)


def fit_stages(
    data: Dataset, plan: Plan, base: float | None, start: Stages | None, factors: Floats | None = None
) -> Stages:
    """All but the top-label stage, where the groups have the `factors` `[G]` already."""
    masks_first = data.mask is not None
    if plan.family is not SOFTMAX:
        t = sparse.fit(part(data), plan.family, plan.criterion)
        return Stages(t, family=plan.family, masks_first=masks_first, method="temperature")
    rows = part(data) if plan.method != "temperature" else data
    base = first_temperature(groups.cool(data, factors), plan) if base is None else base
    calibrator = Stages(base)
    if plan.shape is not None:
        x = affine.inputs(rows, base, plan.form, masks_first=masks_first, factors=factors)
        begin = None if start is None else affine.unfold(start, base, plan.form)
        fitted = affine.fit(x, plan.shape, plan.multiplier, plan.laplace, begin)
        calibrator = affine.fold(fitted, base, plan.form)
    calibrator = replace(calibrator, method=plan.method, laplace=plan.laplace, masks_first=masks_first)
    if factors is not None:
        calibrator = replace(calibrator, group_temperatures=factors)
    return entropy.fit(rows, calibrator) if plan.has_entropy else calibrator


def with_entropy(calibrator: Stages, data: Dataset, plan: Plan) -> Stages:
    """`calibrator` with the entropy stage that `plan` asks for."""
    if plan.grouped:
        return fit_below(data, plan, start=calibrator)
    return replace(entropy.fit(data, calibrator), method=plan.method)


def first_temperature(data: Dataset, plan: Plan) -> float:
    """The temperature that the other stages begin with; an affine stage mends a bias that leaves none.

    Raises:
        FitError: labels that say nothing, or no finite optimum and no affine stage.
    """
    try:
        return temperature.fit(data, plan.laplace).value
    except temperature.NoTemperatureError:
        if plan.shape is None:
            raise
        return evidence.check(data)


def part(data: Rows) -> Rows:
    """At most `MOST_LOGITS` of them: all rows, or a random part, the same for the same data."""
    most = max(1, MOST_LOGITS // data.n_classes)
    if data.n_rows <= most:
        return data
    return data.take(np.sort(np.random.default_rng(0).choice(data.n_rows, most, replace=False)))


def check_classes(data: Dataset, plan: Plan, most: int) -> None:
    """Refuse a matrix for more classes than `most`.

    Raises:
        FitError: K^2 parameters would be too many.
    """
    if plan.shape == "matrix" and data.n_classes > most:
        raise FitError(f"{plan.method} has K^2 parameters; expected at most {most} classes, not {data.n_classes}")
