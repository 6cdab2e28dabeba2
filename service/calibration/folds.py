"""Folds: each row is answered by a calibrator that has not seen it, and on these answers the top-label stage is fitted.

The stage of a fold is fitted on the answers to the rows of the other folds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.calibration import top
from service.calibration.top import TopRows
from service.datasets.dataset import Dataset, Floats, Ints
from service.heads.stages import Stages
from service.heads.top import TopLabel

N_FOLDS: Final = 3

Fit = Callable[[Dataset], Stages]


@dataclass(frozen=True, eq=False)
class Folds:
    """Calibrators for some rows, one for each fold.

    Attributes:
        of: the fold of each row, `[n]`.
        calibrators: of each fold, fitted without its rows.
        top: the top-label stage for the calibrator that is fitted on all rows; none where it has none.
    """

    of: Ints
    calibrators: tuple[Stages, ...]
    top: TopLabel | None = None

    def with_top(self, data: Dataset) -> "Folds":
        """The same folds with a top-label stage on each calibrator.

        Raises:
            FitError: one of the stages would rank rows anew.
        """
        parts = [(self.of == fold, one) for fold, one in enumerate(self.calibrators)]
        rows = [TopRows.of(data.take(held), one) for held, one in parts]
        stages = [top.fit(TopRows.joined(rows[:fold] + rows[fold + 1 :])) for fold in range(len(parts))]
        behind = tuple(with_top(one, stage) for (_, one), stage in zip(parts, stages, strict=True))
        return Folds(self.of, behind, top.fit(TopRows.joined(rows)))

    def negative_logs(self, data: Dataset) -> Floats:
        """Minus the labels' log-probabilities, `[n]`."""
        found = np.empty(data.n_rows)
        for fold, one in enumerate(self.calibrators):
            found[self.of == fold] = negative_logs(one, data.take(self.of == fold))
        return found

    def log_probabilities(self, data: Dataset) -> Floats:
        """Of every row, float64 `[n,K]`."""
        found = np.empty(data.logits.shape)
        for fold, one in enumerate(self.calibrators):
            held, start = np.flatnonzero(self.of == fold), 0
            for chunk in data.take(held).chunks():
                stop = start + len(chunk.labels)
                found[held[start:stop]] = one.predict(chunk)
                start = stop
        return found


def numbers(n: int, k: int = N_FOLDS) -> Ints:
    """The fold of each row, `[n]`: a fixed shuffle, folds of equal size."""
    return np.random.default_rng(0).permutation(n) % k


def fit(data: Dataset, calibrate: Fit) -> Folds:
    """Fit the calibrator of each fold."""
    of = numbers(data.n_rows)
    return Folds(of, tuple(calibrate(data.take(of != fold)) for fold in range(N_FOLDS)))


def with_top(calibrator: Stages, stage: TopLabel | None) -> Stages:
    """`calibrator` with the stage behind it, where there is one."""
    return calibrator if stage is None else replace(calibrator, top=stage, method=f"{calibrator.method}+top")


def negative_logs(calibrator: Stages, data: Dataset) -> Floats:
    """Minus the labels' log-probabilities, `[n]`."""
    parts = [-calibrator.predict(chunk)[np.arange(len(chunk.labels)), chunk.labels] for chunk in data.chunks()]
    return np.concatenate(parts)
