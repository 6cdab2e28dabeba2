"""The careful way in, which is the contract: json, pydantic and `arrays`, and a precise error for what is wrong.

Pydantic judges, and `wording` says what it minds: in the service's own words.
"""

import math
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from service.codec import arrays, wording
from service.codec.groups import group_indices
from service.codec.objects import parse_object
from service.codec.predict.contract import PredictRequest
from service.codec.priors import read_prior
from service.codec.query import Query
from service.codec.sets import check_sets
from service.engine.rows import Rows, Temperature
from service.engine.signature import Signature
from service.errors import InvalidValue, count

Request = TypeVar("Request", bound=PredictRequest)
MOST_NAMES: Final = 8  # of a client's, in a sentence
MOST_SHOWN: Final = 40  # characters of each


def decode_careful(body: bytes, model: Signature) -> Query:
    """Read a body of any kind, and say what is wrong with it where something is."""
    request = check_contract(parse_object(body), PredictRequest)
    return read_query(request, tuple(request.outputs), model)


def read_query(request: PredictRequest, outputs: tuple[str, ...], model: Signature) -> Query:
    """The query of a request that keeps the contract, for `outputs`."""
    read = read_logits if model.takes == "logits" else read_inputs
    rows, lead, classes = read(request, model)
    groups = group_indices(request.group, rows.n, model)
    if request.alpha is not None:
        check_sets(model, groups, temperature=request.temperature, prior=request.prior)
    prior = None
    if request.prior is not None:
        k = math.prod(classes) if classes else model.classes
        prior = read_prior(request.prior, k, model)
    return Query(
        rows.with_groups(groups),
        outputs=outputs,
        lead=lead,
        classes=classes,
        lists_temperature=isinstance(request.temperature, list),
        top_k=request.top_k,
        timeout_s=None if request.timeout_ms is None else request.timeout_ms / 1e3,
        id=request.id,
        alpha=request.alpha,
        groups=groups,
        prior=prior,
        abstain_below=request.abstain_below,
        group=request.group,
    )


def check_contract(document: dict[str, Any], contract: type[Request]) -> Request:
    """The document as the contract has it; the first thing that pydantic minds is the error."""
    known = contract.model_fields
    if unknown := [key for key in document if key not in known]:
        raise InvalidValue(f"the key {unknown[0][:40]!r} is unknown; {', '.join(known)} are known", code="unknown_key")
    try:
        request = contract.model_validate(document)
    except ValidationError as error:
        raise InvalidValue(wording.sentence(error)) from None
    if request.mask is not None and request.allowed is not None:
        raise InvalidValue("both mask and allowed were given; send one of them")
    return request


Decoded = tuple[Rows, tuple[int, ...], tuple[int, ...]]  # the rows, their lead, the class axes


def read_logits(request: PredictRequest, model: Signature) -> Decoded:
    """Rows of logits, classes flattened to one axis."""
    if request.inputs is not None or request.logits is None:
        raise InvalidValue(takes_sentence(request, model, "logits", "inputs"), code="missing_logits")
    logits = arrays.read_numbers(request.logits)
    n_axes = arrays.class_axes(request.axis, logits.ndim, members=model.averages)
    classes = logits.shape[-n_axes:]
    lead = logits.shape[: -n_axes - model.averages]
    n, k = math.prod(lead), math.prod(classes)
    if model.averages and logits.shape[-n_axes - 1] != (model.members or logits.shape[-n_axes - 1]):
        raise InvalidValue(
            f"rows have {count(logits.shape[-n_axes - 1], 'member')}, the model averages {model.members}",
            code="wrong_members",
        )
    if k != (known := model.classes or k):
        raise InvalidValue(
            f"rows have {count(k, 'logit')}, the model has {count(known, 'class', 'classes')}",
            code="wrong_classes",
        )
    if request.mask is None:
        mask = read_allowed(request, model, n, k)
    else:
        mask = arrays.fit_mask(arrays.read_booleans(request.mask), (*lead, *classes), n_axes).reshape(n, k)
    temperature = read_temperature(request, n)
    came_as = logits.shape
    if model.averages:
        return Rows.from_members(logits.reshape(n, -1, k), mask, temperature, came_as=came_as), lead, classes
    flat = logits.reshape(n, k)
    rows = Rows.from_logits(flat, mask, temperature, masks_first=model.masks_first, came_as=came_as)
    return rows, lead, classes


def takes_sentence(request: PredictRequest, model: Signature, key: str, other: str) -> str:
    """What is wrong where a model that takes `key` did not get it, or got `other`."""
    names = f" ({', '.join(model.inputs)})" if key == "inputs" else ""
    takes = f"the model {model.name} takes {key}{names}"
    if getattr(request, other) is not None:
        return f"{takes}, and no {other}; expected the key {key} alone"
    if key in request.model_fields_set:
        return f"{key} is null; expected {'a list' if key == 'logits' else wording.EXPECTED['inputs']}"
    return f"{takes}; expected the key {key}"


def read_inputs(request: PredictRequest, model: Signature) -> Decoded:
    """Rows of a classifier's own inputs."""
    if request.logits is not None or request.inputs is None:
        raise InvalidValue(takes_sentence(request, model, "inputs", "logits"), code="missing_inputs")
    if request.inputs.keys() != model.inputs.keys():
        came = ", ".join(repr(name[:MOST_SHOWN]) for name in list(request.inputs)[:MOST_NAMES]) or "none"
        raise InvalidValue(f"inputs has {came}; expected {', '.join(model.inputs)}", code="missing_inputs")
    values, leads = {}, set()
    for name, (dtype, shape) in model.inputs.items():
        values[name], lead = arrays.read_tensor(request.inputs[name], f"inputs.{name}", dtype, shape)
        leads.add(lead)
    if len(leads) != 1:
        raise InvalidValue("the inputs have different numbers of rows; expected the same", code="wrong_shape")
    lead = leads.pop()
    n = lead[0] if lead else 1
    mask = None
    if request.mask is not None or request.allowed is not None:
        if model.classes is None:
            raise InvalidValue("the model's number of classes is open; it takes no mask", code="bad_mask")
        mask = read_allowed(request, model, n, model.classes)
    if request.mask is not None:
        given = arrays.read_booleans(request.mask)
        mask = arrays.fit_mask(given, (n, model.classes or 0), 1)
    empty = () if mask is None else np.flatnonzero(~mask.any(axis=1)).tolist()
    return Rows(values, mask, read_temperature(request, n), empty), lead, ()


def read_allowed(request: PredictRequest, model: Signature, n: int, k: int) -> NDArray[np.bool_] | None:
    """The mask that `allowed` names, if it came."""
    return None if request.allowed is None else arrays.allowed_mask(request.allowed, n, k, model.labels)


def read_temperature(request: PredictRequest, n: int) -> Temperature | None:
    """What stands under `temperature`, if it came."""
    return None if request.temperature is None else arrays.read_temperatures(request.temperature, n)
