"""The command `calibrant`: names the sub-commands and turns errors into one sentence and an exit code.

A sub-command, of one word or two, is a module with `add_arguments(parser)` and `run(arguments) -> int`, imported only
when it is called.
Exit codes: 0 well, 1 anything else, 2 used wrongly, 3 could not start, 4 a requirement that is not kept.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final, NamedTuple, NoReturn

from service import __version__
from service.errors import CommandError, UsedWrongly


class Command(NamedTuple):
    """Where a sub-command lives, and its line in `calibrant --help`."""

    module: str
    help: str


COMMANDS: Final = {
    "serve": Command("service.commands.serve", "answer over HTTP with the heads of a models folder"),
    "fit": Command("service.commands.fit", "calibrate on logits and labels, prove it, ship the head"),
    "evaluate": Command("service.commands.evaluate", "measure a head on logits and labels"),
    "score": Command("service.commands.score", "put whole files of logits through a head"),
    "export": Command("service.commands.export", "write a head file, alone or onto a classifier"),
    "live": Command("service.commands.live", "count the labels of served answers; serve --journal starts it itself"),
    "live label": Command("service.commands.labels", "send the labels of a table to a running service"),
    "live status": Command("service.commands.live_status", "show what labels say of each version"),
    "live propose": Command("service.commands.live_refit", "fit another temperature on the labels that come"),
    "live promote": Command("service.commands.live_refit", "make the next version of a refit"),
    "live dismiss": Command("service.commands.live_refit", "throw a refit away"),
    "live acknowledge": Command("service.commands.live_refit", "end an alarm"),
    "keys": Command("service.commands.keys", "make an API key for serve --api-keys-file"),
    "inspect": Command("service.commands.inspect", "print what a head file says of itself"),
}

LOGGING: Final = frozenset({"serve", "live"})  # they take --log-format


class Parser(argparse.ArgumentParser):
    """argparse, but for how it complains: in one sentence, as every command does."""

    def heed_environment(self) -> None:
        """Let `CALIBRANT_NAME` stand in for an option `--name VALUE` that is not given, and say so in its help.

        The settings of `serve` have no defaults here: they read the environment themselves.
        """
        from service.settings import PREFIX, environment  # takes pydantic along, which `--version` need not wait for

        for action in self._actions:  # argparse has no public way to go through them
            if action.option_strings and action.nargs is None and action.default is not argparse.SUPPRESS:
                variable = PREFIX + action.dest.upper()
                action.help = f"{action.help} [{variable}]"
                # argparse converts a default that is a string as if it had been given
                action.default = environment(variable, action.default)

    def error(self, message: str) -> NoReturn:
        """Something on the command line cannot be meant."""
        raise UsedWrongly(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `calibrant` with `argv`, the process's arguments by default, and return the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name, behind = split(arguments)
    prog = f"calibrant {name}".rstrip()
    try:
        code = run(prog, name, behind)
        sys.stdout.flush()  # here, where a reader that is gone is known for what it is
    except CommandError as error:
        print(describe(prog, name, behind, error), file=sys.stderr)  # noqa: T201 - the terminal is where this belongs
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads, such as head, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to write goes nowhere
        return 141  # 128 + SIGPIPE, as of a command that the signal ends
    return code


def describe(prog: str, name: str, arguments: list[str], error: CommandError) -> str:
    """The line that says why a command ends; as JSON where it writes a log, and that is of JSON."""
    if name not in LOGGING:
        return f"{prog}: {error}"
    from service.settings import PREFIX

    parser = Parser(prog=prog, add_help=False)
    parser.add_argument("--log-format", default=os.environ.get(f"{PREFIX}LOG_FORMAT"))
    try:
        how = parser.parse_known_args(arguments)[0].log_format
    except UsedWrongly:  # it has no value
        how = None
    if how != "json":
        return f"{prog}: {error}"
    from service.telemetry.logs import json_line

    return json_line(logging.ERROR, __name__, f"{prog}: {error}", exit_code=error.exit_code)


def split(arguments: list[str]) -> tuple[str, list[str]]:
    """The name of the sub-command that `arguments` begin with, or none, and what is behind it."""
    for n in (2, 1):
        if (name := " ".join(arguments[:n])) in COMMANDS:
            return name, arguments[n:]
    return "", arguments


def run(prog: str, name: str, arguments: list[str]) -> int:
    """Run a sub-command; without one, show what there is."""
    if not name:
        parser = Parser(prog=prog, description="Logits in, calibrated probabilities out.")
        parser.formatter_class = argparse.RawTextHelpFormatter
        parser.add_argument("--version", action="version", version=f"calibrant {__version__}")
        parser.add_argument("command", choices=COMMANDS, metavar="command", help=overview())
        parser.parse_args(arguments or ["--help"])
        return 0
    longer = [other.removeprefix(f"{name} ") for other in COMMANDS if other.startswith(f"{name} ")]
    if longer and arguments and not arguments[0].startswith("-"):
        raise UsedWrongly(f"{arguments[0]!r} is not something to do; expected {', '.join(longer)}")
    module = import_module(COMMANDS[name].module)
    parser = Parser(prog=prog, description=module.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_arguments(parser)
    parser.heed_environment()
    return int(module.run(parser.parse_args(arguments)))


def overview() -> str:
    """The sub-commands, a line each."""
    width = max(map(len, COMMANDS))
    return "\n".join(f"{name:{width}}  {command.help}" for name, command in COMMANDS.items())
