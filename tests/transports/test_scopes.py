"""The table of paths and scopes: it has every path that there is, and a key opens its own alone, on each transport."""

from collections.abc import Callable
from pathlib import Path

import pytest

from service.app import create_app
from service.rpc.messages import HEALTH, INFERENCE
from service.rpc.operations import OPERATIONS
from service.settings import Settings
from service.transports.endpoints import find_target
from service.transports.keys import SCOPES
from service.transports.scopes import PATTERNS, PREDICT_SCOPE, TABLE, find_scope
from tests.conftest import ROOT, Running
from tests.transports.test_keys import line

Run = Callable[..., Running]
PAGE = "/v1/models/digits/versions/1/calibration"
REFIT = "/v1/models/digits/versions/1/refit"
REQUESTS = {
    "predict": [
        ("POST", "/v1/predict", 400),
        ("POST", "/v1/models/softmax/evaluate", 400),
        ("POST", "/v2/models/softmax/infer", 400),
        ("POST", "/%76%31/predict", 400),
    ],
    "label": [("POST", "/v1/labels", 400)],
    "observe": [
        ("GET", "/metrics", 200),
        ("GET", "/v1/models", 200),
        ("GET", "/%761/models", 200),
        ("GET", "/v1/models/digits", 200),
        ("GET", "/v1/models/digits/versions/1/report", 200),
        ("GET", PAGE, 200),
        ("GET", "/v2", 200),
        ("GET", "/v2/models/stats", 200),
        ("POST", "/v2/repository/index", 200),
        ("GET", REFIT, 200),
    ],
    "admin": [
        ("POST", f"{PAGE}/acknowledge", 400),
        ("POST", REFIT, 400),
        ("POST", REFIT.replace("refit", "promote"), 400),
        ("POST", REFIT.replace("refit", "dismiss"), 400),
        ("DELETE", "/v1/labels/a", 503),
        ("POST", "/v2/repository/models/softmax/load", 200),
        ("GET", "/v3/what/is/to/come", 404),
    ],
}
OPEN = ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json", "/console/"]


def test_every_path_that_is_served_stands_in_the_table(tmp_path: Path) -> None:
    app = create_app(Settings(models=ROOT / "models", journal=tmp_path, load_timeout_s=0))
    paths = app.app.openapi()["paths"]  # type: ignore[attr-defined]  # FastAPI's own
    over_grpc = [f"/{service}/{method}" for service, methods in OPERATIONS.items() for method in methods]
    assert len(over_grpc) > 10
    over_grpc += [f"/{INFERENCE}/ModelInfer", f"/{INFERENCE}/ModelStreamInfer", f"/{HEALTH}/Check"]
    requests = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    for method, path in [*requests, *(("POST", path) for path in over_grpc)]:
        assert any(pattern.fullmatch(f"{method} {path}") for pattern, _ in PATTERNS), path
        if find_target(path.encode()):
            assert find_scope(method, path) == PREDICT_SCOPE
    assert {scope for scope in TABLE if scope} == {*SCOPES}


def test_what_the_table_does_not_name_is_for_admins() -> None:
    for path in (
        "",
        "/v1",
        "/v1/models/",
        "/v1/new",
        "/metrics/",
        "/" + "x" * 1000,
        "/v2/health/ready/x",
        "/healthz\n",
    ):
        assert find_scope("GET", path) == "admin"


@pytest.mark.parametrize("scope", SCOPES)
def test_a_key_opens_its_own_scope_and_nothing_else(run: Run, tmp_path: Path, scope: str) -> None:
    path = tmp_path / "keys"
    path.write_text(line("ci", "secret", scope))
    client = run(api_keys_file=path, journal=tmp_path / "journal").client
    client.headers["content-type"] = "application/json"
    for needed, requests in REQUESTS.items():
        for method, url, status in requests:
            content = b"{" if method == "POST" and "/load" not in url and "/index" not in url else None
            assert client.request(method, url, content=content).status_code == 401
            client.headers["authorization"] = "Bearer secret"
            answer = client.request(method, url, content=content)
            del client.headers["authorization"]
            if needed == scope:
                assert answer.status_code == status, (url, answer.text)
                continue
            assert (answer.status_code, answer.json()["code"]) == (403, "scope"), url
            assert answer.json()["error"] == f"the key ci is for {scope}; expected one with the scope {needed}"
    for url in OPEN:
        assert client.get(url).status_code == 200
