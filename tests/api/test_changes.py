"""What changes something: no page of another origin may, nor a form; however the service is reached."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Running

Run = Callable[..., Running]
ASKS = ("/predict", "/evaluate", "/infer", "/index")  # POST as well, and change nothing
LABELS: dict[str, list[Any]] = {"labels": []}


def changing(running: Running) -> list[tuple[str, str, Any]]:
    """Method, path and description of every operation that changes something."""
    paths = running.client.get("/openapi.json").json()["paths"]
    return [
        (method, path.format(model="digits", version=1, id="a"), described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if method != "get" and not path.endswith(ASKS)
    ]


def headers_of(**headers: str) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def test_a_page_of_another_origin_changes_nothing(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    found = changing(running)
    assert len(found) >= 5
    for method, path, described in found:
        headers = headers_of(origin="http://elsewhere.example", content_type="application/json")
        answer = running.client.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin"), path
        assert answer.json()["error"].endswith("expected one of this service, or no browser")
        assert "403" in described["responses"], path


def test_a_body_is_json_and_says_so(run: Run, tmp_path: Path) -> None:
    running = run(journal=tmp_path)
    found = [
        (path, described)
        for _, path, described in changing(running)
        if "requestBody" in described and not path.startswith("/v2/")  # where tritonclient names no type
    ]
    assert len(found) >= 5
    for path, described in found:
        types = described["requestBody"]["content"]
        for headers in (
            {},
            headers_of(content_type="text/plain"),
            headers_of(content_type="application/x-www-form-urlencoded"),
        ):
            answer = running.client.post(path, content=b"{}", headers=headers)
            assert answer.status_code == 415, path
            assert all(media_type in answer.json()["error"] for media_type in types)
        assert "415" in described["responses"], path


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (headers_of(sec_fetch_site="same-origin", origin="https://behind.a.proxy"), 202),
        (headers_of(sec_fetch_site="none"), 202),
        (headers_of(sec_fetch_site="cross-site"), 403),
        (headers_of(sec_fetch_site="same-site", origin="http://127.0.0.1:1"), 403),
        (headers_of(origin="http://{host}"), 202),
        (headers_of(origin="https://{host}"), 202),
        (headers_of(origin="http://{host}.example"), 403),
        (headers_of(origin="null"), 403),
        (headers_of(origin=""), 403),
    ],
)
def test_the_browser_says_whose_page_it_is_and_else_the_addresses_do(
    run: Run, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    running = run(journal=tmp_path)
    sent = {name: value.format(host=f"127.0.0.1:{running.port}") for name, value in headers.items()}
    assert running.client.post("/v1/labels", json=LABELS, headers=sent).status_code == status
