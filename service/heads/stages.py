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


@dataclass(frozen=True)
class EntropyLine:
    """log T(x) = intercept + slope * (f - mean) / deviation, within +-bound; f is the log of the row's entropy.

    The entropy is that of the softmax before it, over log K, at least `floor`. Balanya et al. 2022.
    """

    intercept: float
    slope: float
    mean: float
    deviation: float
    floor: float
    bound: float


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of a head, in the order of the graph: affine, entropy, temperature, (mask,) softmax, Laplace.

    Attributes:
        temperature: the fitted T > 0, the default of the input `temperature`.
        bias: float64 [K], added to the logits, or to what scale or matrix make of them, or none.
        scale: float64 [K], multiplies the centred logits, or none.
        matrix: float64 [K, K], y = matrix @ x on the centred logits x, or none.
        log_input: T > 0 where scale or matrix read log_softmax(logits / T) instead, or none.
        entropy: a temperature for each row, or none.
        laplace: weight of the uniform distribution in the answer.
        group_temperatures: float64 [G], a factor of the temperature by the input `group`; the first is for no group.
        masks_first: the stages before the mask do not read a masked logit either.

    Raises:
        UsedWrongly: a value that no head can hold.
    """

    temperature: float = 1.0
    bias: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None
    matrix: NDArray[np.float64] | None = None
    log_input: float | None = None
    entropy: EntropyLine | None = None
    laplace: float = 0.0
    group_temperatures: NDArray[np.float64] | None = None
    masks_first: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsedWrongly(f"the temperature is {self.temperature}, expected a finite number > 0")
        if not 0 <= self.laplace < 1:
            raise UsedWrongly(f"the weight of the Laplace mix is {self.laplace}, expected a number from 0 to below 1")
        for name, ndim in (("bias", 1), ("scale", 1), ("matrix", 2), ("group_temperatures", 1)):
            check_array(name.replace("_", " "), getattr(self, name), ndim)
        if len({len(values) for values in (self.bias, self.scale, self.matrix) if values is not None}) > 1:
            raise UsedWrongly("bias, scale and matrix are of different lengths, expected one K for all")

    @property
    def affine(self) -> bool:
        """Whether anything is done to the logits before the mask."""
        return self.bias is not None or self.reads_rows

    @property
    def reads_rows(self) -> bool:
        """Whether a class's calibrated logit depends on the other classes' logits."""
        return any(stage is not None for stage in (self.scale, self.matrix, self.entropy))

    @property
    def classes(self) -> int | None:
        """The number of classes K that the parameters demand; none where any number will do."""
        return next((len(a) for a in (self.bias, self.scale, self.matrix) if a is not None), None)

    def vector(self, name: str) -> NDArray[np.float64]:
        """A parameter that is there, in float64."""
        return np.asarray(getattr(self, name), np.float64)

    @classmethod
    def read(cls, model: ModelProto) -> "Stages":
        """The stages inside a head that `build` or `attach` made.

        Raises:
            HeadError: the graph has no default temperature.
        """
        nodes = {node.name for node in model.graph.node}
        prefix = HEAD if any(name.startswith(HEAD) for name in nodes) else ""
        own = ("temperature", prefix)
        tensors = {t.name.removeprefix(prefix): t for t in model.graph.initializer if t.name.startswith(own)}
        if "temperature" not in tensors:
            raise HeadError("has no default for the input temperature: make it with `calibrant export`")

        def array(name: str) -> NDArray[np.float64] | None:
            return numpy_helper.to_array(tensors[name]).astype(np.float64) if name in tensors else None

        bias, scale, matrix = array("bias"), array("scale"), array("matrix")
        k = class_count(model)
        log_input, laplace = array("log_input"), array("laplace")
        slope = array("entropy_slope")
        line = None
        if slope is not None:
            rest = (float(tensors_value(array(name))) for name in ("entropy_offset", "entropy_floor", "entropy_bound"))
            offset, floor, bound = rest
            line = EntropyLine(offset, float(slope), 0.0, 1.0, floor, bound)
        return cls(
            temperature=float(tensors_value(array("temperature"))),
            bias=None if bias is None else bias[:k],
            scale=None if scale is None else scale[:k],
            matrix=None if matrix is None else matrix.T[:k, :k],
            log_input=None if log_input is None else float(log_input),
            entropy=line,
            laplace=0.0 if laplace is None else float(laplace),
            group_temperatures=array("group_temperatures"),
            masks_first=f"{prefix}seen" in nodes,
        )


def tensors_value(array: NDArray[np.float64] | None) -> float:
    """The one number of a constant that must be there."""
    if array is None:
        raise HeadError("lacks a constant of its calibrator: make it with `calibrant fit`")
    return float(array.reshape(()))


def class_count(model: ModelProto) -> int | None:
    """K where the outputs say so."""
    return next((o.type.tensor_type.shape.dim[1].dim_value for o in model.graph.output), 0) or None


def check_array(name: str, values: NDArray[np.float64] | None, ndim: int) -> None:
    """Refuse parameters that are not finite numbers, one for each class.

    Raises:
        UsedWrongly: with what was found.
    """
    if values is None:
        return
    if values.ndim != ndim or not values.size or not np.isfinite(values).all() or len(set(values.shape)) > 1:
        what = f"{np.count_nonzero(np.isfinite(values))} finite numbers in the shape {values.shape}"
        raise UsedWrongly(f"the {name} has {what}, expected one finite number for each class")
