"""What a fit came to, whatever its labels are, for those who write it and show it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from service.heads.stages import Stages
from service.metadata import Metadata


class Outcome(NamedTuple):
    """One fit.

    Attributes:
        calibrator: what the head will compute.
        story: what the head file will say of itself.
        write_report: writes the report beside the head file that it is given.
        show: prints the outcome, given the head file and whether that took the place of another.
    """

    calibrator: Stages
    story: Metadata
    write_report: Callable[[Path], None]
    show: Callable[[Path, bool], None]
