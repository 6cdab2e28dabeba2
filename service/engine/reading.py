"""What a head file says of requests and answers: its graph and its metadata, read as a signature."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from service.conformal import Conformal
from service.engine.numbers import (
    FINITE,
    SHARE,
    WEIGHT,
    check_conformal,
    check_names,
    check_number,
    check_temperatures,
    check_vector,
)
from service.engine.rows import Input
from service.engine.session import InferenceSession
from service.engine.signature import Signature
from service.errors import HeadError, UsedWrongly
from service.families import find_family
from service.families.outputs import CLASSIFIER_LOGITS
from service.metadata import Metadata

DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
NEEDED: Final = frozenset({"probabilities", "log_probabilities", "scores", "logsumexp"})
HALF: Final = np.array([0.5])  # the threshold of every class where the file has none
MIXING: Final = frozenset({"scale", "matrix", "entropy", "laplace", "top"})  # stages that read a whole row


def read_signature(session: InferenceSession, metadata: Metadata) -> Signature:
    """What graph and metadata say of requests and answers.

    Raises:
        HeadError: they contradict each other, or cannot be served.
    """
    calibrator = metadata.calibrator
    by_group = check_temperatures(calibrator)
    laplace = check_number(calibrator.get("laplace", 0.0), "weight of the Laplace mix", WEIGHT)
    method = str(calibrator.get("method", "none"))
    check_names([method], "method")
    check_names(metadata.labels or (), "label")
    try:
        family = find_family(metadata.family, metadata.alpha)
    except UsedWrongly as error:
        raise HeadError(f"has metadata that cannot be served: {error}") from error
    inputs, classes = request_inputs(session, metadata), class_count(session, metadata)
    stored = metadata.thresholds
    thresholds = HALF if stored is None else check_vector(stored, "thresholds", classes, SHARE)
    return Signature(
        family=family,
        takes=metadata.takes,
        inputs=inputs,
        classes=classes,
        labels=metadata.labels,
        temperature=metadata.temperature,
        method=method,
        groups={name: i for i, name in enumerate(by_group, start=1)},
        group_temperatures=(metadata.temperature, *by_group.values()),
        averages=metadata.ensemble is not None,
        thresholds=None if family.chooses_one else thresholds.astype(np.float32),
        prior=None if metadata.prior is None else check_vector(metadata.prior, "prior", classes, SHARE),
        # the top-label stage stands on the mix: its scores have it in them
        laplace=0.0 if "top" in calibrator else laplace,
        slope=None if (slope := calibrator.get("slope")) is None else check_vector(slope, "slope", classes, FINITE),
        has_gradient=metadata.ensemble is None and not MIXING & calibrator.keys(),
        masks_first=metadata.masks_first,
        conformal=read_conformal(metadata, classes, len(by_group)),
        shows_logits=any(output.name == CLASSIFIER_LOGITS for output in session.get_outputs()),
    )


def request_inputs(session: InferenceSession, metadata: Metadata) -> dict[str, Input]:
    """What a request must bring: name to (dtype, shape without the batch dimension).

    Raises:
        HeadError: an input that JSON cannot bring, or outputs missing.
    """
    missing = NEEDED - {output.name for output in session.get_outputs()}
    if missing:
        raise HeadError(f"has no output {', '.join(sorted(missing))}: make it with `calibrant export`")
    inputs = {}
    for given in session.get_inputs():
        if given.type not in DTYPES:
            raise HeadError(f"has the input {given.name} of type {given.type}; {', '.join(DTYPES)} can be served")
        shape = tuple(size if isinstance(size, int) else None for size in given.shape[1:])
        inputs[given.name] = (DTYPES[given.type], shape)
    if metadata.ensemble is not None and len(inputs.get("logits", (None, ()))[1]) != 2:
        raise HeadError("has the metadata of an ensemble; expected the input logits of [rows, members, classes]")
    return inputs


def class_count(session: InferenceSession, metadata: Metadata) -> int | None:
    """K as graph and metadata agree on it; none where it is open."""
    size = next(output.shape[1] for output in session.get_outputs() if output.name == "probabilities")
    classes = size if isinstance(size, int) else metadata.classes
    for what, n in (("classes", metadata.classes), ("labels", metadata.labels and len(metadata.labels))):
        if n is not None and n != classes:
            raise HeadError(f"has {classes} classes in its graph and {n} {what} in its metadata")
    return classes


def read_conformal(metadata: Metadata, classes: int | None, n_groups: int) -> Conformal | None:
    """The default scores for prediction sets, if the file has any."""
    stored = metadata.conformal
    if not stored:
        return None
    try:
        found = Conformal.from_metadata(stored[stored["default"]])
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise HeadError(f"has conformal scores that do not read: {type(error).__name__} {error}") from error
    return check_conformal(found, classes, n_groups)
