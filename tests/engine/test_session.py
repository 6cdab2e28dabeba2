"""Sessions: the provider that was asked for is the one that runs, or the log says which; past the wrapper, or in it."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from service.engine.session import PROVIDERS, open_session, run_options, run_session, unwrap_binding
from service.errors import HeadError
from tests.conftest import ROOT

SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"
NAMES = ("probabilities",)
FEED = {"logits": np.array([[1, 2, 3, 4]], np.float32)}


def test_auto_runs_on_the_cpu_where_cuda_is_there_and_does_not_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wanted: list[list[str]] = []

    class WithoutDevice:
        """What ONNX Runtime makes of a machine whose GPU does not start."""

        def __init__(self, model: object, options: object, *, providers: list[str]) -> None:
            wanted.append(providers)

        def get_providers(self) -> list[str]:
            return [PROVIDERS["cpu"]]

    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    monkeypatch.setattr(ort, "InferenceSession", WithoutDevice)
    with caplog.at_level(logging.WARNING):
        session = open_session(SHIPPED, SHIPPED, "auto", 1)
    assert session.get_providers() == [PROVIDERS["cpu"]]
    assert wanted == [[PROVIDERS["cuda"], PROVIDERS["cpu"]], [PROVIDERS["cpu"]]]
    assert [record.getMessage() for record in caplog.records] == [f"provider auto: cuda did not start for {SHIPPED}"]


def run_wrapped(*_: Any) -> list[Any]:
    """As a session's wrapper runs."""
    return ["the wrapper's"]


def test_this_onnxruntime_has_the_names_and_answers_the_same_past_its_wrapper() -> None:
    session = open_session(SHIPPED, SHIPPED, "cpu", 1)
    core, binding = session._sess, session.io_binding()
    past = SimpleNamespace(_sess=core, run=run_wrapped)
    (found,), (expected,) = run_session(past, NAMES, FEED, run_options()), session.run(NAMES, FEED)
    assert found.tobytes() == expected.tobytes()
    assert unwrap_binding(session, binding) == (core, binding._iobinding)


@pytest.mark.parametrize("missing", ["_sess", "_iobinding"])
def test_without_a_name_the_wrapper_runs(missing: str) -> None:
    session, binding = SimpleNamespace(run=run_wrapped, _sess=object()), SimpleNamespace(_iobinding=object())
    delattr(session if missing == "_sess" else binding, missing)
    assert unwrap_binding(session, binding) == (session, binding)
    if missing == "_sess":
        assert run_session(session, NAMES, FEED, run_options()) == ["the wrapper's"]


def test_the_format_that_the_check_of_the_contents_cannot_read_is_refused(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(SHIPPED, options, providers=[PROVIDERS["cpu"]])
    content = (tmp_path / "model.ort").read_bytes()
    assert content[4:8] == b"ORTM"
    with pytest.raises(HeadError, match="is not an ONNX model that can be loaded"):
        open_session(SHIPPED, content, "cpu", 1)
