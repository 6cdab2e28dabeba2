"""The models that are served: names, versions, and how new files take the place of old ones without a failed request.

What lies in `ROOT/NAME/VERSION/model.onnx` is served; a version is a positive integer, the highest is the default one.
A folder of one model, as object stores hand it over, may have it in `ROOT/VERSION/model.onnx` or `ROOT/model.onnx`.
One snapshot, replaced as a whole on the event loop, is all the mutable state: a request that has found its model
keeps it, whatever happens to the file.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from watchfiles import awatch

from service.engine.head import Head
from service.errors import CommandError, HeadError, UnknownModel, UnknownVersion
from service.model_files import (
    Key,
    Stamp,
    check_folder,
    check_start,
    misplaced_files,
    misplaced_sentence,
    model_files,
    model_of,
    stamp_of,
)
from service.telemetry.counts import Off, Telemetry
from service.telemetry.tally import SILENCE, Tally

logger = logging.getLogger(__name__)

Load = Callable[[Path], Head]


class Model:
    """One version of one model, loaded and warm: its signature, and the head that runs it."""

    def __init__(self, name: str, number: int, head: Head, stamp: Stamp, tally: Tally = SILENCE) -> None:
        self.name = name
        self.number = number
        self.version = str(number)
        self.head = head
        self.stamp: Stamp | None = stamp
        self.signature = replace(head.signature, name=name, version=self.version)
        self.tally = head.tally = tally

    def __repr__(self) -> str:
        return f"<Model {self.name}/{self.version} {self.head!r}>"

    def summary(self) -> dict[str, Any]:
        """The line that `/v1/models` has of it."""
        return {
            "model": self.name,
            "version": self.version,
            "family": self.signature.family.name,
            "takes": self.signature.takes,
            "classes": self.signature.classes,
            "method": self.signature.method,
            "temperature": self.signature.temperature,
            "provider": self.head.provider,
        }

    def details(self) -> dict[str, Any]:
        """Everything that its file says, and what a run costs here."""
        metadata = self.head.metadata.model_dump(mode="json", exclude_none=True)
        for scores in metadata["conformal"].values():
            if isinstance(scores, dict):  # the tables are for machines, and long
                scores.pop("tables", None)
        cost = {"run_s": self.head.seconds_per_run, "number_s": self.head.seconds_per_number}
        use = self.signature.family.use
        return {
            **self.summary(),
            "use": use,
            "inputs": list(self.signature.inputs),
            "metadata": metadata,
            "measured_cost": cost,
        }


Snapshot = Mapping[str, Mapping[int, Model]]


class Look(NamedTuple):
    """What a look at the folder found: the next snapshot, `NAME/VERSION` to why not, and what lies in wrong places."""

    models: Snapshot
    failures: Mapping[str, str]
    misplaced: Collection[Path]


class Repository:
    """Finds models by name and version, and keeps up with the folder.

    Attributes:
        models: name to version to model, versions ascending; replaced, never changed.
        failures: `NAME/VERSION` to why its file is not served.
        misplaced: files that lie where none is served.
        unloaded: models that were asked to be left out.
    """

    def __init__(
        self,
        root: Path,
        load: Load,
        telemetry: Telemetry | None = None,
        *,
        default_model: str = "softmax",
        replaces: bool = False,
        strict: bool = False,
    ) -> None:
        """Load everything there is.

        Args:
            root: the models folder.
            load: makes a head of a file.
            telemetry: what counts the answers of each version.
            default_model: the name of what lies in the folder without one.
            replaces: another process began with this folder; what fails by now is logged, and the rest is served.
            strict: every file must load; else a version may fail beside one of the same model that does not.

        Raises:
            CannotStart: no folder, nothing in it, or a model that does not load; the sentence says what to do.
        """
        self.root = root
        self.load = load
        self.telemetry = telemetry or Off()
        self.default_model = default_model
        self.unloaded: set[str] = set()
        self.models: Snapshot = {}
        self.failures: Mapping[str, str] = {}
        self.misplaced: Collection[Path] = ()
        self.tried: dict[str, tuple[Stamp, str]] = {}  # the failures: the same file would fail again, and take its time
        check_folder(root)
        self.models, self.failures, self.misplaced = look = self.scan()
        check_start(root, *look, strict=strict, replaces=replaces)
        for key, why in self.failures.items():
            logger.warning("model %s does not load, it is not served: %s", key, why)
        if replaces:
            return
        for path in self.misplaced:
            logger.warning(misplaced_sentence(path))
        if default_model not in self.models:
            logger.warning(
                "the default model %s is not there, /v1/predict answers 404: see --default-model", default_model
            )

    def __repr__(self) -> str:
        return f"<Repository {self.root} {sum(map(len, self.models.values()))} versions, {len(self.failures)} failures>"

    def find(self, name: str, version: str | None = None) -> Model:
        """The model of that name, its highest version unless one is named.

        Raises:
            UnknownModel, UnknownVersion: the sentence says what is there.
        """
        versions = self.models.get(name)
        if versions is None:
            there = ", ".join(self.models) or "none"
            if failed := self.failed(name):
                raise UnknownModel(f"the model {name} is not served, it does not load: {failed}", code="model_failed")
            if name == self.default_model:
                raise UnknownModel(f"the default model {name} is not there (see --default-model); there are {there}")
            raise UnknownModel(f"there is no model of that name; there are {there}")
        if version is None:
            return versions[max(versions)]
        for model in versions.values():
            if model.version == version:
                return model
        if failed := self.failed(name, version):
            raise UnknownVersion(f"version {version} of model {name} does not load: {failed}", code="version_failed")
        raise UnknownVersion(f"model {name} has no such version; it has {', '.join(map(str, versions))}")

    def scan(self) -> Look:
        """Look at the folder, and load what is new there. Takes its time."""
        found: dict[str, dict[int, Model]] = {}
        failures: dict[str, str] = {}
        for (name, number), path in self.files().items():
            if name in self.unloaded:
                continue
            current = self.models.get(name, {}).get(number)
            key = f"{name}/{number}"
            stamp = None
            try:
                stamp = stamp_of(path)
                self.refuse_tried(key, stamp)
                unchanged = current is not None and current.stamp == stamp
                model = current if unchanged else self.load_version(name, number, path, stamp)
            except FileNotFoundError:  # gone since the look; its going is the next change of the folder
                model = current
            except Exception as error:  # whatever one file brings, the others are served
                ours = isinstance(error, CommandError)
                failures[key] = str(error) if ours else f"{path} does not load: {error!r}"
                if stamp is not None and not isinstance(error, OSError):  # that is the machine's, and passes
                    self.tried[key] = stamp, failures[key]
                model = current
            if model is not None:
                found.setdefault(name, {})[number] = model
        self.tried = {key: tried for key, tried in self.tried.items() if key in failures}
        models = {name: dict(sorted(versions.items())) for name, versions in sorted(found.items())}
        return Look(models, failures, misplaced_files(self.root))

    def refuse_tried(self, key: str, stamp: Stamp) -> None:
        """Raise HeadError for a file that has failed as it is."""
        before, why = self.tried.get(key, (None, ""))
        if before == stamp:
            raise HeadError(why)

    def public_failures(self) -> dict[str, str]:
        """The failures as clients may see them: files are named by MODEL/VERSION, without where the folder lies."""
        return {key: why.replace(f"{self.root}{os.sep}", "") for key, why in self.failures.items()}

    def failed(self, name: str, version: str | None = None) -> str:
        """Why a model, or a version of it, is not served, as clients may see it; empty where nothing failed."""
        return "; ".join(
            why
            for key, why in self.public_failures().items()
            if (model_of(key) == name if version is None else key == f"{name}/{version}")
        )

    def files(self) -> dict[Key, Path]:
        """The files there are; what seems gone was looked for twice.

        A folder that is swapped as a whole, as Kubernetes swaps a ConfigMap's, looks empty to who reads it just then.
        """
        files = model_files(self.root, self.default_model)
        served = {(name, number) for name, versions in self.models.items() for number in versions}
        return files if served <= files.keys() else model_files(self.root, self.default_model)

    def load_version(self, name: str, number: int, path: Path, stamp: Stamp) -> Model:
        """A version, loaded from its file."""
        return Model(name, number, self.load(path), stamp, self.telemetry.of(name, str(number)))

    async def reload(self, name: str, *, served: bool) -> None:
        """Serve a model as its files are now, or serve it no more until the next reload.

        Raises:
            UnknownModel: there are no files of that name, or none that loads; the sentence says why.
        """
        if served:
            self.unloaded.discard(name)
            self.tried = {key: tried for key, tried in self.tried.items() if model_of(key) != name}
            for model in self.models.get(name, {}).values():
                if model.head.stopped:
                    model.stamp = None  # its file counts as new
        else:
            self.find(name)
            self.unloaded.add(name)
        self.swap(*await asyncio.to_thread(self.scan))
        if served and name not in self.models:
            why = [reason for key, reason in self.failures.items() if model_of(key) == name]
            raise UnknownModel("; ".join(why) or "there are no files of a model of that name")

    def swap(self, models: Snapshot, failures: Mapping[str, str], misplaced: Collection[Path]) -> None:
        """Serve another snapshot from now on, and log what is different."""
        before, after = by_key(self.models), by_key(models)
        for key in sorted(before.keys() | after.keys()):
            if key not in after:
                logger.info("model %s is no longer served", key)
            elif after[key] is not before.get(key):
                logger.info("model %s is served, %s", key, "replaced" if key in before else "new")
        for key, why in failures.items():
            if self.failures.get(key) != why:
                kept = "the version loaded before goes on" if key in after else "it is not served"
                logger.warning("model %s does not load, %s: %s", key, kept, why)
        for path in misplaced:
            if path not in self.misplaced:
                logger.warning(misplaced_sentence(path))
        self.models, self.failures, self.misplaced = models, failures, misplaced

    async def watch(self) -> None:
        """Follow the folder until cancelled; the loading happens in a thread, the swap on the loop."""
        # without a filter: the usual one sees nothing that lies below a folder such as .venv or .git
        async for _ in awatch(self.root, watch_filter=None, step=250, debounce=1000, ignore_permission_denied=True):
            try:
                self.swap(*await asyncio.to_thread(self.scan))
            except Exception as error:  # the next change of the folder is another chance
                logger.warning("the models folder %s cannot be read, what is loaded goes on: %s", self.root, error)


def stopped_heads(models: Snapshot) -> dict[str, str]:
    """`NAME/VERSION` to why its head was taken out of service; a new file, or a reload, brings it back."""
    return {key: model.head.stopped for key, model in by_key(models).items() if model.head.stopped}


def by_key(models: Snapshot) -> dict[str, Model]:
    """A snapshot by `NAME/VERSION`."""
    return {f"{name}/{number}": model for name, versions in models.items() for number, model in versions.items()}
