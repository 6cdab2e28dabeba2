"""What a model takes and gives: the one value that head, model and codec share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.conformal import Conformal
from service.engine.rows import Input
from service.families import SOFTMAX, Family
from service.families.outputs import CLASSIFIER_BIT, graph_bits

LOGITS: Mapping[str, Input] = {"logits": (np.float32, (None,))}


@dataclass(frozen=True, slots=True)
class Signature:
    """A model as those who read its requests and write its answers see it.

    Attributes:
        name, version: of the model; empty for a head that is not served under a name.
        family: what is computed.
        takes: what a request brings: `logits`, or the `inputs` of the classifier that the head stands behind.
        inputs: what a request brings, name to (dtype, shape without the batch axis; none is open).
        classes: K, or none where any number is served.
        labels: class labels by index, or none.
        temperature: the T > 0 inside the head.
        method: how it was calibrated, as `calibrant fit --method` calls it, or `none`.
        groups: group name to index; 0 is for rows of no group that the head knows.
        group_temperatures: the T of each group, by index.
        averages: it averages the members of an ensemble, whose logits come as `[N, M, K]`.
        thresholds: `[K]` or `[1]`, of a sigmoid: the probability from which a class is predicted; none of the others.
        prior: `[K]`, the class frequencies of the fit, or none.
        laplace: the weight of the uniform distribution that the graph mixes in behind its scores.
        slope: `[K]`, what each logit is multiplied by before the temperature divides it, or none.
        has_gradient: the calibrator does no more to a logit than that, and add a number: the gradient is known.
        masks_first: the graph applies the mask to the logits themselves.
        conformal: the scores for prediction sets, or none.
        shows_logits: the graph shows the logits of the classifier that it stands behind, to be looked at.
        names_groups: a request may name a group although the head has one temperature for all: labels count by it.
    """

    name: str = ""
    version: str = ""
    family: Family = SOFTMAX
    takes: Literal["logits", "inputs"] = "logits"
    inputs: Mapping[str, Input] = field(default_factory=lambda: LOGITS)
    classes: int | None = None
    labels: Sequence[str] | None = None
    temperature: float = 1.0
    method: str = "none"
    groups: Mapping[str, int] = field(default_factory=dict)
    group_temperatures: Sequence[float] = (1.0,)
    averages: bool = False
    thresholds: NDArray[np.float32] | None = None
    prior: NDArray[np.float64] | None = None
    laplace: float = 0.0
    slope: NDArray[np.float64] | None = None
    has_gradient: bool = True
    masks_first: bool = True
    conformal: Conformal | None = None
    shows_logits: bool = False
    names_groups: bool = False

    @property
    def members(self) -> int | None:
        """M, where members are averaged and their number is fixed."""
        return self.inputs["logits"][1][0] if self.averages else None

    def mix(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores over the temperature `[N, K]`; log-probabilities where the graph mixes the uniform one in behind."""
        if not self.laplace:
            return x
        p, log_p = self.family.distribution(x)
        share = self.laplace / np.maximum((x > -np.inf).sum(axis=1, keepdims=True), 1)
        return np.where(x > -np.inf, np.log((1 - self.laplace) * p + share), log_p)

    def bits(self, outputs: tuple[str, ...]) -> int:
        """The graph outputs that `outputs` are made of, as bits, and the classifier's logits.

        Raises:
            InvalidValue: the head does not have one of them.
        """
        bits = graph_bits(outputs, self.family, self.averages)
        return bits | CLASSIFIER_BIT if self.shows_logits else bits
