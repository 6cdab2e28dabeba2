"""The console's files: a closed list, checked by the browser, and nothing besides."""

from importlib.resources import as_file, files

import pytest

from service.api.console import list_files
from tests.conftest import Running, serving


def test_all_files_of_the_folder_are_served(running: Running) -> None:
    with as_file(files("service") / "console") as folder:
        there = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert list_files() == there.keys()
    for name, content in there.items():
        answer = running.client.get(f"/console/{name}")
        assert answer.status_code == 200
        assert answer.content == content
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_known_is_not_sent_again(running: Running) -> None:
    first = running.client.get("/console/main.js")
    again = running.client.get("/console/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.js", "../", "../app.py", "..%2fapp.py", "charts", "charts/", "%00", "console.css/"]
)
def test_nothing_else_is_served(running: Running, name: str) -> None:
    assert (
        b" 404 "
        in running.raw(f"GET /console/{name} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(), close=False)[
            :20
        ]
    )


def test_browsers_are_led_there_and_programs_are_not(running: Running) -> None:
    led = running.client.get("/", headers={"Accept": "text/html"}, follow_redirects=True)
    assert led.url.path == "/console/"
    assert "<title>Calibrant</title>" in led.text
    assert running.client.get("/console", follow_redirects=True).url.path == "/console/"
    refused = running.client.get("/")
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_it_needs_no_key(running: Running) -> None:
    with serving(api_keys="key") as guarded:
        assert guarded.client.get("/console/").status_code == 200


def test_it_can_be_left_out() -> None:
    with serving(console=False) as without:
        for path in ("/console/", "/console/main.js", "/console", "/"):
            assert without.client.get(path, headers={"Accept": "text/html"}).status_code == 404
