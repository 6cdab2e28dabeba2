"""What a head says of rows and their labels, to JSON: losses and gradients in float64, a row each."""

from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codec.evaluate.decode import Evaluation
from service.codec.predict.encode import NUMPY, answer_object, per_row
from service.codec.priors import complete, scored, used_temperature
from service.engine.signature import Signature
from service.families import Answers
from service.measures.targets import measure_targets


def encode_evaluate(query: Evaluation, arrays: Answers, model: Signature) -> tuple[bytes, None]:
    """The JSON answer to `query`, no binary data behind it."""
    answer = answer_object(query, arrays, model)
    x = scored(query, arrays, model)
    for name in query.measures:
        answer[name] = MEASURES[name](query, x, arrays, model)
    if "warnings" in answer:  # last, as everywhere
        answer["warnings"] = answer.pop("warnings")
    return orjson.dumps(answer, option=NUMPY), None


def answer_loss(query: Evaluation, x: NDArray[np.float64], _: Answers, model: Signature) -> Any:
    """Each row's own loss."""
    assert query.smoothed is not None  # noqa: S101 - decoding has seen to it
    return per_row(model.family.losses(x, query.smoothed), query)


def answer_gradient(query: Evaluation, x: NDArray[np.float64], _: Answers, model: Signature) -> Any:
    """(p - y) / T: of each row's own loss, with respect to its logits."""
    assert query.smoothed is not None  # noqa: S101 - decoding has seen to it
    p, _logs = model.family.distribution(x)
    return like_logits(p - query.smoothed, query, model)


def answer_vjp(query: Evaluation, x: NDArray[np.float64], _: Answers, model: Signature) -> Any:
    """The upstream gradient times the Jacobian of what is answered, with respect to the logits."""
    assert query.upstream is not None  # noqa: S101 - decoding has seen to it
    family = model.family
    product = family.log_product if query.of_logs else family.product
    return like_logits(product(x, query.upstream), query, model)


def like_logits(values: NDArray[np.float64], query: Evaluation, model: Signature) -> NDArray[np.float64]:
    """A gradient with respect to x as one with respect to the logits that came, in their shape."""
    values = values / used_temperature(query, model)
    if model.slope is not None:
        values = values * model.slope
    return np.asarray(values).reshape(query.lead + (query.classes or values.shape[1:])) + 0.0


def answer_metrics(query: Evaluation, x: NDArray[np.float64], arrays: Answers, model: Signature) -> dict[str, Any]:
    """What holds of all rows together."""
    assert query.targets is not None  # noqa: S101 - decoding has seen to it
    assert query.smoothed is not None  # noqa: S101 - decoding has seen to it
    family = model.family
    found = family.prediction(complete(query, arrays, model))
    losses = family.losses(x, query.smoothed)
    return measure_targets(family, x, query.targets, found) | {"loss": float(losses.mean()), "n_rows": len(losses)}


MEASURES = {"loss": answer_loss, "gradient": answer_gradient, "vjp": answer_vjp, "metrics": answer_metrics}
