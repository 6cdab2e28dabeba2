"""The files of `/docs`: all there, none from elsewhere."""

import re
from urllib.parse import urljoin, urlsplit

from tests.conftest import Running


def test_the_page_and_all_it_loads_come_from_here(running: Running) -> None:
    page = running.client.get("/docs").text
    loaded = re.findall(r"""(?:src|href|url)\s*[:=]\s*["']([^"']+)["']""", page)
    assert len(loaded) == 5
    for address in loaded:
        assert not urlsplit(address).netloc, address
        response = running.client.get(urljoin("/docs", address))
        assert response.status_code == 200, address
        assert len(response.content) > 100


def test_what_the_page_loads_loads_nothing_from_elsewhere(running: Running) -> None:
    style = running.client.get("/docs/swagger-ui.css").text
    assert not re.findall(r"url\(\s*[\"']?https?:|@import", style)


def test_no_other_file_can_be_asked_for(running: Running) -> None:
    assert running.client.get("/docs/docs.py").status_code == 404
