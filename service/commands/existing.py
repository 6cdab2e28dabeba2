"""What stands where a fit will write: a head, and the report of it or of another."""

import json
from pathlib import Path
from typing import Final

from service.errors import UsedWrongly

REPORTS: Final = ("report.html", "report.json")  # beside the head


def existing_files(head: Path) -> list[Path]:
    """What there is already of a head and its report."""
    return [path for path in (head, *(head.parent / name for name in REPORTS)) if path.exists()]


def refuse_another_report(head: Path, before: list[Path]) -> None:
    """Refuse to overwrite a report that belongs to another head.

    Raises:
        UsedWrongly: the report in the folder is of another head, or does not say of which.
    """
    reports = [path for path in before if path != head]
    if reports and not has_own_report(head):
        raise UsedWrongly(
            f"{reports[0]} is not the report of {head.name}, and would be lost: "
            "name a file in another folder, or add --no-report"
        )


def has_own_report(head: Path) -> bool:
    """Whether the report beside `head` says that it is of that file."""
    try:
        return bool(json.loads((head.parent / REPORTS[1]).read_bytes())["head"] == head.name)
    except (OSError, ValueError, LookupError, TypeError):
        return False
