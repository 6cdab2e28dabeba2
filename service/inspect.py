"""Print what a head file says of itself."""

import argparse
import json
from pathlib import Path
from typing import Final

from rich.console import Console

from service.head import Head

MOST_SHOWN: Final = 12  # of a list; `--json` prints all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and how to say it."""
    parser.add_argument("file", type=Path, help="a head file, such as models/softmax/1/model.onnx")
    parser.add_argument("--json", action="store_true", help="print the metadata as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Load the head, as serving would, and print its story."""
    head = Head(arguments.file)
    story = head.metadata.model_dump(mode="json", exclude_none=True)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.json:
        console.print(json.dumps(story, indent=2), markup=False)
        return 0
    lines = [("file", str(arguments.file))]
    for name, (dtype, shape) in head.inputs.items():
        sizes = ", ".join(["N", *("any" if size is None else str(size) for size in shape)])
        lines.append(("input", f"{name}: {dtype.__name__} [{sizes}]"))
    lines += [(key.replace("_", " "), said(value)) for key, value in story.items() if value not in ({}, [])]
    width = max(len(key) for key, _ in lines)
    for key, value in lines:  # no table: it would cut what is longer than the terminal, or a pipe's 80 columns
        console.print(f"{key:{width}}  {value}", markup=False)
    return 0


def said(value: object) -> str:
    """A metadata value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {said(item)}" for key, item in value.items())
    if isinstance(value, list):
        shown = ", ".join(map(said, value[:MOST_SHOWN]))
        return shown + (f", and {len(value) - MOST_SHOWN} more" if len(value) > MOST_SHOWN else "")
    return f"{value:.6g}" if isinstance(value, float) else str(value)
