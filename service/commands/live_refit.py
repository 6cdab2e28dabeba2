"""`calibrant live propose|promote|dismiss|acknowledge MODEL/VERSION`: what people decide, in the terminal.

Promoting writes the new version from here: where the service cannot write its models folder, this can be run elsewhere.
"""

import asyncio
import base64
import getpass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from service.errors import CannotStart, CommandError, UsedWrongly
from service.journal.channel import Unreachable, ask
from service.journal.publication import Place, versions_folder
from service.journal.rows import column_of, sizes_of, unpack_columns
from service.model_files import Key, model_files

if TYPE_CHECKING:
    from service.live.refit import Labelled


PATIENCE_S: Final = 60.0


class RefusedRefit(CommandError):
    """What was asked for cannot be done."""


def decide(action: str, name: str | None, place: Place, by: str, options: dict[str, Any]) -> None:
    """Propose, promote or dismiss a refit, or acknowledge an alarm, and print what was done.

    Raises:
        UsedWrongly: no version is named.
        CannotStart: the live process does not answer, or a package is missing.
        RefusedRefit: it must not be; the sentence says why.
        HeadError: the head cannot be written.
    """
    model, _, version = (name or "").rpartition("/")
    if not model or not version.isdecimal():
        raise UsedWrongly(f"{action} wants a version; expected calibrant live {action} MODEL/VERSION")
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
