"""What metadata may say of a head that is served."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper

from service.engine.head import Head
from service.errors import HeadError
from service.metadata import KEY
from tests.heads_made import head


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), "warm", None])
@pytest.mark.parametrize("of_group", [False, True])
def test_a_temperature_that_is_none_is_refused(value: Any, of_group: bool, tmp_path: Path) -> None:
    calibrator = {"temperature": 1.0, "group_temperatures": {"a": value}} if of_group else {"temperature": value}
    path = head(tmp_path / "model.onnx")
    model = onnx.load(path)
    helper.set_model_props(model, {KEY: json.dumps({"calibrator": {"method": "temperature", **calibrator}})})
    onnx.save(model, path)
    of = " of the group a" if of_group else ""
    with pytest.raises(HeadError, match=f"has the temperature .*{of} in its metadata; expected a finite number above"):
        Head(path)
