"""The bodies that routes of FastAPI take, from a client that leaves in the middle of one."""

import json
from typing import Any

import pytest

from tests.transports.played import ask, body, scope, with_app


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/repository/models/softmax/load"])
def test_a_body_that_ends_early_does_nothing_and_is_no_fault_of_the_service(path: str) -> None:
    async def test(app: Any) -> None:
        start, end = await ask(app, scope(path), body(b'{"re', more=True), {"type": "http.disconnect"})
        assert start["status"] == 400
        assert json.loads(end["body"]) == {"error": "the body ended early; expected a JSON object", "code": "not_json"}

    with_app(test)
