"""Fit a calibrator to logits and labels, prove it on held-out rows, and put the head into the models folder.

For example:
  calibrant fit --data validation.npz --name digits
  calibrant fit --data rows.csv --name shop --group tenant
  calibrant fit --data logits.npy --labels labels.npy --method temperature --to head.onnx
  calibrant fit --data tags.npz --name tags --family sigmoid

The data: np.savez("rows.npz", logits=..., labels=...), logits [n,K] and labels [n] as indices or names, with `mask`
[n,K], `weights` [n], `groups` [n] and `classes` [K] where there are any; `val_` and `test_` before the names keep rows
apart. A CSV or Parquet file has a column for each class, named as the class, and a column `label`.
For a sigmoid labels are [n,K], 1 where a class is right and else 0; a CSV or Parquet file has two columns for each
class, `logit_` and `label_` before its name.
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.commands import classifiers, data_options, families
from service.commands.existing import REPORTS, existing_files, has_own_report, refuse_another_report
from service.errors import CannotStart, DataError, UsedWrongly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from service.calibration.ensemble import Comparison
    from service.calibration.proof import Progress, Proof, Wanted
    from service.commands.outcome import Outcome
    from service.datasets.dataset import Dataset
    from service.families import Family
    from service.heads.choice import Chosen
    from service.heads.trial import Arrays
    from service.metadata import Metadata


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of `calibrant fit`."""
    parser.add_argument("--data", type=Path, help="logits and labels: .npz, .npy, .csv or .parquet")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels, where --data is a .npy of logits")
    data_options.add_arguments(parser)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--name", help="model name: writes the next version, MODELS/NAME/<n>/model.onnx")
    where.add_argument("--to", type=Path, metavar="FILE", help="write this file instead, in place of one there")
    parser.add_argument("--models", type=Path, default=Path("models"), help="models folder (default: models)")
    add_fit_arguments(parser)
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="class names in the order of the logits, one a line; labels may be of them (default: the data's)",
    )
    parser.add_argument(
        "--sets",
        choices=("all", "class", "group"),
        default="all",
        help="what the coverage of sets is for (default: all)",
    )
    parser.add_argument("--randomised", action="store_true", help="prediction sets draw lots: exact coverage")
    parser.add_argument("--from-probabilities", action="store_true", help="the data are probabilities: take logarithms")
    classifiers.add_arguments(parser)
    parser.add_argument("--no-report", dest="report", action="store_false", help="write no report beside the head")


def add_fit_arguments(parser: ArgumentParser) -> None:
    """Declare what is fitted, and how."""
    from service.calibration.methods import METHODS

    parser.add_argument("--method", choices=("auto", *METHODS), default="auto", help="the calibrator (default: auto)")
    parser.add_argument(
        "--keep-predictions", action="store_true", help="try only what leaves the predicted class of every row"
    )
    families.add_arguments(parser)
    parser.add_argument(
        "--criterion",
        choices=("brier", "loss"),
        default="brier",
        help="what the temperature of a sparse family is fitted by: its Brier score or its own loss (default: brier)",
    )
    parser.add_argument(
        "--laplace",
        action=BooleanOptionalAction,
        help="mix in the uniform distribution, with weight 1/(n+1) (default: auto decides, else no)",
    )
    parser.add_argument("--group", metavar="NAME", help="array or column of groups: each gets its own temperature")


def run(arguments: Namespace) -> int:
    """Fit, prove, write the head and its report, print a table.

    Raises:
        UsedWrongly: options or data that cannot be meant.
        CannotStart: a package is not installed, or a file cannot be read or written.
        FitError: labels that say nothing.
    """
    if missing := [name for name in ("onnx", "scipy", "threadpoolctl") if find_spec(name) is None]:
        raise CannotStart(f"the package {missing[0]} is not installed: pip install 'calibrant[calibration]'")
    parameters = read_parameters(arguments)
    before = [] if arguments.to is None else existing_files(arguments.to)
    if arguments.report and before:
        refuse_another_report(arguments.to, before)
    from service.commands import multilabel, terminal
    from service.commands.class_names import read_classes

    _, named = read_classes(None if arguments.classes is None else str(arguments.classes))
    fit_labels = fit if parameters.family.chooses_one else multilabel.fit
    rows = classifiers.load_inputs(arguments)
    chosen = None
    if arguments.onto is not None:
        chosen = classifiers.choose_logits(arguments, parameters.family, next(iter(rows.values()), None))
    with terminal.progress(steps(arguments) + classifiers.n_batches(rows, chosen)) as tell:
        tell("reading")
        answers = None if chosen is None or not rows else classifiers.run_parts(arguments, chosen, rows, tell)
        outcome = fit_labels(arguments, parameters, named, answers, tell)
        tell("writing")
        path = write(outcome, arguments, chosen)
        if arguments.report:
            tell("the report")
            outcome.write_report(path)
    outcome.show(path, path in before)
    if not arguments.report and has_own_report(path):
        terminal.warn(f"{path.parent / REPORTS[0]} is of the head that {path.name} was before")
    return 0


def read_parameters(arguments: Namespace) -> families.Parameters:
    """What the head is to be made with.

    Raises:
        UsedWrongly: options that cannot be meant together.
        CannotStart: a file that cannot be read.
    """
    classifiers.check_arguments(arguments)
    if arguments.data is None and arguments.inputs is None:
        raise UsedWrongly("there are no data; expected --data FILE, or --onto FILE with --inputs FILE")
    if arguments.sets == "group" and arguments.group is None:
        raise UsedWrongly("--sets group wants groups: name them with --group")
    parameters = families.read_parameters(arguments.family, arguments.parameters)
    families.check_fit(parameters, arguments)
    from service.calibration.methods import KEEPING

    if arguments.keep_predictions and arguments.method not in ("auto", *KEEPING):
        raise UsedWrongly(f"--method {arguments.method} may change predictions; expected {', '.join(KEEPING)}, or auto")
    return parameters


def fit(
    arguments: Namespace,
    parameters: families.Parameters,
    named: "tuple[str, ...] | None",
    answers: "dict[str, Arrays] | None",
    tell: "Progress",
) -> "Outcome":
    """Calibrate on labels that name one class a row; `answers` of a classifier go before the data, by part."""
    from service.calibration.proof import prove
    from service.calibration.report import write_report
    from service.commands import terminal
    from service.commands.outcome import Outcome
    from service.datasets import files

    if answers is None:
        parts = data_options.load(arguments, named)
    else:
        parts = {
            name: files.dataset(part, arguments.group, named, from_probabilities=False)
            for name, part in answers.items()
        }
    compared = None
    if next(iter(parts.values())).n_members is not None or parameters.members is not None:
        tell("the members")
        parts, compared = average_members(parts, parameters, arguments)
    proof = prove(parts, read_options(arguments, parameters.family), tell)
    calibrator = proof.calibrator
    if compared is not None:
        calibrator = replace(calibrator, members=compared.members)
    story = metadata(proof, arguments)
    intervals = proof.intervals()

    def show(path: Path, replaced: bool) -> None:
        if compared is not None:
            terminal.show_members(compared)
        terminal.show(path, proof, intervals, replaced=replaced)

    return Outcome(calibrator, story, lambda path: write_report(path, proof, story, intervals), show)


def average_members(
    parts: "dict[str, Dataset]", parameters: families.Parameters, arguments: Namespace
) -> "tuple[dict[str, Dataset], Comparison]":
    """The parts with their members averaged, in the better of two ways unless one was asked for.

    Raises:
        DataError: the logits have no members, or members that nobody asked to average.
        UsedWrongly: another number of weights than members.
    """
    from service.calibration import ensemble
    from service.calibration.methods import Plan

    data = next(iter(parts.values()))
    if data.n_members is None:
        raise DataError("the logits are [rows, classes]; expected [rows, members, classes] for an average of members")
    if parameters.members is None:
        raise DataError(f"the logits have {data.n_members} members; expected --family ensemble, which averages them")
    plan = Plan("temperature", family=parameters.family, criterion=arguments.criterion)
    wanted = parameters.members.average if parameters.names_average else None
    found = ensemble.compare(data, plan, parameters.members.weights, wanted)
    return {name: ensemble.average(part, found.members) for name, part in parts.items()}, found


def steps(arguments: Namespace) -> int:
    """How often the progress bar moves."""
    from service.calibration.select import AUTO

    auto = arguments.method == "auto" and arguments.family == "softmax"
    return 9 + len(AUTO) if auto else 8


def read_options(arguments: Namespace, family: "Family") -> "Wanted":
    """The options, as the fit wants them."""
    from service.calibration.methods import FORMS, KEEPING
    from service.calibration.proof import Wanted
    from service.calibration.select import AUTO

    auto = arguments.method == "auto"
    tried = KEEPING if arguments.keep_predictions else AUTO
    return Wanted(
        methods=tried if auto else (arguments.method,),
        laplace=arguments.laplace if auto or arguments.laplace is not None else False,
        grouped=arguments.group is not None,
        by=arguments.sets,
        randomised=arguments.randomised,
        family=family,
        criterion=arguments.criterion,
        forms=FORMS if arguments.onto is None else ("centred",),  # which folds into the classifier's last layer
    )


def metadata(proof: "Proof", arguments: Namespace) -> "Metadata":
    """The story that the head file tells; names that only count from 0 are none."""
    from service.calibration.proof import checksum
    from service.metadata import Metadata

    data = proof.fitted_on
    counted = tuple(map(str, range(data.n_classes)))
    calibrator: dict[str, Any] = proof.calibrator.parameters(data.group_names)
    if proof.error is not None:
        calibrator["temperature_error"] = proof.error
    if arguments.from_probabilities:
        calibrator["logits"] = "logarithms of probabilities"
    return Metadata(
        classes=data.n_classes,
        labels=None if data.class_names == counted else data.class_names,
        prior=tuple(class_frequencies(data).tolist()),
        calibrator=calibrator,
        metrics=proof.metrics(),
        n_rows=data.n_rows,
        data_sha256=checksum(arguments.inputs or arguments.data),
        masked_fit=data.mask is not None,
        conformal={"default": "lac", **{name: one.to_metadata() for name, one in proof.conformal.items()}},
        reference_curve=None if proof.curve is None else proof.curve.to_metadata(),
        class_reference=proof.classes,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def class_frequencies(data: "Dataset") -> "NDArray[np.float64]":
    """The share of each class among the labels, weighted, float64 `[K]`."""
    counts = np.bincount(data.labels, data.weights, data.n_classes)
    return np.asarray(counts / counts.sum())


def write(outcome: "Outcome", arguments: Namespace, chosen: "Chosen | None") -> Path:
    """Build, check and write the head; return where it is."""
    from service.heads.attach import attach_chosen
    from service.heads.build import build
    from service.heads.publish import publish
    from service.heads.publish import write as write_file

    if chosen is None:
        model = build(outcome.calibrator, outcome.story.classes, outcome.story)
    else:
        model = attach_chosen(chosen, outcome.calibrator, outcome.story)
    if arguments.to is not None:
        return write_file(model, arguments.to)
    return publish(model, arguments.models, arguments.name)
