"""A fitted calibrator: the stages between the logits and the softmax as numbers, and what they make of logits.

The order is affine, entropy temperature, temperature, mask, softmax, Laplace mix, top label; a stage that is not there
does nothing. The float64 model here is what a fit works with, and what the head must equal; how the numbers are found
stands in `calibration`, their nodes in `nodes` and `softmax`, how they are read back from a graph in `reading`. No ONNX
here.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Bools, Chunk, Floats, Ints, usable_classes
from service.errors import UsedWrongly
from service.families import SOFTMAX, Family
from service.heads.constants import Constants, array, number
from service.heads.entropy import EntropyTemperature, log_entropy
from service.heads.members import Members
from service.heads.top import TopLabel


@dataclass(frozen=True, eq=False)
class Stages:
    """Parameters, all float64; the default leaves the logits as they are.

    Attributes:
        temperature: T > 0, divides what the affine stages leave; the default of the head's input `temperature`.
        bias: `[K]`, added before the temperature divides.
        scale: `[K]`, y = scale * x on the centred logits x, instead of `matrix`.
        matrix: `[K,K]`, y = matrix @ x on the centred logits x.
        log_input: T > 0 where `scale` or `matrix` read x = log_softmax(z / T) instead, which does not fold into a
            linear head; none where they read the centred logits.
        entropy: a temperature for each row, from its entropy.
        laplace: weight of the uniform distribution over the allowed classes in the answer, from 0 to below 1.
        top: the confidence of the best class, calibrated apart; it reads the log-probabilities at `temperature`, and a
            temperature that a request brings softens what comes out of it.
        group_temperatures: `[G]`, one more divisor for the rows of each group; rows of no group have none.
        slope: `[K]`, y = slope * z, each class on its own, as a sigmoid wants it; not beside scale and matrix.
        members: how an ensemble's members are averaged, before anything else; logits are `[m,M,K]` then.
        family: what is made of the scores; the Laplace mix and the top label are a softmax's.
        masks_first: a masked class is never read, not even by the affine and entropy stages. They read every finite
            logit otherwise, so that a mask only takes classes away and leaves the others' ratios.
        method: what was fitted, as `calibrant fit --method` calls it; a graph does not hold it.

    Raises:
        UsedWrongly: a value that no head can hold.
    """

    temperature: float = 1.0
    bias: Floats | None = None
    scale: Floats | None = None
    matrix: Floats | None = None
    log_input: float | None = None
    entropy: EntropyTemperature | None = None
    laplace: float = 0.0
    top: TopLabel | None = None
    group_temperatures: Floats | None = None
    slope: Floats | None = None
    members: Members | None = None
    family: Family = SOFTMAX
    masks_first: bool = False
    method: str = "none"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UsedWrongly(f"the temperature is {self.temperature}; expected a finite number > 0")
        if not 0 <= self.laplace < 1:
            raise UsedWrongly(f"the weight of the Laplace mix is {self.laplace}; expected a number from 0 to below 1")
        for name, ndim in (("slope", 1), ("bias", 1), ("scale", 1), ("matrix", 2), ("group_temperatures", 1)):
            check_array(name.replace("_", " "), getattr(self, name), ndim)
        if len({len(values) for values in (self.slope, self.bias, self.scale, self.matrix) if values is not None}) > 1:
            raise UsedWrongly("slope, bias, scale and matrix are of different lengths; expected one K for all")

    @classmethod
    def from_constants(cls, constants: Constants, k: int | None, *, masks_first: bool) -> "Stages":
        """The stages whose nodes hold `constants`, by name; of odd `k` the parameters are padded there.

        Raises:
            HeadError: one of them is missing.
        """
        slope, bias, scale, matrix = (array(constants, name) for name in ("slope", "bias", "scale", "matrix"))
        groups = array(constants, "group_temperatures")
        return cls(
            temperature=number(constants, "top_temperature" if "top_temperature" in constants else "temperature"),
            slope=slope,
            bias=None if bias is None else bias[:k],
            scale=None if scale is None else scale[:k],
            matrix=None if matrix is None else matrix.T[:k, :k],
            log_input=number(constants, "log_input") if "log_input" in constants else None,
            entropy=EntropyTemperature.from_constants(constants),
            laplace=number(constants, "laplace") if "laplace" in constants else 0.0,
            top=TopLabel.from_constants(constants),
            group_temperatures=None if groups is None else groups[1:],  # the first is for rows of no group
            masks_first=masks_first,
        )

    @property
    def changes_logits(self) -> bool:
        """Whether anything is done to the logits before the mask."""
        return self.slope is not None or self.bias is not None or self.reads_rows

    @property
    def reads_under_mask(self) -> bool:
        """Whether a masked class is read: by an affine or entropy stage that does not mask first."""
        own = self.masks_first or self.members is not None or self.slope is not None
        return self.changes_logits and not own

    @property
    def reads_rows(self) -> bool:
        """Whether a class's calibrated logit depends on the other classes' logits."""
        return any(stage is not None for stage in (self.scale, self.matrix, self.entropy))

    @property
    def classes(self) -> int | None:
        """The number of classes K that the parameters demand; none where any number will do."""
        return next((len(a) for a in (self.slope, self.bias, self.scale, self.matrix) if a is not None), None)

    @property
    def n_parameters(self) -> int:
        """Numbers that were fitted."""
        if self.method == "none":
            return 0
        arrays = (self.slope, self.bias, self.scale, self.matrix, self.group_temperatures)
        fixed = 2 * (self.entropy is not None) + (self.log_input is not None) + 4 * (self.top is not None)
        in_arrays = sum(array.size for array in arrays if array is not None)
        own = all(stage is None for stage in (self.slope, self.scale, self.matrix, self.entropy))
        return in_arrays + fixed + own

    def vector(self, name: str) -> Floats:
        """A parameter that is there, in float64."""
        return np.asarray(getattr(self, name), np.float64)

    def parameters(self, group_names: tuple[str, ...] = ()) -> dict[str, Any]:
        """As JSON for the metadata; a matrix is in the graph alone, for it would fill the page."""
        found: dict[str, Any] = {
            "method": self.method,
            "temperature": self.temperature,
            "n_parameters": self.n_parameters,
        }
        for name, values in (("slope", self.slope), ("bias", self.bias), ("scale", self.scale)):
            if values is not None:
                found[name] = to_list(values)
        if self.matrix is not None:
            found["matrix"] = f"{len(self.matrix)} x {len(self.matrix)}, in the graph"
        if self.log_input is not None:
            found["log_input"] = self.log_input
        if self.entropy is not None:
            line = ("intercept", "slope", "mean", "deviation")
            found["entropy"] = {name: getattr(self.entropy, name) for name in line}
        if self.laplace:
            found["laplace"] = self.laplace
        if self.top is not None:
            found["top"] = asdict(self.top)
        if self.group_temperatures is not None:
            by_group = to_list(self.temperature * self.group_temperatures)
            found["group_temperatures"] = dict(zip(group_names, by_group, strict=True))
        return found

    def readable(self, logits: NDArray[Any], mask: Bools | None) -> Bools:
        """The classes that the affine and entropy stages read, bool `[m,K]`."""
        return usable_classes(logits, mask if self.masks_first else None) & (logits < np.inf)

    def transform(self, z: Floats, read: Bools) -> Floats:
        """Scale or matrix, and bias, on `z` `[m,K]`, which is 0 where it is not to be read."""
        if self.matrix is not None:
            z = affine_input(z, read, self.log_input) @ self.matrix.T
        elif self.scale is not None:
            z = affine_input(z, read, self.log_input) * self.scale
        elif self.slope is not None:
            z = z * self.slope
        return z if self.bias is None else z + self.bias

    def scores(self, logits: NDArray[Any], mask: Bools | None, groups: Ints | None = None) -> Floats:
        """What the softmax sees, float64 `[m,K]`: -inf where a class is masked or has no score.

        `groups` `[m]` are indices into `group_temperatures`; without them no row is of a group.
        """
        if self.members is not None:
            logits = self.members.apply(logits, mask)
        read = self.readable(logits, mask)
        y = self.transform(np.where(read, logits, 0).astype(np.float64, copy=False), read)
        divisor: Any = self.temperature
        if self.entropy is not None:
            features = log_entropy(y, read, self.entropy.floor)
            divisor = divisor * np.exp(self.entropy.log_temperatures(features))[:, None]
        if self.group_temperatures is not None and groups is not None:
            divisor = divisor * self.group_temperatures[groups][:, None]
        return np.where(read if mask is None else read & mask, y / divisor, -np.inf)

    def log_probabilities(self, logits: NDArray[Any], mask: Bools | None, groups: Ints | None = None) -> Floats:
        """Calibrated log-probabilities, float64 `[m,K]`; -inf where a class is masked or has no score."""
        scores = self.scores(logits, mask, groups)
        logs = log_softmax(scores) if self.family is SOFTMAX else self.family.distribution(scores)[1]
        if self.laplace:
            logs = mix_uniform(logs, self.laplace)
        return logs if self.top is None else self.top.apply(logs, scores.argmax(axis=1))

    def predict(self, chunk: Chunk) -> Floats:
        """`log_probabilities` of a chunk."""
        return self.log_probabilities(chunk.logits, chunk.mask, chunk.groups)


def log_softmax(scores: Floats) -> Floats:
    """Log-probabilities of `scores` `[m,K]`, at least one of them finite in each row."""
    z = scores - scores.max(axis=1, keepdims=True)
    total: Floats = np.exp(z).sum(axis=1, keepdims=True)
    return np.asarray(z - np.log(total))


def mix_uniform(logs: Floats, weight: float) -> Floats:
    """The Laplace mix: log-probabilities `[m,K]` with `weight` of the uniform distribution over the allowed classes."""
    taking_part = logs > -np.inf
    share = weight / taking_part.sum(axis=1, keepdims=True)
    return np.where(taking_part, np.log((1 - weight) * np.exp(logs) + share), -np.inf)


def centre(z: Floats, read: Bools) -> Floats:
    """`z` minus the row's mean over the classes that are read, 0 elsewhere: the part that a softmax can see."""
    if read.all():
        return np.asarray(z - z.mean(axis=1, keepdims=True))
    mean = z.sum(axis=1, keepdims=True) / np.maximum(read.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(read, z - mean, 0))


def affine_input(z: Floats, read: Bools, log_input: float | None) -> Floats:
    """What the scale or the matrix multiplies, float64 `[m,K]`, 0 where it is not read."""
    if log_input is None:
        return centre(z, read)
    empty = ~read.any(axis=1, keepdims=True)
    return np.asarray(np.where(read, log_softmax(np.where(read | empty, z / log_input, -np.inf)), 0))


def to_list(values: Floats) -> list[float]:
    return [float(value) for value in values]


def check_array(name: str, values: Floats | None, ndim: int) -> None:
    """Refuse parameters that are not finite numbers, one for each class.

    Raises:
        UsedWrongly: with what was found.
    """
    if values is None:
        return
    if values.ndim != ndim or not values.size or not np.isfinite(values).all() or len(set(values.shape)) > 1:
        what = f"{np.count_nonzero(np.isfinite(values))} finite numbers in the shape {values.shape}"
        raise UsedWrongly(f"the {name} has {what}; expected one finite number for each class")
