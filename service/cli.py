"""The command `calibrant`: names the sub-commands and turns errors into one sentence and an exit code.

A sub-command is a module with `add_arguments(parser)` and `run(arguments) -> int`, imported only when it is called.
Exit codes: 0 well, 1 anything else, 2 used wrongly, 3 could not start.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple

from service import __version__
from service.errors import CommandError


class Command(NamedTuple):
    """Where a sub-command lives, and its line in `calibrant --help`."""

    module: str
    help: str


COMMANDS: Final = {
    "serve": Command("service.serve", "answer over HTTP with the heads of a models folder"),
    "fit": Command("service.calibration.fit", "calibrate on logits and labels, prove it, ship the head"),
    "evaluate": Command("service.calibration.evaluate", "measure a head on logits and labels"),
    "export": Command("service.heads.export", "write a head file, alone or onto a classifier"),
    "inspect": Command("service.inspect", "print what a head file says of itself"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `calibrant` with `argv`, the process's arguments by default, and return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="calibrant", description="Logits in, calibrated probabilities out.")
    parser.add_argument("--version", action="version", version=f"calibrant {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="command", help=overview())
    if not arguments or arguments[0] not in COMMANDS:
        parser.formatter_class = argparse.RawTextHelpFormatter
        parser.parse_args(arguments or ["--help"])
        return 0
    name, *rest = arguments
    command = COMMANDS[name]
    module = import_module(command.module)
    own = argparse.ArgumentParser(prog=f"calibrant {name}", description=module.__doc__)
    own.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_arguments(own)
    try:
        return int(module.run(own.parse_args(rest)))
    except CommandError as error:
        print(f"calibrant {name}: {error}", file=sys.stderr)  # noqa: T201 - the terminal is where this belongs
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def overview() -> str:
    """The sub-commands, a line each."""
    width = max(map(len, COMMANDS))
    return "\n".join(f"{name:{width}}  {command.help}" for name, command in COMMANDS.items())
