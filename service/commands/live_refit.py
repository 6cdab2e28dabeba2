"""Decide what comes of the labels of a version.

`propose` has another temperature fitted on the labels that come, `promote` makes the next version of it, `dismiss`
throws it away; `acknowledge` ends an alarm. Promoting writes the new version from here: where the service cannot write
its models folder, this can be run elsewhere.
"""

import argparse
import asyncio
import base64
import getpass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from service.commands.options import add_settings, journal_folder
from service.errors import CannotStart, CommandError, UsedWrongly
from service.journal.channel import Unreachable, ask
from service.journal.publication import Place, versions_folder
from service.journal.rows import column_of, sizes_of, unpack_columns
from service.model_files import Key, model_files
from service.settings import load

if TYPE_CHECKING:
    from service.live.refit import Labelled


PATIENCE_S: Final = 60.0
MOST_LETTERS: Final = 256  # of a name, as over HTTP


class RefusedRefit(CommandError):
    """What was asked for cannot be done."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The version, who decides, and the folders; the last word of the parser's name is what is decided."""
    action = parser.prog.rpartition(" ")[2]
    parser.set_defaults(action=action)
    parser.add_argument("version", metavar="MODEL/VERSION")
    parser.add_argument("--by", metavar="NAME", help="who decides (default: the user)")
    if action == "promote":
        parser.add_argument("--force", action="store_true", help="even if the evidence has never reached 100")
        parser.add_argument("--back", action="store_true", help="put the version back that this one replaced")
    if action in ("promote", "dismiss"):
        parser.add_argument("--etag", help="only if the refit is still the one of this tag")
    add_settings(parser, ("journal", "models", "default_model") if action == "promote" else ("journal",))


def run(arguments: argparse.Namespace) -> int:
    """Decide."""
    given = vars(arguments)
    action, name, by = (given.pop(one) for one in ("action", "version", "by"))
    options: dict[str, Any] = {one: given.pop(one) for one in ("force", "back", "etag") if one in given}
    settings = load(**given)
    decide(action, name, Place(journal_folder(settings), settings.models, settings.default_model), by, options)
    return 0


def decide(action: str, name: str, place: Place, by: str | None, options: dict[str, Any]) -> None:
    """Propose, promote or dismiss a refit, or acknowledge an alarm, and print what was done.

    Raises:
        UsedWrongly: this does not name a version, or a model.
        CannotStart: the live process does not answer, or a package is missing.
        RefusedRefit: it must not be; the sentence says why.
        HeadError: the head cannot be written.
    """
    model, _, version = name.rpartition("/")
    if not model or not version.isdecimal():
        raise UsedWrongly(f"{name!r} does not name a version; expected MODEL/VERSION, such as digits/1")
    if by is not None and not 1 <= len(by.strip()) <= MOST_LETTERS:
        raise UsedWrongly(f"--by is {by!r}; expected a name of 1 to {MOST_LETTERS} characters")
    message = {"model": f"{model}/{version}", "by": by or getpass.getuser(), **options}
    if action == "promote":
        path = promote(place, (model, int(version)), message)
        print(f"{model}/{path.parent.name}: {path}")  # noqa: T201 - the terminal is where this belongs
        return
    found = tell(place, {"do": action, **message})
    done = {
        "propose": "is shadowed at another temperature",
        "dismiss": "has no refit any more",
        "acknowledge": f"is in epoch {found.get('epoch')}, its evidence is 1 again",
    }[action]
    print(f"{model}/{version} {done}")  # noqa: T201 - as above


def tell(place: Place, message: dict[str, Any]) -> dict[str, Any]:
    """What the live process answers."""
    try:
        found = asyncio.run(ask(place.journal, message, PATIENCE_S))
    except Unreachable as error:
        raise CannotStart(f"{error}; expected a service that runs with --journal {place.journal}") from error
    if "message" in found:
        raise RefusedRefit(found["message"])
    if "error" in found:
        raise RefusedRefit(f"{found['error']}; expected an alarm to acknowledge")
    if "away" in found:
        raise CannotStart(f"the store of the live process is away: {found['away']}")
    return found


def promote(place: Place, key: Key, message: dict[str, Any]) -> Path:
    """Write the version that the live process plans, and say that it is done."""
    if find_spec("onnx") is None:
        raise CannotStart("the package onnx is not installed: pip install 'calibrant[calibration]'")
    plan = tell(place, {"do": "plan", **message})
    files = model_files(place.models, place.default_model)
    back = bool(message.get("back"))
    source = files.get((key[0], int(plan["story"]["copy_of"])) if back else key)
    if source is None or key not in files:
        raise CannotStart(f"{key[0]}/{key[1]} is not in {place.models}; expected the models folder of the service")
    path = write(source, versions_folder(files[key], place.models), plan)
    tell(place, {"do": "promoted", "version": path.parent.name, **message})
    return path


def write(source: Path, folder: Path, plan: dict[str, Any]) -> Path:
    """Write the next version into `folder`: the head at `source` at the new temperature, or as it is."""
    from service.calibration.refit import story
    from service.heads.temper import publish_tempered, read

    factor = plan["factor"]
    changes: dict[str, Any] = {"refit": plan["story"], "created": datetime.now(UTC).isoformat(timespec="seconds")}
    if factor is not None:
        n_rows = plan["story"]["labels"]["fitted"]
        changes |= story(read_rows(plan["rows"]), factor, read(source)[1]) | {"n_rows": n_rows, "data_sha256": None}
    return publish_tempered(source, folder, 1.0 if factor is None else factor, changes)


def read_rows(packed: dict[str, Any] | None) -> "Labelled | None":
    """The labelled rows of a plan."""
    from service.live.refit import Labelled

    if packed is None:
        return None
    data, labels = base64.b64decode(packed["data"]), packed["labels"]
    width = len(data) // len(labels)
    rows = [data[at : at + width] for at in range(0, len(data), width)]
    columns = [column_of(row, label) for row, label in zip(rows, labels, strict=True)]
    return Labelled.of(np.array([unpack_columns(row) for row in rows]), sizes_of(rows[0]), np.array(columns))
