"""The process that writes a new version of a head, started from here and waited for."""

import asyncio
import importlib.util
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from service.model_files import model_files

WRITING_S: Final = 300.0


class Refused(Exception):
    """What was asked for cannot be done: a code, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Place:
    """Where heads are: the models folder, the model in it that has no name, and the journal.

    Attributes:
        sampled: labels come for a sample of the answers.
    """

    journal: Path
    models: Path
    default_model: str = "softmax"
    sampled: bool = False

    def command(self, name: str) -> str:
        """What to type where the models folder can be written."""
        folders = ("--journal", str(self.journal), "--models", str(self.models))
        return shlex.join(["calibrant", "live", "promote", name, *folders])


def unwritable(place: Place, name: str) -> str | None:
    """Why a new version cannot be written from here; none where it can."""
    if importlib.util.find_spec("onnx") is None:
        return "the package onnx is not installed here"
    model, _, version = name.rpartition("/")
    path = model_files(place.models, place.default_model).get((model, int(version)))
    if path is None:
        return f"{name} is not in the models folder"
    folder = versions_folder(path, place.models)
    return None if os.access(folder, os.W_OK | os.X_OK) else "the models folder cannot be written from here"


def superseded(place: Place, name: str) -> str | None:
    """Why a version's refit would replace a newer one; none where there is no newer one."""
    model, _, version = name.rpartition("/")
    newest = max((one for known, one in model_files(place.models, place.default_model) if known == model), default=0)
    if newest <= int(version):
        return None
    return f"{model}/{newest} has taken the place of {name}; expected the newest version"


def versions_folder(path: Path, models: Path) -> Path:
    """The folder of the versions of the head at `path`: that of its version's, but where it lies in `models` itself."""
    return models if path.parent == models else path.parent.parent


async def write(place: Place, message: dict[str, Any]) -> str:
    """Run the process that writes, and return the number of the version.

    Raises:
        Refused: it failed; the sentence is its own.
    """
    folders = ("--journal", place.journal, "--models", place.models, "--default-model", place.default_model)
    options = [option for option in ("back", "force") if message.get(option)]
    tag = ("--etag", message["etag"]) if message.get("etag") else ()
    command = ["live", "promote", message["model"], "--by", message["by"], *tag, *(f"--{one}" for one in options)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", *command, *map(str, folders),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(WRITING_S):
            printed, errors = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        lines = errors.decode(errors="replace").strip().splitlines() or ["it failed"]
        raise Refused("promotion_failed", lines[-1])
    return printed.decode().split(":")[0].rpartition("/")[2]
