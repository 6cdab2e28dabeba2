"""The report of a fit beside a head: a file that anybody who writes the models folder may change, and read as such."""

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from service.errors import NoReport
from service.model import Model

NAME: Final = "report.json"
MAX_MB: Final = 16  # a fit of 20,000 classes writes 4


def read_report(root: Path, model: Model) -> bytes:
    """The report beside a head in the models folder `root`, as it lies there; takes its time.

    Raises:
        NoReport: the head was made without one, or was copied alone, or what lies there may not be answered.
    """
    with open_report(root, model) as file:
        content = file.read(MAX_MB * 2**20 + 1)
    if len(content) > MAX_MB * 2**20:  # it has grown since
        raise refusal(model, "is too large")
    return content


def has_report(root: Path, model: Model) -> bool:
    """Whether there is one that would be answered; takes its time."""
    try:
        open_report(root, model).close()
    except NoReport:
        return False
    return True


def open_report(root: Path, model: Model) -> BinaryIO:
    """The file, opened, with the checks that the loader has for a head."""
    try:
        path = os.path.realpath(model.head.path.parent / NAME, strict=True)
        if not Path(path).is_relative_to(root.resolve()):
            raise refusal(model, "leads out of the models folder")
        # a FIFO would be waited for, and a link in its place by now would lead elsewhere
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise NoReport(
            f"model {model.name} has no report in version {model.version}; expected {NAME} beside its head"
        ) from error
    about = os.fstat(descriptor)
    if stat.S_ISREG(about.st_mode) and about.st_size <= MAX_MB * 2**20:
        return open(descriptor, "rb")
    os.close(descriptor)
    raise refusal(model, "is too large" if stat.S_ISREG(about.st_mode) else "is not a file")


def refusal(model: Model, why: str) -> NoReport:
    return NoReport(
        f"the {NAME} of version {model.version} of model {model.name} {why}; expected a file in the models folder of "
        f"at most {MAX_MB} MB"
    )
