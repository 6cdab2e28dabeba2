"""What a head file says of requests and answers: its graph and its metadata, read as a signature."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from service.conformal import Conformal
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
MIXING: Final = frozenset({"scale", "matrix", "entropy", "laplace", "top"})  # stages that read a whole row


def read_signature(session: InferenceSession, metadata: Metadata) -> Signature:
    """What graph and metadata say of requests and answers.

    Raises:
        HeadError: they contradict each other, or cannot be served.
    """
    by_group: dict[str, float] = metadata.calibrator.get("group_temperatures", {})
    try:
        family = find_family(metadata.family, metadata.alpha)
    except UsedWrongly as error:
        raise HeadError(f"has metadata that cannot be served: {error}") from error
    check_temperatures({"temperature": metadata.calibrator.get("temperature", 1.0), **by_group})
    thresholds = metadata.thresholds or (0.5,)
    return Signature(
        family=family,
        takes=metadata.takes,
        inputs=request_inputs(session),
        classes=class_count(session, metadata),
        labels=metadata.labels,
        temperature=metadata.temperature,
        method=str(metadata.calibrator.get("method", "none")),
        groups={name: i for i, name in enumerate(by_group, start=1)},
        group_temperatures=(metadata.temperature, *by_group.values()),
        averages=metadata.ensemble is not None,
        thresholds=None if family.chooses_one else np.asarray(thresholds, np.float32),
        prior=None if metadata.prior is None else np.asarray(metadata.prior),
        # the top-label stage stands on the mix: its scores have it in them
        laplace=0.0 if "top" in metadata.calibrator else float(metadata.calibrator.get("laplace", 0.0)),
        slope=np.asarray(slope) if (slope := metadata.calibrator.get("slope")) else None,
        has_gradient=metadata.ensemble is None and not MIXING & metadata.calibrator.keys(),
        masks_first=metadata.masks_first,
        conformal=read_conformal(metadata),
        shows_logits=any(output.name == CLASSIFIER_LOGITS for output in session.get_outputs()),
    )


def check_temperatures(temperatures: Mapping[str, object]) -> None:
    """All must be finite and above 0.

    Raises:
        HeadError: one is not.
    """
    for name, value in temperatures.items():
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            of = "" if name == "temperature" else f" of the group {name}"
            raise HeadError(f"has the temperature {value!r}{of} in its metadata; expected a finite number above 0")


def request_inputs(session: InferenceSession) -> dict[str, Input]:
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
    return inputs


def class_count(session: InferenceSession, metadata: Metadata) -> int | None:
    """K as graph and metadata agree on it; none where it is open."""
    size = next(output.shape[1] for output in session.get_outputs() if output.name == "probabilities")
    classes = size if isinstance(size, int) else metadata.classes
    for what, n in (("classes", metadata.classes), ("labels", metadata.labels and len(metadata.labels))):
        if n is not None and n != classes:
            raise HeadError(f"has {classes} classes in its graph and {n} {what} in its metadata")
    return classes


def read_conformal(metadata: Metadata) -> Conformal | None:
    """The default scores for prediction sets, if the file has any."""
    stored = metadata.conformal
    if not stored:
        return None
    try:
        return Conformal.from_metadata(stored[stored["default"]])
    except (KeyError, TypeError, ValueError) as error:
        raise HeadError(f"has conformal scores that do not read: {type(error).__name__} {error}") from error
