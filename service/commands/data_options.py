"""Which numbers of a file are the logits: options that `fit`, `evaluate` and `score` share."""

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from service.errors import UsedWrongly

if TYPE_CHECKING:
    from service.datasets.dataset import Dataset


def add_arguments(parser: ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--logits",
        metavar="A,B,C|'PREFIX*'",
        help="the columns of the logits, or their array in an .npz (default: those named as the classes)",
    )
    parser.add_argument(
        "--missing-is-masked",
        action="store_true",
        help="an empty cell, null or NaN is a class that may not be chosen (default: it is an error)",
    )
    parser.add_argument(
        "--binary",
        action="store_true",
        help="the logits are one number a row, for the second of two classes, as scikit-learn's decision_function has "
        "them: they are read as [0, z], and so a request must say them",
    )


def refuse(arguments: Namespace, where: str) -> None:
    """Refuse them where the data are read otherwise.

    Raises:
        UsedWrongly: one of them is given.
    """
    for name, given in chosen(arguments).items():
        if given:
            option = f"--{name.replace('_', '-')}"
            raise UsedWrongly(f"{option} is for logits with one label a row; expected none for {where}")


def chosen(arguments: Namespace) -> dict[str, Any]:
    """What they say, as keywords."""
    return {
        "logits": arguments.logits,
        "missing_is_masked": arguments.missing_is_masked,
        "binary": arguments.binary,
    }


def load(arguments: Namespace, named: tuple[str, ...] | None) -> "dict[str, Dataset]":
    """The parts of `--data` as the options say, with the classes' names if they are known; raises as `files.load`."""
    from service.datasets import files

    return files.load(
        arguments.data,
        arguments.labels,
        from_probabilities=arguments.from_probabilities,
        group=arguments.group,
        named=named,
        **chosen(arguments),
    )
