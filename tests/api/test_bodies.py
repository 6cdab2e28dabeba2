"""The bodies that routes of FastAPI take, from a client that leaves in the middle of one."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.api.bodies import MAX_OBJECT_BYTES
from tests.api.bodies import until
from tests.conftest import Running
from tests.transports.played import ask, body, scope, with_app


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/models/softmax/load"])
def test_a_body_that_ends_early_does_nothing_and_is_no_fault_of_the_service(path: str) -> None:
    async def test(app: Any) -> None:
        start, end = await ask(app, scope(path), body(b'{"re', more=True), {"type": "http.disconnect"})
        assert start["status"] == 400
        assert json.loads(end["body"]) == {"error": "the body ended early; expected a JSON object", "code": "not_json"}

    with_app(test)


Run = Callable[..., Running]
OBJECTS = [
    "/v2/repository/index",
    "/v2/repository/models/softmax/load",
    "/v2/repository/models/softmax/unload",
    "/v1/models/softmax/versions/1/calibration/acknowledge",
    "/v1/models/softmax/versions/1/refit",
    "/v1/models/softmax/versions/1/promote",
    "/v1/models/softmax/versions/1/dismiss",
]


@pytest.mark.parametrize("path", OBJECTS)
def test_an_object_of_names_is_refused_as_soon_as_it_is_too_large(path: str, tmp_path: Path) -> None:
    async def test(app: Any) -> None:
        head = scope(path, headers=[(b"content-type", b"application/json"), (b"host", b"x"), (b"if-match", b"x")])
        first = body(b" " * MAX_OBJECT_BYTES, more=True)  # what comes behind the second is not waited for
        start, end = await ask(app, head, first, body(b"{", more=True))
        assert (start["status"], json.loads(end["body"])) == (
            413,
            {"error": "the body is too large for this path; expected at most 65536 bytes", "code": "body_too_large"},
        )

    with_app(test, journal=tmp_path)


def resident_peak_bytes() -> int:
    """The most that this process held since it was told to forget."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_every_route_that_takes_a_body_has_a_bound_for_it(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path, max_request_memory_mb=32)
    page = running.client.get("/openapi.json").json()["paths"]
    lists = b"[" + b"[]," * (2**20 // 3) + b"[]]"
    asked = []
    for path, methods in page.items():
        there = path.replace("{model}", "softmax").replace("{version}", "1").replace("{id}", "a")
        for method in methods.keys() - {"get", "parameters"}:
            asked.append(there)
            for content in (lists, b'{"parameters":{"x":%b}}' % lists, b'{"labels":%b}' % lists):
                Path("/proc/self/clear_refs").write_text("5")
                before = resident_peak_bytes()
                headers = {"content-type": "application/json", "if-match": "x"}
                answer = running.client.request(method, there, content=content, headers=headers)
                assert 400 <= answer.status_code < 500 or (there, method) == ("/v1/labels/a", "delete"), (there, answer)
                assert resident_peak_bytes() - before < 40 * 2**20, there
    assert set(asked) >= {*OBJECTS, "/v1/labels", "/v1/predict"}
    until(lambda: running.service.budget.taken == 0)
