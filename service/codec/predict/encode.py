"""Answers and errors to bytes: numpy straight to JSON, never a Python float in between."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codec.priors import complete
from service.codec.query import Query
from service.codec.sets import find_sets
from service.engine.answers import Share
from service.engine.rows import Arrays, Runnable
from service.engine.signature import Signature
from service.families import Answers, Family
from service.families.outputs import PER_CLASS

NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
MOST_TOGETHER: Final = 64  # classes; wider rows are cheaper written one by one than cut out of those of a batch


def encode_predict(query: Query, arrays: Answers, model: Signature) -> tuple[bytes, None]:
    """The JSON answer to `query`, no binary data behind it: float32 as the shortest decimal, -inf as null."""
    if query.plain and isinstance(arrays, Share) and arrays.batch.of_single_rows:
        return encode_plain(query, arrays, model), None
    return orjson.dumps(answer_object(query, arrays, model), option=NUMPY), None


def answer_object(query: Query, arrays: Answers, model: Signature) -> dict[str, Any]:
    """The answer before it is JSON."""
    answer: dict[str, Any] = {"model": model.name, "version": model.version}
    if query.id is not None:
        answer["id"] = query.id
    answer["method"] = model.method
    answer["temperature"] = answer_temperature(query, model)
    family = model.family
    arrays = complete(query, arrays, model)
    for output in query.outputs:
        if output in PER_CLASS:
            values = arrays[output]
            answer[output] = values.reshape(query.lead + (query.classes or values.shape[1:]))
        elif output == "prediction":
            classes = predicted_classes(query, arrays, family)
            answer[output] = per_row(classes, query)
            if model.labels:
                answer["labels"] = per_row([label_classes(one, model.labels) for one in classes], query)
        else:
            answer[output] = per_row(getattr(family, output)(arrays), query)
    if query.top_k is not None:
        answer["top"] = answer_top(arrays, family, query, query.top_k, model.labels)
    if query.alpha is not None and model.conformal is not None:
        query.sets = find_sets(arrays["log_probabilities"], query, query.alpha, model.conformal)
        answer["prediction_set"] = answer_sets(query.sets, query, model.labels)
    if query.rows.empty or query.rows.looks_like_probabilities or query.groups is not None:
        answer |= {"warnings": found} if (found := find_warnings(query.rows, query.groups)) else {}
    return answer


def encode_plain(query: Query, part: Share, model: Signature) -> bytes:
    """The same for a plain query: what all rows of a batch have in common is written once."""
    given = query.rows.temperature
    if given is None:
        given = model.temperature
    start = write_start(model.name, model.version, model.method)
    temperature = orjson.dumps([given] if query.lists_temperature else given)
    texts = part.batch.once(write_rows)
    if texts:
        row = texts[part.start]
        if query.lead:
            return b'%b%b,"probabilities":[[%b]]}' % (start, temperature, row)
        return b'%b%b,"probabilities":[%b]}' % (start, temperature, row)
    values = part["probabilities"]
    probabilities = orjson.dumps(values if query.lead else values[0], option=NUMPY)
    return b'%b%b,"probabilities":%b}' % (start, temperature, probabilities)


@lru_cache
def write_start(name: str, version: str, method: str) -> bytes:
    """How the answers of a version begin, up to the temperature."""
    return orjson.dumps({"model": name, "version": version, "method": method})[:-1] + b',"temperature":'


def write_rows(arrays: Arrays) -> list[bytes]:
    """The probabilities of each row of a batch, `[N, K]`, as JSON without brackets.

    None of these where they are better written one by one.
    """
    values = arrays["probabilities"]
    return [] if values.shape[1] > MOST_TOGETHER else orjson.dumps(values, option=NUMPY)[2:-2].split(b"],[")


def per_row(values: Any, query: Query) -> Any:
    """One value a row, or the value where one row came without a batch axis."""
    return values if query.lead else values[0]


def answer_temperature(query: Query, model: Signature) -> Any:
    """The temperature that was used: as it came, or the head's."""
    given = query.rows.temperature
    if given is None and query.groups is not None:
        used = [model.group_temperatures[i] for i in query.groups[:, 0]]
        return used[0] if len(set(used)) == 1 else used
    if given is None:
        return model.temperature
    if isinstance(given, np.ndarray):
        return given[:, 0].tolist()
    return [given] if query.lists_temperature else given


def predicted_classes(query: Query, arrays: Answers, family: Family) -> list[Any]:
    """The class of each row, or a list of classes; none where no class is left, or the confidence is too low."""
    found = family.prediction(arrays)
    if found.ndim == 2:
        classes: list[Any] = [np.flatnonzero(row).tolist() for row in found]
    else:
        classes = [None if i < 0 else i for i in found.tolist()]
    if query.abstain_below is None:
        return classes
    sure = is_sure(query.abstain_below, arrays, family)
    return [one if kept else None for one, kept in zip(classes, sure, strict=True)]


def is_sure(least: float, arrays: Answers, family: Family) -> list[bool]:
    """Whether each row's confidence is at least `least`: both as float32, as it is answered."""
    sure: list[bool] = (family.confidence(arrays) >= np.float32(least)).tolist()
    return sure


def label_classes(classes: Any, labels: Sequence[str]) -> Any:
    """The label of a class, or of each class of a list."""
    if classes is None:
        return None
    return [labels[i] for i in classes] if isinstance(classes, list) else labels[classes]


def answer_top(arrays: Answers, family: Family, query: Query, k: int, labels: Sequence[str] | None) -> dict[str, Any]:
    """The best classes of each row with labels and probabilities, best first."""
    best = family.top(arrays, k)
    probabilities = arrays["probabilities"]
    top: dict[str, Any] = {"classes": per_row([row.tolist() for row in best], query)}
    if labels:
        top["labels"] = per_row([[labels[i] for i in row] for row in best], query)
    top["probabilities"] = per_row([p[row] for p, row in zip(probabilities, best, strict=True)], query)
    return top


def answer_sets(sets: NDArray[np.bool_], query: Query, labels: Sequence[str] | None) -> dict[str, Any]:
    """The classes of each row's prediction set, with labels."""
    classes = [np.flatnonzero(row).tolist() for row in sets]
    answer: dict[str, Any] = {"classes": per_row(classes, query)}
    if labels:
        answer["labels"] = per_row([[labels[i] for i in row] for row in classes], query)
    return answer


def find_warnings(rows: Runnable, groups: NDArray[np.int64] | None = None) -> list[dict[str, Any]]:
    """What was odd about rows that were answered all the same."""
    found: list[dict[str, Any]] = []
    if rows.empty:
        message = "no class is left in these rows, all are masked or -inf: probabilities 0, no prediction"
        found.append({"code": "no_class_allowed", "rows": list(rows.empty), "message": message})
    if rows.looks_like_probabilities:
        message = (
            "the logits are in [0, 1] and add up to 1, as probabilities do; softmax was applied to them all the same"
        )
        found.append({"code": "looks_like_probabilities", "rows": list(range(rows.n)), "message": message})
    if groups is not None and not groups.all():
        message = "the head does not know the group of these rows: they got the common temperature"
        found.append({"code": "unknown_group", "rows": np.flatnonzero(groups[:, 0] == 0).tolist(), "message": message})
    return found
