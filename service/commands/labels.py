"""Send the labels of a .csv or .parquet to a running service, a few thousand at a time.

The columns are id and label, and where there are any row, at (seconds since 1970) and replace. Ends with 1 where
another label than one of these is kept, or where one can never count.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from service.commands.options import exposed
from service.errors import CommandError, DataError, UsedWrongly, count
from service.settings import PREFIX

AT_ONCE: Final = 10_000
COLUMNS: Final = ("id", "label", "row", "at", "replace")
KNOWN: Final = "id and label, and row, at and replace if any"
INDEX: Final = "__index_level_"  # pandas writes the index of filtered rows under this name
MOST_TOLD: Final = 10
TIMEOUT_S: Final = 60.0
ROWS: Final = range(2**31)
TRUE: Final = {"true": True, "false": False, "1": True, "0": False}


class NotTaken(CommandError):
    """The service did not take the labels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table, and the service."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the table with the labels")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    parser.add_argument("--api-key", default="", metavar="KEY", help="a key of the service")


def run(arguments: argparse.Namespace) -> int:
    """Send the labels, and print what became of them; 1 where some were in contradiction, or can never count."""
    key = arguments.api_key
    if key and key != os.environ.get(f"{PREFIX}API_KEY"):
        print(f"calibrant live label: {exposed('api_key')}", file=sys.stderr)  # noqa: T201 - the terminal is where this belongs
    counts, told = send_file(arguments.file, arguments.url, key)
    if told:
        print("\n".join(told), file=sys.stderr)  # noqa: T201 - as above
    accepted, conflicts = count(counts["accepted"], "label"), count(counts["conflicts"], "conflict")
    print(f"{accepted} accepted, {counts['pending']} pending, {counts['unknown']} unknown, {conflicts}")  # noqa: T201 - as above
    return int(counts["conflicts"] + counts["unknown"] > 0)


def send_file(path: Path, url: str, key: str) -> tuple[Counter[str], list[str]]:
    """Send every label of a file; sent again, they are accepted again.

    Returns what became of them, and a line for each that was unknown or a conflict, the first `MOST_TOLD`, those last
    that wait.

    Raises:
        DataError: the file does not read, with the row.
        UsedWrongly: the address is none of HTTP.
        NotTaken: the service is not there, or refuses.
    """
    if not url.startswith(("http://", "https://")):
        raise UsedWrongly(f"--url is {url!r}; expected http:// or https://")
    counts: Counter[str] = Counter()
    told: list[str] = []
    waiting: list[str] = []
    for some in read_labels(path):
        answer = post(f"{url.rstrip('/')}/v1/labels", {"labels": some}, key)
        counts["accepted"] += answer["accepted"]
        counts["pending"] += answer["pending"]
        counts["unknown"] += sum(not one["waits"] for one in answer["unknown"])
        counts["conflicts"] += len(answer["conflicts"])
        for one in [*answer["unknown"], *answer["conflicts"]]:
            reason = one["reason"] if "reason" in one else f"it has the label {one['kept']}, which is kept"
            (waiting if one.get("waits") else told).append(f"{one['id']}, row {one['row']}: {reason}")
        del told[MOST_TOLD:], waiting[MOST_TOLD:]
    return counts, [*told, *waiting][:MOST_TOLD]


def read_labels(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The labels of a table, `AT_ONCE` at a time."""
    from service.datasets.tables import open_table

    table = open_table(path)
    if missing := {"id", "label"} - {*table.names}:
        raise DataError(f"{path.name} has no column {min(missing)}; expected {KNOWN}")
    unknown = [name for name in table.names if name not in COLUMNS and not name.startswith(INDEX)]
    if unknown:
        raise DataError(f"{path.name} has an unknown column {unknown[0]}; expected {KNOWN}")
    names = tuple(name for name in COLUMNS if name in table.names)
    start = 0
    for piece in table.pieces(AT_ONCE, names):
        rows = piece.to_pylist()
        yield [read_label(row, start + i) for i, row in enumerate(rows)]
        start += len(rows)


def read_label(cells: dict[str, Any], row: int) -> dict[str, Any]:
    """A row of a table as a label; text that is a whole number is the index of a class.

    Raises:
        DataError: a cell that means nothing, with its row.
    """
    found: dict[str, Any] = {}
    for name, cell in cells.items():
        text = str(cell).strip() if cell is not None else ""
        if text:
            found[name] = read_cell(name, cell, text, row)
    for name in ("id", "label"):
        if name not in found:
            raise DataError(f"row {row}, column {name}: the cell is empty; expected a value", row=row)
    return found


def read_cell(name: str, cell: Any, text: str, row: int) -> Any:
    if name in ("label", "row") and isinstance(cell, float) and cell.is_integer():
        text = str(int(cell))  # pandas makes such a column where a cell is empty
    try:
        match name:
            case "id":
                return text
            case "label":
                return int(text) if text.isdecimal() else text
            case "row":
                return ROWS.index(int(text))  # which is a ValueError below 0
            case "at":
                return cell.timestamp() if hasattr(cell, "timestamp") else float(text)
        return TRUE[text.lower()]
    except (ValueError, KeyError):
        expected = {"row": "a whole number from 0 on", "at": "seconds since 1970"}.get(name, "true or false")
        raise DataError(f"row {row}, column {name}: {text!r}; expected {expected}", row=row) from None


def post(url: str, document: Any, key: str) -> dict[str, Any]:
    """The answer of the service.

    Raises:
        NotTaken: it is not there, or refuses.
    """
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)  # noqa: S310 - send_file checks it
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - as above
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise NotTaken(f"the service refuses the labels: {sentence_of(error)}") from error
    except OSError as error:
        cause = getattr(error, "reason", error)  # urllib wraps the system's error
        why = getattr(cause, "strerror", None) or cause
        raise NotTaken(f"the service at {url} does not answer: {why}; expected calibrant serve --journal") from error


def sentence_of(error: urllib.error.HTTPError) -> str:
    """What an answer says of its error."""
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError):
        return f"status {error.code}"
