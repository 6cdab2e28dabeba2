"""The head in numpy, written independently of the graph, and the check of one against the other."""

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper
from onnx.reference import ReferenceEvaluator

from service.errors import HeadError
from service.heads.members import Members
from service.heads.reading import HEAD, class_count, default_temperature, read_stages
from service.heads.stages import Stages
from service.heads.top import BOUND, MARGIN

Tensors = dict[str, NDArray[Any]]

INPUTS: Final = ("mask", "temperature", "group")
PER_CLASS: Final = ("probabilities", "log_probabilities", "scores")


class Tolerance(NamedTuple):
    """How far from the reference an output may be: `absolute + relative * |reference|`."""

    relative: float
    absolute: float


TOLERANCES: Final = {
    "probabilities": Tolerance(1.2e-7, 2e-45),  # float32 rounds by 6e-8, its subnormals by 0.7e-45
    "log_probabilities": Tolerance(6e-8, 4e-6),
    "logsumexp": Tolerance(6e-8, 4e-6),
    "scores": Tolerance(1e-12, 1e-9),
    "mutual_information": Tolerance(1.2e-7, 1e-12),
}


def expected(stages: Stages, logits: NDArray[Any], mask: NDArray[np.bool_], temperature: NDArray[Any]) -> Tensors:
    """What the head answers to logits [N, K], mask [N, K], temperature [N, 1]: in the widest float there is.

    The logits of an ensemble are [N, M, K].

    Only what the mask allows is looked at, but by the stages before the mask, unless they are masked too.
    """
    n = len(logits)
    answers: Tensors = {name: np.full(mask.shape, -np.inf, np.longdouble) for name in PER_CLASS}
    answers["probabilities"][:] = 0
    answers["logsumexp"] = np.full((n, 1), -np.inf, np.longdouble)
    if stages.members is not None:
        logits, answers["mutual_information"] = average(stages.members, logits, mask)
    for row in range(n):
        allowed = np.flatnonzero(mask[row] & (logits[row] != -np.inf))
        if not len(allowed):
            continue
        read = mask[row] & np.isfinite(logits[row]) if stages.masks_first else np.isfinite(logits[row])
        x = calibrate(stages, logits[row].astype(np.longdouble), read)[allowed]
        t = np.longdouble(temperature[row, 0])
        if stages.top is not None:
            logs = apply_top(stages, x)
            x = x.max() + (logs - logs.max()) * np.longdouble(stages.temperature)
        scores = x - x.max() if stages.family.shifted else x
        p, log_p = stages.family.distribution(scores / t)
        answers["scores"][row, allowed] = scores
        answers["probabilities"][row, allowed] = p
        answers["log_probabilities"][row, allowed] = log_p
        if stages.laplace and stages.top is None:
            share = stages.laplace / len(allowed)
            p = (1 - np.longdouble(stages.laplace)) * p + share
            answers["probabilities"][row, allowed], answers["log_probabilities"][row, allowed] = p, np.log(p)
        answers["logsumexp"][row] = x.max() / t + log_sum((x - x.max()) / t)
    return answers


def average(members: Members, logits: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[Any]]:
    """One row of logits [N, K] from the members' [N, M, K], and the mutual information [N, 1]."""
    n, m, k = logits.shape
    row = np.full((n, k), -np.inf, np.longdouble)
    information = np.zeros((n, 1), np.longdouble)
    shares = members.shares(m).astype(np.longdouble)
    for i in range(n):
        allowed = np.flatnonzero(mask[i] & ~np.isneginf(logits[i]).any(axis=0))
        if not len(allowed):
            continue
        z = logits[i][:, allowed].astype(np.longdouble)
        logs = np.array([one - log_sum(one) for one in z])
        mean = shares @ np.exp(logs)
        kept = shares > 0
        if members.average == "logits":
            row[i, allowed] = shares @ z
        else:
            row[i, allowed] = [log_sum(column[kept] + np.log(shares[kept])) for column in logs.T]
        information[i] = -(mean * np.log(np.maximum(mean, 1e-300))).sum() + shares @ (np.exp(logs) * logs).sum(axis=1)
    return row, information


def calibrate(stages: Stages, z: NDArray[Any], read: NDArray[np.bool_]) -> NDArray[Any]:
    """The stages before the mask on one row [K]; only the classes that are `read` have a meaning."""
    n = max(int(read.sum()), 1)
    x = np.where(read, z, 0)
    if stages.scale is not None or stages.matrix is not None:
        x = np.where(read, x - x.sum() / n, 0)
        if stages.log_input is not None:
            over = x / stages.log_input
            x = np.where(read, over - log_sum(over[read]), 0)
        x = x * stages.scale if stages.matrix is None and stages.scale is not None else stages.matrix @ x
    if stages.slope is not None:
        x = x * stages.slope
    if stages.bias is not None:
        x = x + stages.bias
    if stages.entropy is not None and read.any():
        line = stages.entropy
        logs = x[read] - log_sum(x[read])
        share = max(-(np.exp(logs) @ logs) / np.log(np.longdouble(max(n, 2))), line.floor)
        log_t = line.intercept + line.slope * (np.log(share) - line.mean) / line.deviation
        x = x / np.exp(np.clip(log_t, -line.bound, line.bound))
    return x


def apply_top(stages: Stages, x: NDArray[Any]) -> NDArray[Any]:
    """The stages behind the mask on the allowed scores [k] of one row: its log-probabilities at the fitted temperature.

    f is written with hinges here, in the stage with pieces.
    """
    assert stages.top is not None  # noqa: S101 - who calls has looked
    logs = x / np.longdouble(stages.temperature)
    logs = logs - log_sum(logs)
    if stages.laplace:
        logs = np.log((1 - np.longdouble(stages.laplace)) * np.exp(logs) + stages.laplace / len(x))
    top = int(x.argmax())
    others = np.delete(logs, top)
    if not len(others):
        return np.asarray(logs)
    rest = log_sum(others)
    (low, high), slopes = stages.top.knots, stages.top.slopes
    odds = np.clip(logs[top] - rest, -BOUND, BOUND)
    after = stages.top.offset + slopes[0] * odds + slopes[1] * low + slopes[2] * high
    after += (slopes[1] - slopes[0]) * max(odds - low, 0) + (slopes[2] - slopes[1]) * max(odds - high, 0)
    after = max(after, others.max() - rest + MARGIN)
    answer = logs - rest - np.log1p(np.exp(after))
    answer[top] = -np.log1p(np.exp(-after))
    return np.asarray(answer)


def log_sum(x: NDArray[Any]) -> Any:
    return x.max() + np.log(np.exp(x - x.max()).sum()) if len(x) else np.longdouble(0)


def check(model: ModelProto) -> None:
    """Run a head with onnx's own evaluator, and compare; behind a classifier, the head without it.

    Raises:
        HeadError: an output is further from the reference than its tolerance.
    """
    stages = read_stages(model)
    evaluator = ReferenceEvaluator(alone(model))
    logits = evaluator.input_names[0]
    k = class_count(model)
    members = None if stages.members is None else stages.members.count or 3
    rng = np.random.default_rng(0)
    for n, width in ((1, k or 10), (4, k or 7)):
        x, mask, temperature = examples(rng, n, width, members)
        defaults = np.ones_like(mask), np.full((n, 1), default_temperature(model))
        compare(evaluator, {logits: x}, expected(stages, x, *defaults))
        x[~mask if members is None else np.broadcast_to(~mask[:, None], x.shape)] = np.nan
        given = {logits: x, "mask": mask, "temperature": temperature}
        compare(evaluator, given, expected(stages, x, mask, temperature))


def alone(model: ModelProto) -> ModelProto:
    """Take the head out from behind its classifier: `logits` float32 [N, K] become its first input."""
    nodes = [node for node in model.graph.node if node.name.startswith(HEAD)]
    if not nodes:
        return model
    logits = helper.make_tensor_value_info(nodes[0].output[0], TensorProto.FLOAT, None)
    inputs = [logits, *(entry for entry in model.graph.input if entry.name in INPUTS)]
    own = [t for t in model.graph.initializer if t.name in INPUTS or t.name.startswith(HEAD)]
    graph = helper.make_graph(nodes[1:], "head", inputs, model.graph.output, own)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def examples(
    rng: np.random.Generator, n: int, k: int, members: int | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[Any]]:
    """Make n rows of logits, mask and temperature; of more rows than one the last allows no class."""
    mask = rng.random((n, k)) < 0.7
    mask[-1] = n == 1
    shape = (n, k) if members is None else (n, members, k)
    logits = rng.normal(scale=5, size=shape) + rng.normal(scale=100, size=(*shape[:-1], 1))
    return logits.astype(np.float32), mask, rng.uniform(0.5, 2, (n, 1))


def compare(evaluator: ReferenceEvaluator, rows: Tensors, answers: Tensors) -> None:
    """Run `rows` and hold every output against its answer."""
    with np.errstate(all="ignore"):
        outputs = dict(zip(evaluator.output_names, evaluator.run(None, rows), strict=True))
        for name in answers:
            relative, absolute = TOLERANCES[name]
            if not np.allclose(outputs[name], answers[name], relative, absolute):
                raise HeadError(f"the head's {name} are further than {absolute} from the float64 reference")
