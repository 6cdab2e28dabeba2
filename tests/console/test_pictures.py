"""Pictures: the command takes them in the size and the colours that were asked for."""

import struct
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.conftest import Running
from tests.console import pictures


@pytest.mark.parametrize(("size", "shape"), [("1400", (1400, 900)), ("390", (390, 844))])
def test_a_picture_is_of_the_size_that_was_asked_for(
    browser: Browser,
    served: Running,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: str,
    shape: tuple[int, int],
) -> None:
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    pictures.take(browser, served, "models", size, "dark")
    assert struct.unpack(">II", (tmp_path / f"models-{size}-dark.png").read_bytes()[16:24]) == shape
