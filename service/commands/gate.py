"""A head beside another on the same rows, and the bounds that it must keep: what `calibrant evaluate` is to a CI."""

from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

import numpy as np

from service.commands.requirements import Verdict
from service.errors import DataError

if TYPE_CHECKING:
    from service.commands.evaluate import Evaluation


def add_arguments(parser: ArgumentParser) -> None:
    """Declare `--baseline` and `--require`."""
    parser.add_argument("--baseline", metavar="NAME|FILE", help="another head, to compare with on the same rows")
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="BOUND",
        help="end with exit code 4 unless it is kept: 'ece<0.03', 'nll<=baseline', 'brier<baseline+0.001'; repeatable",
    )


def check_same_rows(found: "Evaluation", baseline: "Evaluation") -> None:
    """Refuse to compare heads that read the labels differently.

    Raises:
        DataError: they do.
    """
    if not np.array_equal(found.labels, baseline.labels):
        raise DataError("the two heads read the labels differently; expected the same classes in the same order")


def compare(found: "Evaluation", baseline: "Evaluation") -> dict[str, Any]:
    """As JSON: the baseline's metrics, and row by row where one class is chosen the differences and the changes."""
    told: dict[str, Any] = {"baseline": baseline.metrics}
    if found.measured is not None and baseline.measured is not None:
        from service.measures.comparison import compare as compare_rows
        from service.measures.comparison import count_changes

        told["differences"] = {
            name: {"value": one.value, "interval": (one.low, one.high)}
            for name, one in compare_rows(found.measured, baseline.measured).items()
        }
        told["changes"] = count_changes(baseline.measured.scores, found.measured.scores)
    return told


def to_json(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    """Each requirement, and whether it is kept."""
    return [
        {"requirement": str(one.requirement), "value": one.value, "bound": one.bound, "holds": one.holds}
        for one in verdicts
    ]


def show(found: "Evaluation", baseline: "Evaluation", name: str) -> None:
    """Print what `compare` says."""
    from service.commands import terminal

    told = compare(found, baseline)
    if "differences" in told:
        terminal.show_differences(name, found.metrics, baseline.metrics, told["differences"], told["changes"])
    else:
        baseline.show(name)
