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
from pathlib import Path
from typing import NamedTuple

from service.engine.head import Head
from service.engine.sentence import harmless
from service.errors import CommandError, HeadError, UnknownModel, UnknownVersion
from service.memory import give_back
from service.model import Model, Snapshot, by_key
from service.model_files import (
    Key,
    Stamp,
    check_folder,
    check_start,
    follow_folder,
    is_flat,
    misplaced_files,
    misplaced_sentence,
    model_files,
    model_of,
    stamp_of,
    unreadable_folders,
    unreadable_sentence,
)
from service.telemetry.counts import Off, Telemetry

logger = logging.getLogger(__name__)

Load = Callable[[Path], Head]


class Look(NamedTuple):
    """What a look at the folder found: the next snapshot, `NAME/VERSION` to why not, and what lies in wrong places."""

    models: Snapshot
    failures: Mapping[str, str]
    misplaced: Collection[Path]


class Repository:
    """Finds models by name and version, and keeps up with the folder.

    Attributes:
        models: name to version to model, versions ascending; replaced, never changed.
        newest: name to the model of the highest version.
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
        self.newest = newest_of(self.models)
        check_start(root, *look, strict=strict, replaces=replaces)
        log_start(root, default_model, look, replaces=replaces)

    def __repr__(self) -> str:
        return f"<Repository {self.root} {sum(map(len, self.models.values()))} versions, {len(self.failures)} failures>"

    def find(self, name: str, version: str | None = None) -> Model:
        """The model of that name, its highest version unless one is named.

        Raises:
            UnknownModel, UnknownVersion: the sentence says what is there.
        """
        newest = self.newest.get(name)
        if newest is None:
            there = f"expected one of {', '.join(self.models)}" if self.models else "no model is served"
            if failed := self.failed(name):
                raise UnknownModel(f"the model {name} is not served, it does not load: {failed}", code="model_failed")
            if name == self.default_model:
                raise UnknownModel(f"the default model {name} is not there (see --default-model); {there}")
            raise UnknownModel(f"there is no model of that name; {there}")
        if version is None:
            return newest
        versions = self.models[name]
        for model in versions.values():
            if model.version == version:
                return model
        if failed := self.failed(name, version):
            raise UnknownVersion(f"version {version} of model {name} does not load: {failed}", code="version_failed")
        raise UnknownVersion(f"model {name} has no such version; it has {', '.join(map(str, versions))}")

    def scan(self) -> Look:
        """Look at the folder, and load what is new there. Takes its time."""
        files = self.files()
        wanted = {name: versions for name, versions in self.models.items() if name not in self.unloaded}
        found, failures = find_unreadable(self.root, self.default_model, files, wanted)
        for (name, number), path in files.items():
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
            except OSError as error:  # that is the machine's, and passes
                ours = error.filename != str(path)  # such as a trial that cannot begin
                why = f"{path} does not load: {error!r}" if ours else unreadable_sentence(path, error)
                failures[key], model = harmless(why), current
            except Exception as error:  # whatever one file brings, the others are served
                ours = isinstance(error, CommandError)
                failures[key] = harmless(str(error) if ours else f"{path} does not load: {error!r}")
                if stamp is not None:
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
        whole = f"the models folder {self.root} "
        return {
            key: why.replace(f"{self.root}{os.sep}", "").replace(whole, "the models folder ")
            for key, why in self.failures.items()
        }

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
            if not self.failed(name):
                raise UnknownModel("there are no files of a model of that name")
            self.find(name)  # which raises, as for any request

    def swap(self, models: Snapshot, failures: Mapping[str, str], misplaced: Collection[Path]) -> None:
        """Serve another snapshot from now on, and log what is different."""
        log_changes(self.models, models, self.failures, failures)
        if self.default_model in self.models and self.default_model not in models:
            self.warn_of_default()
        for path in misplaced:
            if path not in self.misplaced:
                logger.warning(misplaced_sentence(self.root, path))
        self.models, self.failures, self.misplaced = models, failures, misplaced
        self.newest = newest_of(models)

    def warn_of_default(self) -> None:
        """Log that the default model is not there."""
        logger.warning(
            "the default model %s is not there, /v1/predict answers 404: see --default-model", self.default_model
        )

    async def watch(self) -> None:
        """Follow the folder until cancelled; the loading happens in a thread, the swap on the loop."""
        async for _ in follow_folder(self.root):
            try:
                self.swap(*await asyncio.to_thread(self.scan))
                await asyncio.to_thread(give_back)  # versions that went leave holes: 200 of them would cost 0.7 MB
            except OSError as error:  # the next change of the folder is another chance
                logger.warning("the models folder %s cannot be read, what is loaded goes on: %s", self.root, error)
            except Exception:
                logger.exception("a look at the models folder %s failed, what is loaded goes on", self.root)


def newest_of(models: Snapshot) -> dict[str, Model]:
    """Name to the model of the highest version."""
    return {name: versions[max(versions)] for name, versions in models.items()}


def find_unreadable(
    root: Path, default_model: str, files: Collection[Key], served: Snapshot
) -> tuple[dict[str, dict[int, Model]], dict[str, str]]:
    """Of what is served, the versions beside `files` whose folder cannot be read now, which go on, and the failures."""
    kept: dict[str, dict[int, Model]] = {}
    failures: dict[str, str] = {}
    models = by_key(served).values()
    for folder, why in unreadable_folders(root, default_model).items():
        there = [
            model
            for model in models
            if (model.name, model.version)[: len(folder)] == folder and (model.name, model.number) not in files
        ]
        for model in there:
            kept.setdefault(model.name, {})[model.number] = model
        keys = [f"{model.name}/{model.version}" for model in there] or ["/".join((*folder, "*", "*")[:2])]
        failures |= dict.fromkeys(keys, why)
    return kept, failures


def log_start(root: Path, default_model: str, look: Look, *, replaces: bool) -> None:
    """Log what fails at the start, and where another process has not done so before, what is hardly meant."""
    for key, why in look.failures.items():
        logger.warning("model %s does not load; it is not served: %s", key, why)
    if replaces:
        return
    for path in look.misplaced:
        logger.warning(misplaced_sentence(root, path))
    for model in look.models.get(default_model, {}).values():
        if is_flat(root, model.head.path):
            logger.info(
                "%s is served as version %s of the default model %s", model.head.path, model.version, model.name
            )


def log_changes(old: Snapshot, models: Snapshot, old_failures: Mapping[str, str], failures: Mapping[str, str]) -> None:
    """Log what comes, what goes, and what fails from now on."""
    before, after = by_key(old), by_key(models)
    for key in sorted(before.keys() | after.keys()):
        if key not in after:
            logger.info("model %s is no longer served", key)
        elif after[key] is not before.get(key):
            logger.info("model %s %s", key, "was replaced by its new file" if key in before else "is now served")
    new: dict[str, list[str]] = {}
    for key, why in failures.items():
        if old_failures.get(key) != why:
            new.setdefault(why, []).append(key)
    for why, keys in new.items():  # one line where a folder takes many with it
        kept = "the version loaded before stays in service" if keys[0] in after else "it is not served"
        logger.warning("model %s does not load; %s: %s", ", ".join(keys), kept, why)
