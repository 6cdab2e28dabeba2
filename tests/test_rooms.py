"""The way into the code: every path and name in service/README.md is there, and every room is in it."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

SERVICE = ROOT / "service"
README = (SERVICE / "README.md").read_text()
PATHS = sorted(set(re.findall(r"\b[a-z_]+(?:/[a-z_]+)*/?(?:\.py)\b", README)))
NAMES = sorted(set(re.findall(r"`([a-z_/]+\.py):(\w+)`", README)))
ROOMS = re.findall(r"^\| (`.*?`) \|", README.partition("## To add")[0], re.MULTILINE)


@pytest.mark.parametrize("path", PATHS)
def test_every_file_that_is_named_is_there(path: str) -> None:
    assert (SERVICE / path).is_file()


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_every_name_stands_in_its_file(path: str, name: str) -> None:
    assert re.search(rf"^\s*(?:class |def )?{name}\b", (SERVICE / path).read_text(), re.MULTILINE)


def test_every_room_has_its_line() -> None:
    named = {room.strip("`/") for line in ROOMS for room in line.split(", ")}
    there = {path.name for path in SERVICE.iterdir() if is_room(path)}
    assert named == there


def is_room(path: Path) -> bool:
    """Whether it is a folder with code, or a module."""
    in_folder = (path / "__init__.py").is_file() or (path / "main.js").is_file()
    return (path.suffix == ".py" and path.stem != "__init__") or in_folder
