"""A head beside another on the same rows, and the bounds that it must keep: what `calibrant evaluate` is to a CI."""

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from service.commands.requirements import Verdict
from service.errors import CannotStart, DataError

if TYPE_CHECKING:
    from service.commands.evaluate import Evaluation


def add_arguments(parser: ArgumentParser) -> None:
    """Declare `--baseline`, `--report` and `--require`."""
    parser.add_argument("--baseline", metavar="NAME|FILE", help="another head, to compare with on the same rows")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page of it, .html")
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="BOUND",
        help="end with exit code 4 unless it is kept: 'ece<0.03', 'nll<=baseline', 'brier<baseline+0.001'; repeatable",
    )


def write_report(
    arguments: Namespace, told: dict[str, Any], found: "Evaluation", baseline: "Evaluation | None"
) -> None:
    """Write the page that `--report` names.

    Raises:
        CannotStart: matplotlib is not installed, or the file cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise CannotStart("the package matplotlib is not installed: pip install 'calibrant[calibration]'")
    from service.calibration import evaluation_report as page

    def measured(one: "Evaluation", name: str) -> page.Measured:
        return page.Measured(name, None if one.measured is None else one.measured.scores)

    other = None if baseline is None else measured(baseline, arguments.baseline)
    try:
        page.write_report(arguments.report, told, measured(found, arguments.model), other)
    except OSError as error:
        raise CannotStart(f"{arguments.report} cannot be written: {error.strerror}") from error


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
