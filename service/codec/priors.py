"""A change of the class frequencies: how a request says it, and what it does to what the graph answered."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.codec import arrays
from service.codec.query import Query
from service.engine.rows import Temperature
from service.engine.signature import Signature
from service.errors import InvalidValue, count
from service.families import Answers

KEYS = ("new", "old", "strength")


def parse_prior(value: Any) -> dict[str, Any] | None:
    """A prior that came as a parameter: an object, or one in a string, as parameters over gRPC are.

    Raises:
        InvalidValue: it is neither.
    """
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None if value == "null" else value
    if value is not None and not isinstance(value, dict):
        raise bad_prior(f"the parameter prior is {arrays.json_type(value)}; expected an object, or one in a string")
    return value


def read_prior(given: Mapping[str, Any], k: int | None, model: Signature) -> NDArray[np.float64]:
    """What to add to each class's log-probability, or to a sigmoid's log-odds, float64 `[K]`.

    log new - log old, times the strength: Elkan 2001, Saerens, Latinne and Decaestecker 2002; with `new` uniform it is
    the logit adjustment of Menon et al. 2021.

    Raises:
        InvalidValue: another key, length or sign, or an old frequency of 0 where the new one is not.
    """
    if unknown := [key for key in given if key not in KEYS]:
        raise bad_prior(f"prior has the key {unknown[0][:40]!r}; expected {', '.join(KEYS)}")
    strength = given.get("strength", 1)
    if type(strength) not in (int, float) or not 0 <= strength < math.inf:
        raise bad_prior("prior.strength is not a finite number of 0 or more; expected one")
    if k is None:
        raise bad_prior("the model's number of classes is open; it takes no prior")
    old = model.prior if "old" not in given else read_frequencies(given["old"], "prior.old", k, model)
    if old is None:
        raise bad_prior(f"the model {model.name} does not know the class frequencies of its fit; expected prior.old")
    if len(old) != k:
        raise bad_prior(f"the model knows the frequencies of {len(old)} classes, rows have {k}; expected prior.old")
    uniform = np.full(k, 1 / k if model.family.chooses_one else 0.5)
    new = uniform if "new" not in given else read_frequencies(given["new"], "prior.new", k, model)
    if not new.any():
        raise bad_prior("prior.new is 0 throughout; expected a class that may occur")
    if lost := np.flatnonzero((old == 0) & (new > 0)).tolist():
        raise bad_prior(f"prior.old[{lost[0]}] is 0, prior.new[{lost[0]}] is not; expected an old frequency above 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(new > 0, np.log(new) - np.log(old), -np.inf)
        if not model.family.chooses_one:
            shift = shift - np.log1p(-new) + np.log1p(-old)
        shift = strength * shift
    # what neither knows: 0 times infinity, or infinity less infinity
    return np.asarray(np.where(np.isnan(shift), 0.0, shift))


def read_frequencies(value: Any, name: str, k: int, model: Signature) -> NDArray[np.float64]:
    """A frequency for each class, float64 `[K]`."""
    values = arrays.read_numbers(value, name).reshape(-1)
    most = math.inf if model.family.chooses_one else 1.0
    good = (values >= 0) & (values <= most) & (values < math.inf)
    if not good.all():
        i = int((~good).argmax())
        raise bad_prior(f"{name}[{i}] is {values[i]:g}; expected a number of 0 or more{', 1 at most' * (most == 1)}")
    if len(values) != k:
        raise bad_prior(
            f"{name} has {count(len(values), 'value')}; expected one for each of {count(k, 'class', 'classes')}"
        )
    return values


def bad_prior(message: str) -> InvalidValue:
    return InvalidValue(message, code="bad_prior")


def complete(query: Query, arrays: Answers, model: Signature) -> Answers:
    """What the graph answered, under the prior that was asked for, and with the thresholds of a sigmoid."""
    if query.prior is None and model.thresholds is None:
        return arrays
    found: dict[str, NDArray[Any]] = dict(arrays)
    if query.prior is not None:
        found |= model.family.with_prior(scored(query, arrays, model), query.prior)
    if model.thresholds is not None:
        found["thresholds"] = model.thresholds
    return found


def scored(query: Query, arrays: Answers, model: Signature) -> NDArray[np.float64]:
    """The scores over the temperature, float64 `[N, K]`; log-probabilities where the uniform one is mixed in."""
    return model.mix(np.asarray(arrays["scores"] / used_temperature(query, model)))


def used_temperature(query: Query, model: Signature) -> Temperature:
    """The temperature that the rows were scored at: T > 0, or float64 `[N, 1]`."""
    given = query.rows.temperature
    if given is not None:
        return given
    if query.groups is not None:
        return np.asarray(model.group_temperatures)[query.groups]
    return model.temperature
