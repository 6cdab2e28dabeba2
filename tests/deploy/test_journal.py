"""The chart's journal: pods that are started as it says share a PostgreSQL, and any of them takes any label."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.deploy.conftest import Manifests, pod
from tests.journal.server import Server
from tests.processes import Process, serve

PAGE = "/v1/models/digits/versions/1/calibration"


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """The address of a database."""
    server = Server()
    yield server.new_database()
    server.stop()


def counted(process: Process, n: int) -> dict[str, Any]:
    """What a pod says of the labels once there are so many."""
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = process.client.get(PAGE).json()
        if found["labels"] == n:
            return found
        assert time.monotonic() < end, found
        time.sleep(0.05)


def test_any_pod_takes_the_labels_of_any_answer(manifests: Manifests, store: str, tmp_path: Path) -> None:
    (container,) = pod(manifests("journal"))["containers"]
    (address,) = (one for one in container["env"] if one["name"] == "CALIBRANT_JOURNAL_STORE")
    assert address["valueFrom"] == {"secretKeyRef": {"name": "journal", "key": "store"}}
    (mount,) = container["volumeMounts"]
    assert f"--journal={mount['mountPath']}" in container["args"]
    with ExitStack() as stack:
        pods = [
            stack.enter_context(
                serve("--models", ROOT / "models", "--journal", tmp_path / name, CALIBRANT_JOURNAL_STORE=store)
            )
            for name in ("one", "two")
        ]
        for i, each in enumerate(pods):
            body = {"id": f"of-pod-{i}", "logits": [[0, 9, 1, 0, 2, 0, 0, 1, 0, 0]] * 3, "outputs": ["prediction"]}
            assert each.client.post("/v1/models/digits/predict", json=body).status_code == 200
        for i, each in enumerate(pods):
            labels = [{"id": f"of-pod-{1 - i}", "row": row, "label": 1} for row in range(3)]
            assert each.client.post("/v1/labels", json={"labels": labels}).status_code == 202
        one, two = (counted(each, 6) for each in pods)
        assert one["accuracy"] == two["accuracy"] == 1.0
        assert one["monitors"] == two["monitors"]
