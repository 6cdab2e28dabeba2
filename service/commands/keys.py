"""Make an API key for `calibrant serve --api-keys-file FILE`: the key is printed once, and FILE keeps its hash alone.

A service that runs accepts it within half a second. Delete the line of a name to revoke its key.
"""

import argparse
import secrets
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from service.errors import CannotStart, InvalidKeys, UsedWrongly
from service.transports.keys import Key, check_name, parse_keys, parse_rate, parse_scopes

Parsed = TypeVar("Parsed")

N_BYTES: Final = 32  # random ones of a key
PREFIX: Final = "calibrant_"  # by which those who look for secrets in the wrong places know it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the key is for."""
    parser.add_argument("action", choices=("add",), help="what to do")
    parser.add_argument("name", metavar="NAME", help="whose key it is: what it does is done under this name")
    parser.add_argument("--api-keys-file", metavar="FILE", type=Path, help="the file, which is made if it is not there")
    parser.add_argument(
        "--scopes",
        default="predict",
        help="what it may do, with commas between: predict, label (send labels), observe (models, metrics, calibration)"
        ", admin (load models, delete, acknowledge) (default: %(default)s)",
    )
    parser.add_argument("--rate", metavar="ROWS", help="most rows a second (default: any number)")


def run(arguments: argparse.Namespace) -> int:
    """Add a line to the file, and print the key."""
    path: Path | None = arguments.api_keys_file
    if path is None:
        raise UsedWrongly("there is no file for the keys; expected --api-keys-file FILE (CALIBRANT_API_KEYS_FILE)")
    secret = PREFIX + secrets.token_urlsafe(N_BYTES)
    digest = sha256(secret.encode()).digest()
    name = parse("NAME", arguments.name, check_name)
    scopes = parse("--scopes", arguments.scopes, parse_scopes)
    add_line(path, Key(name, digest, scopes, parse("--rate", arguments.rate, parse_rate)))
    print(secret)  # noqa: T201 - the terminal is where this belongs
    return 0


def parse(option: str, value: Any, read: Callable[[Any], Parsed]) -> Parsed:
    """What `read` makes of an option's value; raises UsedWrongly with both."""
    try:
        return read(value)
    except InvalidKeys as error:
        raise UsedWrongly(f"{option} is {value!r}: {error}") from error


def add_line(path: Path, key: Key) -> None:
    """Add a key to a file in one write, so that nobody reads half of it.

    Raises:
        UsedWrongly: the name is there.
        CannotStart: the file cannot be read or written.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
        if any(key.name == other.name for other in parse_keys(content)):
            raise UsedWrongly(f"{path} has a key of the name {key.name}; expected another name, or its line deleted")
        line_end = "\n" if content and not content.endswith(b"\n") else ""
        with path.open("a") as file:
            file.write(f"{line_end}{key.line()}\n")
    except OSError as error:
        raise CannotStart(f"{path} cannot take the key: {error.strerror}; expected a file to write to") from error
    except InvalidKeys as error:
        raise CannotStart(f"{path} cannot take the key: {error}") from error
