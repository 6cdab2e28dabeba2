"""Print what a head file says of itself."""

import argparse
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console

from service.engine.head import Head

MOST_SHOWN: Final = 12  # of a list; `--json` prints all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and how to say it."""
    parser.add_argument("file", type=Path, help="a head file, such as models/softmax/1/model.onnx")
    parser.add_argument("--json", action="store_true", help="print all of the metadata as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Load the head, as serving would, and print its story."""
    head = Head(arguments.file)
    story = head.metadata.model_dump(mode="json", exclude_none=True)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.json:
        console.print(json.dumps(story, indent=2), markup=False)
        return 0
    told: list[tuple[str, Any]] = [("file", str(arguments.file))]
    for name, (dtype, shape) in head.signature.inputs.items():
        sizes = ", ".join(["N", *("any" if size is None else str(size) for size in shape)])
        told.append(("input", f"{name}: {dtype.__name__} [{sizes}]"))
    told += [(key.replace("_", " "), value) for key, value in story.items() if value not in ({}, [])]
    for line in key_lines(told, console.width):  # no table: it would cut a word that is longer than its column
        console.print(line, markup=False)
    return 0


def key_lines(values: Collection[tuple[str, Any]], width: int) -> list[str]:
    """A paragraph for each key, all values from one column on."""
    column = max((len(key) for key, _ in values), default=0) + 2
    found = []
    for key, value in values:
        first, *rest = paragraph(value, width - column) or [""]
        found += [f"{key:{column}}{first}", *(" " * column + line for line in rest)]
    return found


def paragraph(value: Any, width: int) -> list[str]:
    """A metadata value in lines of `width` cells; a word that is longer keeps a line of its own."""
    if isinstance(value, dict):
        deep = {key: item for key, item in value.items() if isinstance(item, dict | list)}
        flat = [f"{key} {plain_text(item)}" for key, item in value.items() if key not in deep]
        return fold(flat, width) + key_lines(deep.items(), width)
    if isinstance(value, list):
        more = [f"and {len(value) - MOST_SHOWN} more with --json"] if len(value) > MOST_SHOWN else []
        shown = value[:MOST_SHOWN]
        if any(isinstance(item, dict | list) for item in shown):
            return [line for item in shown for line in paragraph(item, width)] + more
        return fold([*map(plain_text, shown), *more], width)
    return [plain_text(value)]


def fold(parts: list[str], width: int) -> list[str]:
    """Parts between commas; lines end behind a comma."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(lines[-1]) + cell_len(part) + 3 <= width:  # ", " before it, perhaps a comma behind
            lines[-1] += f", {part}"
        else:
            lines[-1:] = [f"{line}," for line in lines[-1:]]
            lines.append(part)
    return lines


def plain_text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
