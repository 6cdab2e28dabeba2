"""A model by its name in a models folder, or by its file."""

from argparse import ArgumentParser
from pathlib import Path

from service.errors import CannotStart


def add_arguments(parser: ArgumentParser) -> None:
    """Declare `--model` and `--models`."""
    parser.add_argument(
        "--model", required=True, metavar="NAME|FILE", help="a model, NAME or NAME/VERSION, or a head file"
    )
    parser.add_argument("--models", type=Path, default=Path("models"), help="models folder (default: models)")


def find_file(model: str, models: Path) -> Path:
    """The head file: of the highest version, unless one is named.

    Raises:
        CannotStart: there is none; the sentence says what is there.
    """
    if Path(model).is_file():
        return Path(model)
    name, _, version = model.partition("/")
    numbers = sorted(int(file.parent.name) for file in (models / name).glob("[1-9]*/model.onnx") if is_version(file))
    if (version or numbers) and (not version or version in map(str, numbers)):
        return models / name / (version or str(numbers[-1])) / "model.onnx"
    there = ", ".join(sorted({file.parts[-3] for file in models.glob("*/*/model.onnx") if is_version(file)}))
    versions = f", with the versions {', '.join(map(str, numbers))}" if numbers else ""
    raise CannotStart(
        f"there is no file {model}, and no model of that name in {models}{versions}; expected {there or 'a head file'}"
    )


def is_version(file: Path) -> bool:
    return file.parent.name.isdecimal()
