"""Which files of a models folder are served, under which names and versions, whether they are enough, and changes."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Final

from watchfiles import awatch

from service.errors import CannotStart

logger = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
Key = tuple[str, int]  # name and version
HOW: Final = "with `calibrant export --name NAME`"
LOOK_S: Final = 1.0  # between two looks at whether the models folder is still there


def check_folder(root: Path) -> None:
    """Raise CannotStart where there is no such folder, or none that can be read."""
    try:
        os.scandir(root).close()
    except FileNotFoundError:
        raise CannotStart(
            f"the models folder {root} is not there: name it with --models, or make a head for it {HOW}"
        ) from None
    except NotADirectoryError:
        raise CannotStart(f"the models folder {root} is a file; expected a folder (--models)") from None
    except OSError as error:
        raise CannotStart(f"the models folder {unreadable_sentence(root, error)}") from error


def model_files(root: Path, default_model: str) -> dict[Key, Path]:
    """The files in the folder, by name and version; dot-folders, such as the `..data` of a ConfigMap, do not count."""
    places = [(default_model, "1", path) for path in root.glob("model.onnx")]
    places += [(default_model, path.parent.name, path) for path in sorted(root.glob("*/model.onnx"))]
    places += [(path.parent.parent.name, path.parent.name, path) for path in sorted(root.glob("[!.]*/*/model.onnx"))]
    return {(name, int(version)): path for name, version, path in places if is_version(version) and is_text(name)}


def unreadable_folders(root: Path, default_model: str) -> dict[tuple[str, ...], str]:
    """The folders that cannot be read, as `()`, `(NAME,)` or `(NAME, VERSION)`, to why."""
    folders: dict[Path, tuple[str, ...]] = {root: ()}
    for folder in root.glob("[!.]*"):
        if folder.name != "lost+found" and is_text(folder.name):  # the file system's own, at the root of a volume
            folders[folder] = (default_model, folder.name) if is_version(folder.name) else (folder.name,)
    for folder in root.glob("[!.]*/*"):
        if is_version(folder.name) and is_text(folder.parent.name):
            folders[folder] = (folder.parent.name, folder.name)
    found = {}
    for folder, key in folders.items():
        try:
            if len(key) < 2:
                os.scandir(folder).close()
            else:
                (folder / "model.onnx").stat()
        except OSError as error:
            if folder == root or not isinstance(error, FileNotFoundError | NotADirectoryError):
                found[key] = f"the {'' if key else 'models '}folder {unreadable_sentence(folder, error)}"
    return found


def unreadable_sentence(path: Path, error: OSError) -> str:
    """What to do about a file or a folder that cannot be read."""
    return f"{path} cannot be read ({error.strerror or error}); expected it to be there, readable by the service's user"


def misplaced_files(root: Path) -> list[Path]:
    """The files that lie in the folder of a model, where versions were expected, or in one that is no version.

    With them whatever has a name that is no text, which can be no model's: answers and the watch want UTF-8.
    """
    places = [*root.glob("[!.]*/model.onnx"), *root.glob("[!.]*/[!.]*/model.onnx")]
    named = [*root.glob("[!.]*"), *root.glob("[!.]*/[!.]*")]
    return sorted(
        [path for path in places if not is_version(path.parent.name) and is_text(str(path.relative_to(root)))]
        + [path for path in named if not is_text(path.name)]
    )


def misplaced_sentence(root: Path, path: Path) -> str:
    """What to do about a file in a wrong place."""
    if not is_text(path.name):
        return f"{escaped(path)} has a name that is not UTF-8, nothing in it is served; expected another name"
    name = path.relative_to(root).parts[0]
    return f"{path} is not served; expected {root / name / '1' / path.name}"


def is_flat(root: Path, path: Path) -> bool:
    """Whether a file lies in the folder without the name of its model."""
    return len(path.relative_to(root).parts) < 3


def check_start(
    root: Path,
    models: Collection[str],
    failures: Mapping[str, str],
    misplaced: Collection[Path],
    *,
    strict: bool,
    replaces: bool,
) -> None:
    """Pass where `models` are enough to begin with; `failures` tell of `NAME/VERSION` why it does not load.

    Raises:
        CannotStart: there are none; or a version failed, and none of its model is there or the start is `strict`,
            unless another process began with this folder, which `replaces` says.
    """
    fatal = [why for key, why in failures.items() if strict or model_of(key) not in models]
    if fatal and not (replaces and models):
        raise CannotStart("; ".join(dict.fromkeys(fatal)))
    if not models:
        raise CannotStart(
            "; ".join(misplaced_sentence(root, path) for path in misplaced)
            or f"the models folder {root} has no NAME/VERSION/model.onnx: make one {HOW}"
        )


def model_of(key: str) -> str:
    """The name in `NAME/VERSION`."""
    return key.rpartition("/")[0]


def is_version(name: str) -> bool:
    """Whether a folder's name is a version."""
    return name.isascii() and name.isdecimal() and name[0] != "0"


def is_text(name: str) -> bool:
    """Whether a name is UTF-8: Python stands surrogates for the bytes that are not, which no answer can carry."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(path: Path) -> str:
    """A path for people, with backslashes and digits in the place of the bytes that are no text."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is replaced."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


async def follow_folder(root: Path) -> AsyncIterator[None]:
    """Yield after each change in a folder, for ever: also where it goes, comes back, or another takes its place.

    Where changes cannot be followed, as below a name that is not UTF-8, it yields every few seconds instead.
    """
    is_followed = True
    while True:
        watched, n_looks = identity_of(root), 0
        try:
            async with aclosing(follow_changes(root, watched)) as looks:
                async for is_change in looks:
                    n_looks += 1
                    is_followed = is_followed or n_looks > 2  # whatever stood in the way has gone
                    if is_change:
                        yield
        except Exception as error:  # the operating system's, or what watchfiles makes of a name
            if not isinstance(error, OSError) or (watched is not None and identity_of(root) == watched):
                if is_followed:
                    logger.warning(
                        "changes in the models folder %s cannot be followed, it is looked at every %g s: %s",
                        escaped(root),
                        2 * LOOK_S,
                        sentence_of(error),
                    )
                is_followed = False
                await asyncio.sleep(LOOK_S)
                if not n_looks:  # else the next to begin yields first
                    yield
        if watched is None:
            await asyncio.sleep(LOOK_S)


async def follow_changes(root: Path, watched: tuple[int, int] | None) -> AsyncGenerator[bool]:
    """Whether the folder has to be looked at, at the beginning and again and again, until it is another one."""
    # without a filter: the usual one sees nothing that lies below a folder such as .venv or .git
    changes = awatch(
        root,
        watch_filter=None,
        step=250,
        debounce=1000,
        rust_timeout=round(LOOK_S * 1e3),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    async with aclosing(changes):
        is_new = True
        async for changed in changes:
            is_other = identity_of(root) != watched
            yield bool(changed) or is_new or is_other
            is_new = False
            if is_other:
                return


def sentence_of(error: Exception) -> str:
    """What an error says; of a group, what its first one does."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) or repr(error)


def identity_of(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from another of the same name; none where it cannot be listed."""
    try:
        os.scandir(folder).close()
        stat = folder.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
