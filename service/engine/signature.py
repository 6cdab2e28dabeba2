"""What a model takes and gives: the one value that head, model and codec share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from service.conformal import Conformal
from service.engine.rows import Input

LOGITS: Mapping[str, Input] = {"logits": (np.float32, (None,))}


@dataclass(frozen=True, slots=True)
class Signature:
    """A model as those who read its requests and write its answers see it.

    Attributes:
        name, version: of the model; empty for a head that is not served under a name.
        family: what is computed, a key of `families.FAMILIES`.
        takes: what a request brings: `logits`, or the `inputs` of the classifier that the head stands behind.
        inputs: what a request brings, name to (dtype, shape without the batch axis; none is open).
        classes: K, or none where any number is served.
        labels: class labels by index, or none.
        temperature: the T > 0 inside the head.
        groups: group name to index; 0 is for rows of no group that the head knows.
        group_temperatures: the T of each group, by index.
        masks_first: the graph applies the mask to the logits themselves.
        conformal: the scores for prediction sets, or none.
    """

    name: str = ""
    version: str = ""
    family: str = "softmax"
    takes: Literal["logits", "inputs"] = "logits"
    inputs: Mapping[str, Input] = field(default_factory=lambda: LOGITS)
    classes: int | None = None
    labels: Sequence[str] | None = None
    temperature: float = 1.0
    groups: Mapping[str, int] = field(default_factory=dict)
    group_temperatures: Sequence[float] = (1.0,)
    masks_first: bool = True
    conformal: Conformal | None = None
