"""Which files of a models folder are served, under which names and versions."""

from pathlib import Path

Stamp = tuple[int, int, int]
Key = tuple[str, int]  # name and version


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


def is_version(name: str) -> bool:
    """Whether a folder's name is a version."""
    return name.isascii() and name.isdecimal() and name[0] != "0"


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is replaced."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
