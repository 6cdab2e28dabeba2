"""Models by name and by file."""

from pathlib import Path

import pytest

from service.commands.model_files import find_file
from service.errors import CannotStart


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two models, one in three versions."""
    for place in ("shop/1", "shop/2", "shop/10", "digits/1", "digits/old"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "model.onnx").touch()
    return tmp_path


def test_a_name_is_the_highest_version_and_a_version_can_be_named(models: Path) -> None:
    assert find_file("shop", models) == models / "shop" / "10" / "model.onnx"
    assert find_file("shop/2", models) == models / "shop" / "2" / "model.onnx"
    assert find_file(str(models / "digits" / "old" / "model.onnx"), models) == models / "digits" / "old" / "model.onnx"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("shops", "no model of that name in .*; expected digits, shop"),
        ("shop/3", "with the versions 1, 2, 10; expected"),
        ("shops/1", "expected digits, shop"),
    ],
)
def test_a_model_that_is_not_there_is_told_with_those_that_are(models: Path, name: str, sentence: str) -> None:
    with pytest.raises(CannotStart, match=sentence):
        find_file(name, models)
