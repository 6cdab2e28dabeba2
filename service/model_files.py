"""Which files of a models folder are served, under which names and versions, and whether they are enough."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from service.errors import CannotStart

Stamp = tuple[int, int, int]
Key = tuple[str, int]  # name and version
HOW: Final = "with `calibrant export --name NAME`"


def check_folder(root: Path) -> None:
    """Raise CannotStart where there is no such folder."""
    if not root.is_dir():
        raise CannotStart(f"the models folder {root} is not there: name it with --models, or make a head for it {HOW}")


def model_files(root: Path, default_model: str) -> dict[Key, Path]:
    """The files in the folder, by name and version; dot-folders, such as the `..data` of a ConfigMap, do not count."""
    places = [(default_model, "1", path) for path in root.glob("model.onnx")]
    places += [(default_model, path.parent.name, path) for path in sorted(root.glob("*/model.onnx"))]
    places += [(path.parent.parent.name, path.parent.name, path) for path in sorted(root.glob("[!.]*/*/model.onnx"))]
    return {(name, int(version)): path for name, version, path in places if is_version(version)}


def misplaced_files(root: Path) -> list[Path]:
    """The files that lie in the folder of a model, where versions were expected."""
    return [path for path in sorted(root.glob("[!.]*/model.onnx")) if not is_version(path.parent.name)]


def misplaced_sentence(path: Path) -> str:
    """What to do about a file in a wrong place."""
    return f"{path} is not served; expected {path.parent / '1' / path.name}"


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
            "; ".join(map(misplaced_sentence, misplaced))
            or f"the models folder {root} has no NAME/VERSION/model.onnx: make one {HOW}"
        )


def model_of(key: str) -> str:
    """The name in `NAME/VERSION`."""
    return key.rpartition("/")[0]


def is_version(name: str) -> bool:
    """Whether a folder's name is a version."""
    return name.isascii() and name.isdecimal() and name[0] != "0"


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is replaced."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
