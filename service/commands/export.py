"""Write a head file: masked softmax or another family with a temperature, alone or behind a classifier.

For example:
  calibrant export --name softmax                                   any number of classes
  calibrant export --name digits --classes labels.txt --temperature 1.7
  calibrant export --name tags --family sigmoid --classes tags.txt
  calibrant export --name mine --onto classifier.onnx --output logits --classes labels.txt
"""

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.commands import classifiers, families
from service.commands.class_names import read_classes, read_text
from service.errors import CannotStart, UsedWrongly
from service.metadata import Metadata

if TYPE_CHECKING:
    from service.heads.stages import Stages


WARNING: Final = (
    "warning: {family} at temperature 1 calls 3 to 25 % of the true classes impossible on logits trained with a "
    "softmax; expected --temperature, or calibrant fit --family {family}"
)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of `calibrant export`."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--name", help="model name: writes the next version, MODELS/NAME/<n>/model.onnx")
    where.add_argument("--to", type=Path, metavar="FILE", help="write this file instead")
    parser.add_argument("--models", type=Path, default=Path("models"), help="models folder (default: models)")
    parser.add_argument(
        "--classes", help="how many, or a text file with one label a line (default: any number of classes)"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="T > 0, divides the logits (default: 1)")
    parser.add_argument(
        "--bias",
        type=Path,
        metavar="FILE",
        help="K numbers added to the logits, .npy or text (default: none)",
    )
    families.add_arguments(parser)
    classifiers.add_arguments(parser)
    parser.add_argument(
        "--from-probabilities",
        action="store_true",
        help="the classifier has no logits, only probabilities: put their logarithm into the graph",
    )


def run(arguments: Namespace) -> int:
    """Build, check and write what the options say; print one line.

    Raises:
        UsedWrongly: options that cannot be meant together, or a file that does not hold what it should.
        CannotStart: onnx is not installed, or a file cannot be read or written.
    """
    if find_spec("onnx") is None:
        raise CannotStart("the package onnx is not installed: pip install 'calibrant[calibration]'")
    classifiers.check_arguments(arguments)
    if arguments.from_probabilities and arguments.onto is None:
        raise UsedWrongly("--from-probabilities is about a classifier; expected --onto FILE beside it")
    # onnx comes with these
    from service.heads.attach import attach_chosen
    from service.heads.build import build
    from service.heads.publish import publish, write
    from service.heads.stages import Stages

    classes, labels = read_classes(arguments.classes)
    parameters = families.read_parameters(arguments.family, arguments.parameters)
    if arguments.bias is not None and parameters.bias is not None:
        raise UsedWrongly("both --bias and a bias in --parameters were given; expected one of them")
    if arguments.onto is not None and parameters.members is not None:
        raise UsedWrongly("--onto has one classifier, which has no members; expected --family without an average")
    stages = Stages(
        arguments.temperature,
        parameters.bias if arguments.bias is None else read_bias(arguments.bias),
        slope=parameters.scale,
        members=parameters.members,
        family=parameters.family,
    )
    metadata = make_metadata(stages, classes or stages.classes or parameters.classes, labels, parameters)
    if arguments.onto is None:
        model = build(stages, metadata.classes, metadata)
    else:
        rows = next(iter(classifiers.load_inputs(arguments).values()), None)
        model = attach_chosen(classifiers.choose_logits(arguments, parameters.family, rows), stages, metadata)
    if parameters.family.name not in ("softmax", "sigmoid") and arguments.temperature == 1:
        print(WARNING.format(family=parameters.family.name), file=sys.stderr)  # noqa: T201 - the terminal is where this belongs
    path = publish(model, arguments.models, arguments.name) if arguments.to is None else write(model, arguments.to)
    print(summary(path, Metadata.from_props({prop.key: prop.value for prop in model.metadata_props})))  # noqa: T201 - the terminal is where this belongs
    return 0


def make_metadata(
    stages: "Stages", classes: int | None, labels: tuple[str, ...] | None, parameters: "families.Parameters"
) -> Metadata:
    """What the file will say of itself."""
    for key in ("thresholds", "prior"):
        values = getattr(parameters, key)
        if values is not None and len(values) != classes:
            raise UsedWrongly(
                f"--parameters: {key} has {len(values)} numbers; expected one for each of {classes} classes"
            )
    method = "bias" if stages.changes_logits else "none" if stages.temperature == 1 else "temperature"
    return Metadata(
        classes=classes,
        thresholds=parameters.thresholds,
        prior=parameters.prior,
        labels=labels,
        calibrator={"method": method, "temperature": stages.temperature}
        | ({} if stages.slope is None else {"slope": stages.slope.tolist()}),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def summary(path: Path, metadata: Metadata) -> str:
    """One line that says what was written."""
    classes = f"{metadata.classes or 'any number of'} classes"
    where = "" if metadata.takes == "logits" else " behind a classifier"
    if metadata.ensemble is not None:
        where = f" of the averaged {metadata.ensemble['average']} of members"
    return f"wrote {path}: {metadata.family}{where}, {classes}, temperature {metadata.temperature:g}"


def read_bias(path: Path) -> NDArray[np.float64]:
    """Float64 [K] from a .npy file, or from text with numbers between white space or commas."""
    try:
        values: Any = np.load(path) if path.suffix == ".npy" else read_text(path, "--bias").replace(",", " ").split()
        return np.asarray(values, np.float64)
    except OSError as error:
        raise CannotStart(f"--bias: {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError) as error:
        raise UsedWrongly(f"--bias: {path} does not hold one number for each class: {error}") from error
