"""`--family` and `--parameters`: what a head computes, and the numbers that it needs for it."""

import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from service.commands.class_names import read_text
from service.errors import UsedWrongly
from service.families import FAMILIES, Family, find_family
from service.heads.members import Members

ENSEMBLE: Final = "ensemble"
PARAMETERS: Final = ("alpha", "scale", "bias", "thresholds", "average", "weights", "prior")
NAMED: Final = {1.0: "softmax", 1.5: "entmax15", 2.0: "sparsemax"}  # what entmax is at these alphas


class Parameters(NamedTuple):
    """What a head of a family is made with.

    Attributes:
        family: what it computes.
        scale, bias: float64 `[K]`, of a sigmoid's classes; a bias may be any family's.
        thresholds: of a sigmoid, `[K]`, each from 0 to 1.
        members: how members are averaged, or none.
        prior: the class frequencies of the fit, `[K]`.
        names_average: the file says what to take the mean of.
    """

    family: Family
    scale: Any = None
    bias: Any = None
    thresholds: tuple[float, ...] | None = None
    members: Members | None = None
    prior: tuple[float, ...] | None = None
    names_average: bool = False

    @property
    def classes(self) -> int | None:
        """K, where a parameter says so."""
        given = (self.scale, self.bias, self.thresholds, self.prior)
        return next((len(values) for values in given if values is not None), None)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the two options."""
    parser.add_argument(
        "--family",
        choices=(*FAMILIES, ENSEMBLE),
        default="softmax",
        help="what the head computes; ensemble is a softmax of averaged members (default: softmax)",
    )
    parser.add_argument(
        "--parameters",
        type=Path,
        metavar="FILE",
        help="a JSON object with any of alpha (entmax), scale, bias and thresholds a class (sigmoid), average and "
        "weights (members), prior (class frequencies)",
    )


def read_parameters(family: str, path: Path | None) -> Parameters:
    """What the two options say together.

    Raises:
        UsedWrongly: parameters that are none, or not of this family.
        CannotStart: the file cannot be read.
    """
    given = {} if path is None else parse_parameters(path)
    averages = family == ENSEMBLE or bool({"average", "weights"} & given.keys())
    name, alpha = ("softmax" if family == ENSEMBLE else family), given.get("alpha")
    if name == "entmax":
        name, alpha = name_entmax(alpha)
    elif alpha is not None:
        raise UsedWrongly(f"--parameters has an alpha, which entmax alone takes; the family is {family}")
    one_class = find_family(name, alpha).chooses_one
    if one_class and (wrong := {"scale", "thresholds"} & given.keys()):
        raise UsedWrongly(f"--parameters has {' and '.join(sorted(wrong))}, of sigmoid alone; the family is {family}")
    vectors = {key: read_vector(given, key) for key in ("scale", "bias", "thresholds", "prior")}
    check_lengths(vectors)
    for key in ("thresholds", "prior"):
        if (values := vectors[key]) is not None and not ((values >= 0) & (values <= 1)).all():
            raise UsedWrongly(f"--parameters: {key} has a number below 0 or above 1; expected none")
    weights = read_vector(given, "weights")
    members = Members(given.get("average", "logits"), None if weights is None else tuple(weights.tolist()))
    return Parameters(
        find_family(name, alpha),
        vectors["scale"],
        vectors["bias"],
        to_tuple(vectors["thresholds"]),
        members if averages else None,
        to_tuple(vectors["prior"]),
        "average" in given,
    )


def check_fit(parameters: Parameters, arguments: Namespace) -> None:
    """Refuse what a fit of this family cannot heed.

    Raises:
        UsedWrongly: parameters that a fit finds itself, or options that are a softmax's.
    """
    if parameters.members is not None and arguments.onto is not None:
        raise UsedWrongly("--onto has one classifier, which has no members; expected --family without an average")
    for key in ("scale", "bias", "prior"):
        if getattr(parameters, key) is not None:
            raise UsedWrongly(
                f"--parameters has {key}, which a fit finds itself; expected alpha, thresholds, average or weights"
            )
    family = parameters.family
    if family.name == "softmax":
        return
    many = not family.chooses_one
    methods = ("auto", "temperature", *(("vector",) if many else ()))
    for option, given, where in (
        ("--group", arguments.group is not None, "of softmax alone"),
        ("--laplace", bool(arguments.laplace), "of softmax alone"),
        (f"--method {arguments.method}", arguments.method not in methods, "of softmax alone"),
        (f"--sets {arguments.sets}", many and arguments.sets != "all", "where one class is right"),
        ("--randomised", many and arguments.randomised, "where one class is right"),
        ("--keep-predictions", many and arguments.keep_predictions, "where one class is right"),
        ("an average of members", many and parameters.members is not None, "where one class is right"),
    ):
        if given:
            raise UsedWrongly(f"{option} is {where}; the family is {family.name}")


def parse_parameters(path: Path) -> dict[str, Any]:
    """The JSON object of a file, of known keys."""
    try:
        given = json.loads(read_text(path, "--parameters"))
    except ValueError as error:
        raise UsedWrongly(f"--parameters: {path} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise UsedWrongly(f"--parameters: {path} is not a JSON object; expected one of {', '.join(PARAMETERS)}")
    unknown = given.keys() - {*PARAMETERS}
    if unknown:
        raise UsedWrongly(f"--parameters has the key {min(unknown)!r}; expected {', '.join(PARAMETERS)}")
    return given


def name_entmax(alpha: Any) -> tuple[str, float | None]:
    """The family that entmax is at `alpha`: three of them have names, and graphs, of their own."""
    if type(alpha) not in (int, float):
        raise UsedWrongly("--family entmax wants an alpha in --parameters, a number from 1 to 2")
    return (NAMED[alpha], None) if alpha in NAMED else ("entmax", float(alpha))


def read_vector(given: Mapping[str, Any], key: str) -> Any:
    """Float64 `[K]`, if it is there."""
    if key not in given:
        return None
    values = given[key]
    good = isinstance(values, list) and values and all(type(v) in (int, float) and math.isfinite(v) for v in values)
    if not good:
        raise UsedWrongly(f"--parameters: {key} is not a list of finite numbers; expected one for each class")
    return np.asarray(values, np.float64)


def check_lengths(vectors: Mapping[str, Any]) -> None:
    """Refuse vectors of different lengths."""
    lengths = {key: len(values) for key, values in vectors.items() if values is not None}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{n} numbers in {key}" for key, n in lengths.items())
        raise UsedWrongly(f"--parameters has {said}; expected one for each class")


def to_tuple(values: Any) -> tuple[float, ...] | None:
    """As metadata have it."""
    return None if values is None else tuple(values.tolist())
