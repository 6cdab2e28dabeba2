"""Measure a head on logits and labels: what it answers by default, run as serving runs it.

For example:
  calibrant evaluate --model models/digits/1/model.onnx --data test.npz
"""

import json
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from service.errors import CannotStart, DataError


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of `calibrant evaluate`."""
    parser.add_argument("--model", type=Path, required=True, metavar="FILE", help="a head file")
    parser.add_argument("--data", type=Path, required=True, help="logits and labels: .npz, .npy, .csv or .parquet")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels, where --data is a .npy of logits")
    parser.add_argument("--group", metavar="NAME", help="array or column of groups, for a head that has them")
    parser.add_argument("--from-probabilities", action="store_true", help="the data are probabilities: take logarithms")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")


def run(arguments: Namespace) -> int:
    """Run the head over the test rows, or over all, and print its metrics.

    Raises:
        DataError: data that cannot be read, or that the head does not take.
        CannotStart: a package is not installed, or the file is not a head.
    """
    if find_spec("scipy") is None:
        raise CannotStart("the package scipy is not installed: pip install 'calibrant[calibration]'")
    from service.calibration.predictor import predict
    from service.commands import terminal
    from service.datasets import files
    from service.engine.head import Head
    from service.measures.metrics import intervals, measure
    from service.measures.scores import score

    head = Head(arguments.model)
    signature = head.signature
    if signature.takes != "logits":
        raise DataError("this head stands behind a classifier; expected one that takes logits")
    parts = files.load(
        arguments.data,
        arguments.labels,
        from_probabilities=arguments.from_probabilities,
        group=arguments.group,
        named=None if signature.labels is None else tuple(signature.labels),
    )
    part, data = list(parts.items())[-1]
    if signature.averages != (data.n_members is not None):
        members = "members" if signature.averages else "no members"
        raise DataError(f"the logits are {list(data.logits.shape)}, the head averages {members}; expected the same")
    if signature.classes not in (None, data.n_classes):
        raise DataError(f"the data have {data.n_classes} classes, the head has {signature.classes}")
    found = score(data, predict(head, data.group_names))
    if arguments.json:
        limits = intervals(found)
        told = {name: {"value": value, "interval": limits[name]} for name, value in measure(found).items()}
        print(json.dumps({"part": part, "rows": data.n_rows, "metrics": told}, indent=2))  # noqa: T201 - what was asked for
        return 0
    terminal.show_metrics(f"{arguments.model} on {terminal.count(data.n_rows, 'row')} ({part})", found)
    if np.isinf(found.nll).any():
        terminal.warn("some labels have the probability 0: the negative log-likelihood is infinite")
    return 0
