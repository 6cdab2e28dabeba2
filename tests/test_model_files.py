"""Which files of a folder are looked at, and what is said of folders and files that cannot be."""

import asyncio
import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.errors import CannotStart
from service.model_files import (
    check_folder,
    follow_folder,
    misplaced_files,
    misplaced_sentence,
    model_files,
    unreadable_folders,
)


def place(root: Path, *paths: str) -> None:
    """Empty files."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def forbid(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Refuse to list these folders, as the system does for any user but root."""
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path) in folders:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_a_file_in_the_place_of_the_folder_is_called_a_file(tmp_path: Path) -> None:
    place(tmp_path, "README.md")
    with pytest.raises(CannotStart, match=r"README\.md is a file; expected a folder"):
        check_folder(tmp_path / "README.md")


def test_a_folder_that_may_not_be_read_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch, tmp_path)
    with pytest.raises(
        CannotStart, match=r"cannot be read \(Permission denied\); expected it to be there, readable by"
    ):
        check_folder(tmp_path)


def test_folders_that_cannot_be_read_are_told_from_those_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path, "digits/1/model.onnx", "other/1/model.onnx", "lost+found/x", "file")
    (tmp_path / "gone").symlink_to("nowhere")
    assert unreadable_folders(tmp_path, "softmax") == {}
    forbid(monkeypatch, *(tmp_path / name for name in ("digits", "lost+found")))
    found = unreadable_folders(tmp_path, "softmax")
    assert found.keys() == {("digits",)}
    assert found["digits",].startswith(f"the folder {tmp_path / 'digits'} cannot be read (Permission denied)")
    monkeypatch.undo()
    shutil.rmtree(tmp_path)
    assert unreadable_folders(tmp_path, "softmax").keys() == {()}


def test_a_version_that_is_no_number_is_misplaced(tmp_path: Path) -> None:
    place(tmp_path, "v/abc/model.onnx", "neg/-1/model.onnx", "good/1/model.onnx", "good/..data/model.onnx")
    assert model_files(tmp_path, "softmax").keys() == {("good", 1)}
    found = misplaced_files(tmp_path)
    assert found == [tmp_path / "neg/-1/model.onnx", tmp_path / "v/abc/model.onnx"]
    sentence = f"{tmp_path / 'v/abc/model.onnx'} is not served; expected {tmp_path / 'v/1/model.onnx'}"
    assert misplaced_sentence(tmp_path, found[1]) == sentence


def test_a_name_that_is_no_text_is_misplaced_and_said_with_its_bytes(tmp_path: Path) -> None:
    bad = os.fsdecode(b"x\xff")
    place(tmp_path, f"{bad}/1/model.onnx", f"{bad}/model.onnx", f"good/{bad}/model.onnx", "good/1/model.onnx")
    assert model_files(tmp_path, "softmax").keys() == {("good", 1)}
    assert misplaced_files(tmp_path) == [tmp_path / "good" / bad, tmp_path / bad]
    sentence = f"{tmp_path}/x\\xff has a name that is not UTF-8, nothing in it is served; expected another name"
    assert misplaced_sentence(tmp_path, tmp_path / bad) == sentence


def test_changes_that_cannot_be_followed_are_looked_for_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "OS file watch limit reached.")

    monkeypatch.setattr("service.model_files.awatch", refuse)
    monkeypatch.setattr("service.model_files.LOOK_S", 0.01)

    async def look(n: int) -> None:
        looks = follow_folder(tmp_path)
        for _ in range(n):
            await anext(looks)

    asyncio.run(look(3))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"changes in the models folder {tmp_path} cannot be followed, it is looked at every")
    assert line.endswith("OS file watch limit reached.")
