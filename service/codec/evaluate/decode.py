"""A body of /evaluate to an `Evaluation`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.codec import arrays
from service.codec.evaluate.contract import MEASURES, EvaluateRequest
from service.codec.evaluate.targets import check_targets, read_labels, smooth
from service.codec.objects import parse_object
from service.codec.predict.careful import check_contract, read_query
from service.codec.query import Query, list_needs
from service.engine.signature import Signature
from service.errors import InvalidValue
from service.families.outputs import OUTPUTS


class Evaluation(Query):
    """One request.

    Attributes:
        measures: what is asked for beside the outputs of a prediction, in order.
        targets: float64 `[N, K]`, or none.
        smoothed: the same with label smoothing.
        upstream: float64 `[N, K]`, or none.
        of_logs: the upstream gradient is with respect to the log-probabilities.
    """

    __slots__ = ("measures", "of_logs", "smoothed", "targets", "upstream")

    measures: tuple[str, ...]
    targets: NDArray[np.float64] | None
    smoothed: NDArray[np.float64] | None
    upstream: NDArray[np.float64] | None
    of_logs: bool

    @property
    def needs(self) -> tuple[str, ...]:
        """All that the answer is made of."""
        return (*list_needs(self), "scores", *(("prediction",) if "metrics" in self.measures else ()))


def decode_evaluate(body: bytes, _: bytes | None, model: Signature) -> Evaluation:
    """Read a request for `model`.

    Raises:
        NotJSON: the body is not JSON.
        InvalidValue: it is JSON, but not a request that can be answered.
    """
    request = check_contract(parse_object(body), EvaluateRequest)
    if request.labels is not None and request.targets is not None:
        raise InvalidValue("both labels and targets were given; send one of them")
    asked: tuple[str, ...] = tuple(request.outputs or (("vjp",) if has_only_upstream(request) else ("loss",)))
    query = read_query(request, tuple(name for name in asked if name in OUTPUTS), model)
    allowed = allowed_classes(query, model)
    targets = read_targets(request, query, allowed, model)
    measures = tuple(name for name in asked if name in MEASURES)
    check_measures(measures, request, model)
    upstream = None
    if request.upstream is not None:
        upstream = read_like_logits(request.upstream, "upstream", query, allowed.shape, "bad_upstream")
    evaluation = Evaluation(
        query.rows,
        query.outputs,
        query.lead,
        query.classes,
        query.lists_temperature,
        query.top_k,
        query.timeout_s,
        query.id,
        query.alpha,
        query.groups,
        prior=query.prior,
        abstain_below=query.abstain_below,
    )
    evaluation.measures = measures
    evaluation.targets = targets
    evaluation.smoothed = None if targets is None else smooth(targets, request.label_smoothing, allowed, model)
    evaluation.upstream = upstream
    evaluation.of_logs = request.of == "log_probabilities"
    return evaluation


def has_only_upstream(request: EvaluateRequest) -> bool:
    """Whether there is nothing that a loss could be of."""
    return request.upstream is not None and request.labels is None and request.targets is None


def check_measures(measures: tuple[str, ...], request: EvaluateRequest, model: Signature) -> None:
    """Refuse what cannot be measured.

    Raises:
        InvalidValue: labels or the upstream gradient are missing, or the head's gradient is not known here.
    """
    known = request.labels is not None or request.targets is not None
    if not known and (wanted := [name for name in measures if name != "vjp"]):
        raise InvalidValue(f"{wanted[0]} was asked for; expected labels or targets", code="missing_labels")
    if "vjp" in measures and request.upstream is None:
        raise InvalidValue("vjp was asked for; expected the key upstream", code="bad_upstream")
    if not model.has_gradient and (wanted := [name for name in measures if name in ("gradient", "vjp")]):
        raise InvalidValue(
            f"the model {model.name} has no {wanted[0]} here: its calibrator does more than scale each logit; "
            "expected a head of a temperature, a bias or a sigmoid's scale",
            code="no_gradient",
        )
    if request.prior is not None and measures:
        raise InvalidValue(f"{measures[0]} holds under the prior of the fit only; expected no prior beside it")


def allowed_classes(query: Query, model: Signature) -> NDArray[np.bool_]:
    """Which classes of each row are allowed and have a score, as far as that is known before the run, bool `[N, K]`."""
    rows = query.rows
    logits = rows.inputs.get("logits")
    if logits is None:
        if model.classes is None:
            raise InvalidValue("the model's number of classes is open; it takes no labels", code="bad_label")
        return np.ones((rows.n, model.classes), np.bool_) if rows.mask is None else rows.mask
    scored = np.asarray(logits > -np.inf)
    if scored.ndim > 2:
        scored = np.asarray(scored.all(axis=1))
    return np.asarray(scored if rows.mask is None else scored & rows.mask)


def read_targets(
    request: EvaluateRequest, query: Query, allowed: NDArray[np.bool_], model: Signature
) -> NDArray[np.float64] | None:
    """What is known of each row, float64 `[N, K]`; none if nothing came.

    Raises:
        InvalidValue: it is not what the family wants, or a class that is not allowed is said to be right.
    """
    epsilon = request.label_smoothing
    if not 0 <= epsilon < 1:
        raise InvalidValue(
            f"label_smoothing is {epsilon:g}; expected a number from 0 to below 1", code="bad_label_smoothing"
        )
    if request.labels is not None:
        targets, name = read_labels(request.labels, query, allowed.shape, model), "labels"
    elif request.targets is not None:
        targets, name = read_like_logits(request.targets, "targets", query, allowed.shape, "bad_target"), "targets"
        check_targets(targets, model)
    else:
        return None
    wrong = (targets > 0) & ~allowed
    if wrong.any() or (model.family.chooses_one and not allowed.any(axis=1).all()):
        row = int((wrong.any(axis=1) | ~allowed.any(axis=1)).argmax())
        raise InvalidValue(
            f"{name} of row {row} is a class that is masked or has no score; expected one that may be chosen",
            code="label_masked",
            row=row,
        )
    return targets


def read_like_logits(value: Any, name: str, query: Query, shape: tuple[int, ...], code: str) -> NDArray[np.float64]:
    """Numbers in the shape of the logits, as float64 `[N, K]`."""
    expected = (*query.lead, *(query.classes or shape[1:]))
    found, leaves = arrays.flatten(value, name)
    if found != expected:
        raise InvalidValue(
            f"{name} has the shape {list(found)}; expected {list(expected)} as the logits have", code=code
        )
    good = [type(leaf) in (int, float) and math.isfinite(arrays.to_float(leaf)) for leaf in leaves]
    if not all(good):
        i = good.index(False)
        at = arrays.place(i, found)
        row = i // math.prod(shape[1:])
        raise InvalidValue(f"{name}{at} is not a finite number; expected one", code=code, row=row)
    return np.array(leaves, np.float64).reshape(shape)
