"""The gRPC clients that people have, Triton's and KServe's, in an environment of their own."""

import json
import subprocess
from typing import Any

import numpy as np
import pytest

from tests.api.protocol.test_clients import KSERVE, MASK, ROWS
from tests.conftest import ROOT
from tests.rpc.calls import Caller, calling

pytestmark = pytest.mark.skipif(not KSERVE.exists(), reason="needs `make kserve`")


def asked(client: str, caller: Caller) -> list[Any]:
    """The JSON lines that a client prints."""
    command = [str(KSERVE), str(ROOT / "tests" / "clients" / client), f"127.0.0.1:{caller.port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_triton_s_client_gets_the_native_numbers() -> None:
    names = {"probabilities": np.float32, "prediction": np.int64, "entropy": np.float32}
    body = {"logits": ROWS.tolist(), "mask": MASK.tolist(), "temperature": 1.5, "outputs": list(names)}
    with calling() as caller:
        assert caller.running
        answers = asked("triton_grpc.py", caller)
        native = caller.running.predict(body).json()
    expected = {name: np.array(native[name], dtype).tobytes().hex() for name, dtype in names.items()}
    codings = (None, "gzip", "deflate")
    ways = ("sync {}", "stream {}", "stream {}, after a mistake", "aio {}")
    hows = [*(way.format(coding) for way in ways for coding in codings), "callback", "aio stream", "aio stream"]
    assert sorted(answer.pop("how") for answer in answers) == sorted(hows)
    assert all(answer == expected for answer in answers)


def test_kserve_s_client_gets_the_native_numbers() -> None:
    with calling() as caller:
        assert caller.running
        raw, typed = asked("kserve_grpc.py", caller)
        native = caller.running.predict({"logits": [[2.0, 1.0, 0.1], [0.3, -1.0, 4.0]]}).json()["probabilities"]
    assert np.array(raw, np.float32).tolist() == np.array(native, np.float32).tolist()
    assert typed == raw
