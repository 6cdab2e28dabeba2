"""`calibrant fit --family sigmoid`: labels are a matrix of 0 and 1."""

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from service.calibration.multilabel import HALF, METHODS, MultiProof, prove
from service.calibration.multilabel_report import write_report
from service.calibration.proof import Progress, checksum
from service.commands import data_options, terminal
from service.commands.families import Parameters
from service.commands.outcome import Outcome
from service.datasets import multilabel
from service.datasets.table_arrays import Arrays
from service.errors import UsedWrongly
from service.metadata import Metadata


def fit(
    arguments: Namespace,
    parameters: Parameters,
    named: tuple[str, ...] | None,
    answers: dict[str, Arrays] | None,
    tell: Progress,
) -> Outcome:
    """Calibrate on labels of which any number may be right; `answers` of a classifier go before the data, by part.

    Raises:
        UsedWrongly: another number of thresholds than classes, or options for one label a row.
        DataError: not logits and a matrix of labels.
        FitError: labels that say nothing.
    """
    data_options.refuse(arguments, f"the family {parameters.family.name}")
    if answers is None:
        parts = multilabel.load(
            arguments.data, arguments.labels, from_probabilities=arguments.from_probabilities, named=named
        )
    else:
        parts = {name: multilabel.read_part(part, named, from_probabilities=False) for name, part in answers.items()}
    k = next(iter(parts.values())).n_classes
    if parameters.thresholds is not None and len(parameters.thresholds) != k:
        n = len(parameters.thresholds)
        raise UsedWrongly(f"--parameters: thresholds has {n} numbers; expected one for each of {k} classes")
    thresholds = HALF if parameters.thresholds is None else np.array(parameters.thresholds, np.float32)
    proof = prove(parts, METHODS if arguments.method == "auto" else (arguments.method,), thresholds, tell)
    story = metadata(proof, parameters, arguments)
    intervals = proof.intervals()
    return Outcome(
        proof.calibrator,
        story,
        lambda path: write_report(path, proof, story, intervals),
        lambda path, replaced: terminal.show_labels(path, proof, intervals, replaced=replaced),
    )


def metadata(proof: MultiProof, parameters: Parameters, arguments: Namespace) -> Metadata:
    """The story that the head file tells; the prior is how often each class is right where it is allowed."""
    data = proof.fitted_on
    counted = tuple(map(str, range(data.n_classes)))
    calibrator: dict[str, Any] = proof.calibrator.parameters()
    if arguments.from_probabilities:
        calibrator["logits"] = "log-odds of probabilities"
    prior = data.targets.sum(axis=0) / np.maximum(data.allowed.sum(axis=0), 1)
    return Metadata(
        family=proof.calibrator.family.name,
        classes=data.n_classes,
        labels=None if data.class_names == counted else data.class_names,
        thresholds=parameters.thresholds,
        prior=tuple(prior.tolist()),
        calibrator=calibrator,
        metrics=proof.metrics(),
        n_rows=data.n_rows,
        data_sha256=checksum(arguments.inputs or arguments.data),
        masked_fit=data.mask is not None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
