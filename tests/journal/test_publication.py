"""The process that writes a version: what it says comes back, whether it works or not."""

import asyncio
from pathlib import Path

import pytest

from service.journal.publication import Place, Refused, superseded, unwritable, versions_folder, write
from tests import heads_made


def test_the_folder_of_the_versions_is_that_of_the_model_or_the_models_folder_itself() -> None:
    models = Path("models")
    assert versions_folder(models / "m" / "1" / "model.onnx", models) == models / "m"
    assert versions_folder(models / "1" / "model.onnx", models) == models
    assert versions_folder(models / "model.onnx", models) == models


def test_a_version_that_is_not_there_cannot_be_followed(tmp_path: Path) -> None:
    heads_made.head(tmp_path / "m" / "1" / "model.onnx")
    place = Place(tmp_path / "j", tmp_path)
    assert unwritable(place, "m/1") is None
    assert unwritable(place, "m/2") == "m/2 is not in the models folder"


def test_a_version_is_superseded_by_a_newer_one_of_its_model(tmp_path: Path) -> None:
    for name, version in (("m", 1), ("m", 10), ("n", 99)):
        heads_made.head(tmp_path / name / str(version) / "model.onnx")
    place = Place(tmp_path / "j", tmp_path)
    assert superseded(place, "m/10") is None
    assert superseded(place, "m/1") == "m/10 has taken the place of m/1; expected the newest version"


def test_what_the_process_says_of_its_failure_is_told(tmp_path: Path) -> None:
    heads_made.head(tmp_path / "m" / "1" / "model.onnx")
    with pytest.raises(Refused, match=r"does not answer; .*; expected a service that runs") as caught:
        asyncio.run(write(Place(tmp_path / "j", tmp_path), {"model": "m/1", "by": "ann", "etag": "0"}))
    assert caught.value.code == "promotion_failed"
