"""A model as the codec sees it, without a head behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from service.engine.rows import Input


@dataclass
class Stub:
    """What `Served` asks for, made up."""

    name: str = "stub"
    version: str = "1"
    classes: int | None = None
    labels: Sequence[str] | None = None
    temperature: float = 1.0
    inputs: Mapping[str, Input] = field(default_factory=lambda: {"logits": (np.float32, (None,))})
    takes_logits: bool = True
    masks_first: bool = True
    groups: Mapping[str, int] = field(default_factory=dict)
    group_temperatures: Sequence[float] = (1.0,)
    conformal: Any = None


ANY = Stub()
LATE_MASK = Stub(masks_first=False)
THREE = Stub(classes=3, labels=("cat", "dog", "eel"))
CLASSIFIER = Stub(
    classes=3,
    takes_logits=False,
    inputs={"pixels": (np.float32, (2, 2)), "ids": (np.int64, (None,)), "flag": (np.bool_, (1,))},
)
