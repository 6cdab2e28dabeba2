"""Sessions: the provider that was asked for is the one that runs, or the log says which does."""

import logging

import onnxruntime as ort
import pytest

from service.engine.session import PROVIDERS, open_session
from tests.conftest import ROOT

SHIPPED = ROOT / "models" / "softmax" / "1" / "model.onnx"


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
