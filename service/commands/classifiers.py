"""What `export` and `fit` share where a head goes behind a classifier: the options, and the choice of its logits."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from service.errors import UsedWrongly

if TYPE_CHECKING:
    from service.families import Family
    from service.heads.choice import Chosen
    from service.heads.trial import Arrays

NEAR: Final = 1e-3  # of a row's logits, alone and beside others


def add_arguments(parser: ArgumentParser) -> None:
    """Declare `--onto`, `--output` and `--inputs`."""
    parser.add_argument("--onto", type=Path, metavar="FILE", help="an ONNX classifier to put the head behind")
    parser.add_argument(
        "--output",
        metavar="NAME",
        help="its tensor that holds the logits (default: the only one, see calibrant inspect)",
    )
    parser.add_argument(
        "--inputs", type=Path, metavar="FILE", help="rows of the classifier's own inputs, .npz or a table"
    )


def check_arguments(arguments: Namespace) -> None:
    """Refuse options that only mean something behind a classifier."""
    for option in ("output", "inputs"):
        if arguments.onto is None and getattr(arguments, option) is not None:
            raise UsedWrongly(f"--{option} is about a classifier; expected --onto FILE beside it")


def load_inputs(arguments: Namespace) -> "dict[str, Arrays]":
    """The parts of `--inputs`, as the classifier takes them; no part where it was not given.

    Raises:
        DataError, CannotStart: a file that cannot be read, or does not hold the inputs.
    """
    if arguments.inputs is None:
        return {}
    from service.datasets import inputs
    from service.heads import classifier
    from service.heads.trial import read_inputs

    return inputs.load(
        arguments.inputs, read_inputs(classifier.load(arguments.onto)), getattr(arguments, "group", None)
    )


def load_first(onto: Path, path: Path | None) -> "Arrays | None":
    """The first part of the inputs in the file `path`, if one is given; raises as `load_inputs`."""
    return next(iter(load_inputs(Namespace(onto=onto, inputs=path)).values()), None)


def choose_logits(arguments: Namespace, family: "Family", rows: "Arrays | None" = None) -> "Chosen":
    """The classifier that the options name, cut to its logits, after a look at what it says to `rows` or made-up ones.

    A head that gives each class a probability of its own stands before a sigmoid, any other before a softmax.

    Raises:
        UsedWrongly, CannotStart: see `heads.choice.choose`.
    """
    from service.commands.terminal import warn
    from service.heads.choice import choose

    chosen = choose(
        arguments.onto,
        arguments.output,
        link="softmax" if family.chooses_one else "sigmoid",
        from_probabilities=arguments.from_probabilities,
        rows=rows,
    )
    if chosen.alone > NEAR:
        warn(
            f"a row's logits differ by {chosen.alone:.2g} alone and beside other rows, so its answer depends on its "
            "batch: weights quantised with scales that are found while running do that"
        )
    return chosen


def n_batches(rows: "Mapping[str, Arrays]", chosen: "Chosen | None") -> int:
    """How many runs of the classifier all parts take."""
    from service.datasets import inputs

    if chosen is None:
        return 0
    return sum(inputs.n_batches({name: part[name] for name in chosen.trial.inputs}) for part in rows.values())


def run_parts(
    arguments: Namespace, chosen: "Chosen", rows: "Mapping[str, Arrays]", tell: Callable[[str], None]
) -> "dict[str, Arrays]":
    """The arrays of each part of `rows`, with the logits that the classifier says.

    What the rows lack is taken from `--data`. Logits that came in either are compared, and a difference is told.
    """
    from service.commands.terminal import warn
    from service.datasets import files

    given: Mapping[str, Arrays] = {}
    if arguments.data is not None:
        read = files.read_arrays(arguments.data, arguments.labels, arguments.group, logits=arguments.logits)
        given = files.split_parts(read)
    elif arguments.labels is not None:
        given = {"all": {"labels": files.npy(arguments.labels)}}
    parts: dict[str, Arrays] = {}
    for name, part in rows.items():
        beside = {
            key: values for key, values in {**given.get(name, {}), **part}.items() if key not in chosen.trial.inputs
        }
        logits = chosen.trial.answers(part, chosen.output, tell)
        if "logits" in beside and (difference := compare_logits(np.asarray(beside["logits"]), logits)):
            warn(f"{difference}; the classifier's are taken")
        parts[name] = {**beside, "logits": logits}
    return parts


def compare_logits(given: NDArray[Any], own: NDArray[Any]) -> str:
    """How logits differ from what the classifier says; nothing where they do not."""
    if given.shape != own.shape:
        return f"the logits in the data have the shape {list(given.shape)}, those of the classifier {list(own.shape)}"
    distance = np.abs(given - own)
    far = distance > NEAR * (1 + np.abs(own))
    if not far.any():
        return ""
    row, class_ = np.unravel_index(int(np.where(far, distance, 0).argmax()), own.shape)
    n = np.count_nonzero(far.any(axis=1))
    return (
        f"the logits in the data are not the classifier's in {n} of {len(own)} rows: in row {row}, class {class_}, "
        f"{given[row, class_]:.6g} and not {own[row, class_]:.6g}"
    )
