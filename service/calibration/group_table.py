"""Each group of a fit for itself: its temperature, what it would be alone, and how its rows did."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from service.calibration import groups
from service.calibration.proof import Proof
from service.datasets.dataset import Bools
from service.measures.metrics import Ordered, ece
from service.measures.scores import Scores

PULLED: Final = 0.1  # of the way to the common temperature: from there on it is said


class GroupRow(NamedTuple):
    """One group.

    n_fitted, n_measured: its rows.
    temperature: T that the head has for it.
    alone: T that its own rows ask for, and the standard error of that; none where they say nothing.
    pulled: how far the temperature was pulled from there to the common one, 0 to 1, for want of rows.
    nll, ece: before and after; none without measured rows.
    """

    name: str
    n_fitted: int
    n_measured: int
    temperature: float
    alone: tuple[float, float] | None
    pulled: float
    nll: tuple[float, float] | None
    ece: tuple[float, float] | None


def group_rows(proof: Proof) -> list[GroupRow]:
    """A row for each group; none where the fit has no groups."""
    data, calibrator = proof.fitted_on, proof.calibrator
    if data.groups is None or proof.groups is None or calibrator.group_temperatures is None:
        return []
    logs, errors = groups.estimate(data, replace(calibrator, group_temperatures=None, top=None))
    found = []
    for group, name in enumerate(data.group_names):
        rows = proof.groups == group
        factor, own = float(calibrator.group_temperatures[group]), float(logs[group])
        said = bool(np.isfinite(errors[group]))
        alone = float(calibrator.temperature * np.exp(own))
        found.append(
            GroupRow(
                name,
                int((data.groups == group).sum()),
                int(rows.sum()),
                calibrator.temperature * factor,
                (alone, alone * float(errors[group])) if said else None,
                float(np.clip(1 - np.log(factor) / own, 0, 1)) if said and own else 1.0 - said,
                pair(proof, rows, mean_nll) if rows.any() else None,
                pair(proof, rows, top_ece) if rows.any() else None,
            )
        )
    return found


def pulled_sentence(found: Sequence[GroupRow]) -> str:
    """Which groups have too few rows for a temperature of their own; nothing where all have enough."""
    few = [f"{one.name} ({100 * one.pulled:.0f} %)" for one in found if one.pulled >= PULLED]
    if not few:
        return ""
    verb = "has few rows, and was" if len(few) == 1 else "have few rows, and were"
    return f"{', '.join(few)} {verb} pulled so far towards the common temperature"


def part_of(scores: Scores, rows: Bools) -> Scores:
    """The scores of some rows; the sums by class stay those of all."""
    names = ("confidence", "correct", "nll", "brier", "weights", "labels", "predictions")
    return replace(scores, **{name: getattr(scores, name)[rows] for name in names})


def pair(proof: Proof, rows: Bools, metric: Callable[[Scores], float]) -> tuple[float, float]:
    return metric(part_of(proof.before, rows)), metric(part_of(proof.after, rows))


def mean_nll(scores: Scores) -> float:
    return float(np.average(scores.nll, weights=scores.weights))


def top_ece(scores: Scores) -> float:
    return ece(Ordered(scores.confidence, scores.correct, scores.weights))
