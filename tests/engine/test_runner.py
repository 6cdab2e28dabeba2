"""What is wrong with what a runner answers, from the arrays alone and in a service as it runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from service.engine.runner import check_numbers
from service.errors import RunFailed
from tests.conftest import Running
from tests.engine.hostile import nan_above

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=3), elements=FLOATS))
def test_nan_alone_is_found_whatever_else_is_there(values: np.ndarray) -> None:
    if np.isnan(values).any():
        with pytest.raises(RunFailed, match="the head answered NaN in its scores"):
            check_numbers({"scores": values})
    else:
        check_numbers({"scores": values})
    check_numbers({"scores": np.where(np.isnan(values), -np.inf, values)})


def test_nan_of_a_head_is_never_answered(tmp_path: Path, run: Callable[..., Running]) -> None:
    path = tmp_path / "digits/1/model.onnx"
    path.parent.mkdir(parents=True)
    nan_above(path)
    running = run(models=tmp_path, default_model="digits")
    url = "/v2/models/digits/infer"
    good, bad = [1.0] * 10, [1.0] * 9 + [101.0]
    for outputs in (["probabilities"], ["log_probabilities", "logsumexp", "entropy"]):
        answer = running.predict({"logits": bad, "outputs": outputs}, model="digits")
        assert (answer.status_code, answer.json()["code"]) == (500, "run_failed")
        assert answer.json()["error"].startswith("the head answered NaN in its ")
        assert running.predict({"logits": good, "outputs": outputs}, model="digits").status_code == 200
    tensor = {"name": "logits", "datatype": "FP32", "shape": [1, 10], "data": bad}
    assert running.client.post(url, json={"inputs": [tensor]}).status_code == 500
    assert "nan" not in running.client.get("/metrics").text.lower()
