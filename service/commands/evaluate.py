"""Measure a head on logits, or a classifier's inputs, and labels: what it answers by default, run as serving runs it.

The numbers are those that `POST /v1/models/{model}/evaluate` answers of the same rows, and more.

For example:
  calibrant evaluate --model digits --data test.npz
  calibrant evaluate --model new.onnx --baseline digits --data test.npz --require 'nll<=baseline' --require 'ece<0.03'

Exit code 4 where a requirement is not kept. A baseline is measured on the same rows.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from service.commands import data_options, gate, model_files, requirements
from service.errors import CannotStart, DataError, UsedWrongly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.engine.head import Head
    from service.measures.comparison import Measured

Value = TypeVar("Value")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of `calibrant evaluate`."""
    model_files.add_arguments(parser)
    gate.add_arguments(parser)
    parser.add_argument("--alpha", type=float, default=0.1, help="of the prediction sets' coverage (default: 0.1)")
    parser.add_argument(
        "--data", type=Path, required=True, help="logits or inputs, and labels: .npz, .npy, .csv or .parquet"
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels, where --data is a .npy of logits")
    data_options.add_arguments(parser)
    parser.add_argument("--group", metavar="NAME", help="array or column of groups, for a head that has them")
    parser.add_argument("--from-probabilities", action="store_true", help="the data are probabilities: take logarithms")
    parser.add_argument("--json", action="store_true", help="print every number as JSON")


def run(arguments: Namespace) -> int:
    """Run the head over the test rows, or over all, print its metrics, and hold them against what is required.

    Raises:
        UsedWrongly: a requirement that is none.
        DataError: data that cannot be read, or that the head does not take.
        CannotStart: a package is not installed, or the file is not a head.
        RequirementFailed: a metric is not within its bound.
    """
    if find_spec("scipy") is None:
        raise CannotStart("the package scipy is not installed: pip install 'calibrant[calibration]'")
    wanted = [requirements.Requirement.parse(text) for text in arguments.require]
    if not 0 < arguments.alpha < 1:
        raise UsedWrongly(f"--alpha is {arguments.alpha:g}; expected a number between 0 and 1")
    found = evaluate(arguments.model, arguments)
    baseline = None if arguments.baseline is None else evaluate(arguments.baseline, arguments)
    if baseline is not None:
        gate.check_same_rows(found, baseline)
    verdicts = requirements.judge(wanted, found.metrics, None if baseline is None else baseline.metrics)
    if arguments.json or arguments.report is not None:
        told = found.to_json() | ({} if baseline is None else gate.compare(found, baseline))
        told |= {"requirements": gate.to_json(verdicts)} if verdicts else {}
        if arguments.report is not None:
            gate.write_report(arguments, told, found, baseline)
    if arguments.json:
        print(json.dumps(told, indent=2))  # noqa: T201 - what was asked for
    else:
        found.show(arguments.model)
        if baseline is not None:
            gate.show(found, baseline, arguments.baseline)
    requirements.check(verdicts)
    return 0


def evaluate(model: str, arguments: Namespace) -> "Evaluation":
    """Measure one head."""
    from service.engine.head import Head

    head = Head(model_files.find_file(model, arguments.models))
    return evaluate_labels(head, arguments) if head.signature.family.chooses_one else evaluate_matrix(head, arguments)


def evaluate_labels(head: "Head", arguments: Namespace) -> "Evaluation":
    """Measure on labels that name one class a row."""
    from service.calibration.predictor import answers
    from service.commands import terminal
    from service.datasets import files
    from service.measures.comparison import Measured
    from service.measures.coverage import observe_sets
    from service.measures.metrics import intervals, measure
    from service.measures.scores import collect

    signature = head.signature
    named = None if signature.labels is None else tuple(signature.labels)
    scored = signature.takes == "inputs"
    if scored:
        part, arrays, _ = score_inputs(head, arguments, ("scores",))
        data = files.dataset(arrays, arguments.group, named, from_probabilities=False)
    else:
        parts = data_options.load(arguments, named)
        part, data = list(parts.items())[-1]
    if signature.averages != (data.n_members is not None):
        members = "members" if signature.averages else "no members"
        raise DataError(f"the logits are {list(data.logits.shape)}, the head averages {members}; expected the same")
    check_classes(head, data.n_classes)
    answer = answers(head, data.group_names, scored=scored)
    sets = observe_sets(signature, data, answer, arguments.alpha)
    found = collect(data, sets or answer)
    return Evaluation(
        part,
        data.n_rows,
        int(np.isinf(found.nll).sum()),
        measure(found) | ({} if sets is None else sets.metrics(found.weights)),
        lambda: intervals(found),
        lambda: terminal.reliability(found),
        data.labels,
        Measured(found, None if sets is None else sets.covered),
    )


def evaluate_matrix(head: "Head", arguments: Namespace) -> "Evaluation":
    """Measure on labels of which any number may be right."""
    from service.calibration.predictor import label_scores
    from service.commands import terminal
    from service.datasets import multilabel
    from service.measures.multilabel import intervals, measure

    named = None if head.signature.labels is None else tuple(head.signature.labels)
    data_options.refuse(arguments, f"the family {head.signature.family.name}")
    if arguments.group is not None:
        raise UsedWrongly(f"--group is of softmax alone; the family is {head.signature.family.name}")
    if head.signature.averages:
        raise DataError("the head averages members; expected one that takes [rows, classes]")
    outputs = None
    if head.signature.takes == "inputs":
        part, arrays, outputs = score_inputs(head, arguments, ("scores", "prediction"))
        data = multilabel.read_part(arrays, named, from_probabilities=False)
    else:
        parts = multilabel.load(
            arguments.data, arguments.labels, from_probabilities=arguments.from_probabilities, named=named
        )
        part, data = list(parts.items())[-1]
    check_classes(head, data.n_classes)
    found = label_scores(head, data, outputs)
    return Evaluation(
        part,
        data.n_rows,
        0,
        with_loss(measure(found)),
        lambda: with_loss(intervals(found)),
        lambda: terminal.label_reliability(found.points()),
        data.targets,
    )


def score_inputs(
    head: "Head", arguments: Namespace, outputs: tuple[str, ...]
) -> "tuple[str, dict[str, Any], dict[str, Any]]":
    """The last part of the data, inputs of the classifier that the head stands behind, and what the head makes of it.

    Returns:
        The part's name, its arrays with the head's scores as `logits`, and the outputs of the graph.
    """
    from service.calibration.predictor import run_inputs
    from service.commands import terminal
    from service.datasets import inputs

    data_options.refuse(arguments, "a classifier's inputs")
    if arguments.from_probabilities or arguments.labels is not None:
        raise UsedWrongly("this head stands behind a classifier; expected its inputs with labels in one file, --data")
    own = head.signature.inputs
    part, rows = list(inputs.load(arguments.data, own, arguments.group).items())[-1]
    with terminal.progress(inputs.n_batches({name: rows[name] for name in own})) as tell:
        found = run_inputs(head, rows, arguments.group, outputs, tell)
    beside = {name: values for name, values in rows.items() if name not in own}
    return part, {**beside, "logits": found["scores"]}, found


def with_loss(metrics: Mapping[str, Value]) -> dict[str, Value]:
    """With the family's own loss, which is a sigmoid's likelihood."""
    return {"loss": metrics["nll"], **metrics}


def check_classes(head: "Head", k: int) -> None:
    """Refuse rows of another width than the head's."""
    if head.signature.classes not in (None, k):
        raise DataError(f"the data have {k} classes, the head has {head.signature.classes}")


@dataclass(frozen=True)
class Evaluation:
    """What a head did on some rows.

    Attributes:
        part: of the data, that was measured: the last one.
        n_rows: how many.
        n_impossible: of them, those whose class got exactly 0.
        metrics: by name.
        intervals: finds the 95 % interval of each.
        reliability: draws a diagram in one line.
        labels: of the rows, `[n]` or, as a matrix, `[n,K]`.
        measured: the rows for a comparison, where one class is chosen.
    """

    part: str
    n_rows: int
    n_impossible: int
    metrics: dict[str, float]
    intervals: Callable[[], dict[str, tuple[float, float]]]
    reliability: Callable[[], str]
    labels: "NDArray[Any]"
    measured: "Measured | None" = None

    def to_json(self) -> dict[str, Any]:
        """Every number."""
        limits = self.intervals()
        told = {
            name: {"value": value} | ({"interval": limits[name]} if name in limits else {})
            for name, value in self.metrics.items()
        }
        return {"part": self.part, "rows": self.n_rows, "n_impossible": self.n_impossible, "metrics": told}

    def show(self, model: str) -> None:
        """Print a table."""
        from service.commands import terminal

        title = f"{model} on {terminal.count(self.n_rows, 'row')} ({self.part})"
        terminal.show_metrics(title, self.metrics, self.n_impossible, self.reliability())
        if self.n_impossible:
            rows = f"the class of {terminal.count(self.n_impossible, 'row')} has the probability 0"
            terminal.warn(f"{rows}: the negative log-likelihood is infinite")
