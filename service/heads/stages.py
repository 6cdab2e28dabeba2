"""What stands between the logits and the softmax. Values only: the nodes are in `softmax`."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from service.errors import HeadError, UsedWrongly

HEAD: Final = "calibrant/"
"""Put before the head's own tensor names where the head stands behind a classifier."""


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of a head, in the order of the graph: bias, temperature, (mask,) softmax.

    Attributes:
        temperature: the fitted T > 0, the default of the input `temperature`.
        bias: float64 [K], added to the logits before anything else, or none.

    Raises:
        UsedWrongly: a value that no head can hold.
    """

    temperature: float = 1.0
    bias: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsedWrongly(f"the temperature is {self.temperature}, expected a finite number > 0")
        if self.bias is None:
            return
        if self.bias.ndim != 1 or not self.bias.size or not np.isfinite(self.bias).all():
            what = f"{np.count_nonzero(np.isfinite(self.bias))} finite numbers in the shape {self.bias.shape}"
            raise UsedWrongly(f"the bias has {what}, expected one finite number for each class")

    @property
    def affine(self) -> bool:
        """Whether anything is done to the logits before the mask."""
        return self.bias is not None

    @property
    def classes(self) -> int | None:
        """The number of classes K that the parameters demand; none where any number will do."""
        return None if self.bias is None else len(self.bias)

    @classmethod
    def read(cls, model: ModelProto) -> "Stages":
        """The stages inside a head that `build` or `attach` made.

        Raises:
            HeadError: the graph has no default temperature.
        """
        prefix = HEAD if any(node.name.startswith(HEAD) for node in model.graph.node) else ""
        tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        if "temperature" not in tensors:
            raise HeadError("has no default for the input temperature: make it with `calibrant export`")
        temperature = numpy_helper.to_array(tensors["temperature"]).item()
        bias = tensors.get(f"{prefix}bias")
        return cls(temperature, None if bias is None else numpy_helper.to_array(bias).astype(np.float64))
