"""Print what a head file says of itself; or, of a classifier, where its logits are and how a head gets behind them.

For example:
  calibrant inspect classifier.onnx
"""

import argparse
import json
import shlex
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console

from service.commands import classifiers
from service.engine.head import Head
from service.errors import HeadError

MOST_SHOWN: Final = 12  # of a list; `--json` prints all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and how to say it."""
    parser.add_argument("file", type=Path, help="a head file, such as models/softmax/1/model.onnx, or a classifier")
    parser.add_argument("--inputs", type=Path, metavar="FILE", help="rows of a classifier's own inputs, to run it on")
    parser.add_argument("--json", action="store_true", help="print all of the metadata as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Load the head, as serving would, and print its story; or a classifier's.

    Raises:
        CannotStart, HeadError, DataError: a file that cannot be read, or is neither.
    """
    console = Console(highlight=False, soft_wrap=True)
    try:
        head = Head(arguments.file)
    except HeadError:
        if find_spec("onnx") is None or not print_classifier(arguments, console):
            raise
        return 0
    story = head.metadata.model_dump(mode="json", exclude_none=True)
    if arguments.json:
        console.print(json.dumps(story, indent=2), markup=False)
        return 0
    refit = story.get("refit", {})
    refit |= {name: moment(refit[name]) for name in ("proposed", "promoted") if name in refit}
    told: list[tuple[str, Any]] = [("file", str(arguments.file))]
    for name, (dtype, shape) in head.signature.inputs.items():
        sizes = ", ".join(["N", *("any" if size is None else str(size) for size in shape)])
        told.append(("input", f"{name}: {dtype.__name__} [{sizes}]"))
    told += [(key.replace("_", " "), value) for key, value in story.items() if value not in ({}, [])]
    for line in key_lines(told, console.width):  # no table: it would cut a word that is longer than its column
        console.print(line, markup=False)
    return 0


def print_classifier(arguments: argparse.Namespace, console: Console) -> bool:
    """Print what a classifier is, and the commands that put a head behind it; false where the file is none."""
    from service.heads.classifier import is_classifier
    from service.heads.description import describe

    if not is_classifier(arguments.file):
        return False
    about = describe(arguments.file, classifiers.load_first(arguments.file, arguments.inputs))
    if arguments.json:
        console.print(json.dumps(asdict(about), indent=2), markup=False)
        return True
    told: list[tuple[str, Any]] = [("file", str(arguments.file)), ("exported by", about.producer)]
    told.append(("opset", [f"{domain} {version}" for domain, version in about.opsets.items()]))
    told += [("input", f"{name}: {text}") for name, text in about.inputs.items()]
    told += [("output", f"{name}: {text}") for name, text in about.outputs.items()]
    told += [("logits", name if name == to else f"{name}, before {to}") for name, to in about.logits.items()]
    if about.refusal:
        told.append(("logits" if about.options else "refused", about.refusal))
    for options in about.options:
        onto = shlex.join(["--onto", str(arguments.file), *options])
        told.append(("export", f"calibrant export {onto} --name NAME"))
        told.append(("fit", f"calibrant fit {onto} --inputs FILE --name NAME"))
    for line in key_lines(told, console.width):
        console.print(line, markup=False)
    return True


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


def moment(seconds: float) -> str:
    """Seconds since 1970 as a date and a time, as `created` has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
