"""How the members of an ensemble are averaged: the mean of their logits, or of their probabilities, compared.

The temperature comes after the average (Rahaman and Thiery 2021): inside it is far worse where members differ. Each
way is judged by its out-of-fold negative log-likelihood at a temperature of its own, or by the Brier score of a family
that gives exact zeros; so is the best member alone, which may win where members are of unequal strength.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from service.calibration import folds, methods
from service.calibration.methods import Plan
from service.calibration.threads import one_thread
from service.datasets.dataset import Dataset
from service.errors import FitError, UsedWrongly
from service.families import SOFTMAX
from service.heads.members import AVERAGES, Average, Members


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what was taken.

    Attributes:
        members: the average that is taken.
        losses: out of fold, of the mean of `logits` and of `probabilities`, and of `member I` alone.
        criterion: what the losses are, for a sentence.
    """

    members: Members
    losses: Mapping[str, float]
    criterion: str

    @property
    def best_alone(self) -> tuple[str, float]:
        """The best member, and its loss."""
        return min(
            ((name, loss) for name, loss in self.losses.items() if name.startswith("member")), key=lambda x: x[1]
        )

    @property
    def loss(self) -> float:
        return self.losses[self.members.average]


@one_thread
def compare(data: Dataset, plan: Plan, weights: tuple[float, ...] | None, wanted: Average | None) -> Comparison:
    """Compare both averages of `data`, whose logits are `[n,M,K]`, and each member alone; `wanted` is taken if given.

    Raises:
        UsedWrongly: another number of weights than members.
        FitError: labels that say nothing, or no average can be fitted.
    """
    m = data.logits.shape[1]
    if weights is not None and len(weights) != m:
        raise UsedWrongly(f"there are {len(weights)} weights, the logits have {m} members; expected one for each")
    plan = replace(plan, method="temperature")
    losses: dict[str, float] = {}
    for kind in AVERAGES:
        losses[kind] = loss_of(average(data, Members(kind, weights)), plan)
    for i in range(m):
        losses[f"member {i}"] = loss_of(replace(data, logits=np.asarray(data.logits[:, i])), plan)
    by_loss: list[Average] = sorted(AVERAGES, key=lambda kind: losses[kind])
    best = wanted or by_loss[0]
    if np.isinf(losses[best]):
        raise FitError(f"the mean of {best} has no finite temperature; expected members that know something")
    return Comparison(Members(best, weights), losses, "NLL" if plan.family is SOFTMAX else "Brier score")


def average(data: Dataset, members: Members) -> Dataset:
    """The dataset with one row of logits for those of its members, float64 `[n,K]`."""
    parts = [members.apply(chunk.logits, chunk.mask) for chunk in data.chunks()]
    return replace(data, logits=np.concatenate(parts))


def loss_of(data: Dataset, plan: Plan) -> float:
    """Mean out-of-fold loss at the best temperature; infinite where there is none."""
    try:
        fitted = folds.fit(data, lambda train: methods.fit(train, plan))
    except FitError:
        return float("inf")
    if plan.family is SOFTMAX:
        return float(np.average(fitted.negative_logs(data), weights=data.weights))
    p = np.exp(fitted.log_probabilities(data))
    own = p[np.arange(data.n_rows), data.labels]
    return float(np.average((p * p).sum(axis=1) - 2 * own + 1, weights=data.weights))
