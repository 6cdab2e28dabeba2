"""deploy/compose.yaml: right by its schema, hardened throughout, and started for real with a load on it."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.conftest import Engine, Tool
from tests.deploy.queries import Prometheus, filled, panels

DEPLOY = ROOT / "deploy"
FILE, WITH_JOURNAL = DEPLOY / "compose.yaml", DEPLOY / "compose.journal.yaml"
ADDED: dict[str, Any] = yaml.safe_load(WITH_JOURNAL.read_text())
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"] | {
    "postgres": ADDED["services"]["postgres"]
}
EVERY_SERVICE = pytest.mark.parametrize("name", SERVICES)


@pytest.mark.parametrize("file", [FILE, WITH_JOURNAL], ids=lambda file: file.name)
def test_the_file_is_right_by_the_schema(file: Path, tool: Tool) -> None:
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@EVERY_SERVICE
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory", "pids"} == service["deploy"]["resources"]["limits"].keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


@pytest.mark.parametrize("file", [FILE, WITH_JOURNAL], ids=lambda file: file.name)
def test_no_variable_of_the_service_can_be_empty(file: Path) -> None:
    given = yaml.safe_load(file.read_text())["services"]["calibrant"]["environment"]
    for name, value in given.items():
        filled_in = re.sub(r"\$\{\w+(?::-(\w*))?\}", r"\1", value)  # as where nothing is set
        assert filled_in, name


@EVERY_SERVICE
def test_every_service_is_built_here_or_has_a_version_and_a_health_check(name: str) -> None:
    service = SERVICES[name]
    if "build" not in service:
        assert re.search(r":v?\d+\.\d+(\.\d+)?(-bookworm)?$", service["image"])
        assert service["healthcheck"]["test"][0] == "CMD"


@EVERY_SERVICE
def test_every_file_that_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", ()):
        source = volume.split(":")[0]
        assert not source.startswith(".") or (DEPLOY / source).exists(), source


def test_the_journal_lies_on_a_volume_and_its_store_is_the_service_beside_it() -> None:
    service, store = ADDED["services"]["calibrant"], ADDED["services"]["postgres"]
    given = service["environment"]
    settings = {name: value for name, value in given.items() if name.startswith("CALIBRANT_")}
    read = Settings(**{name.removeprefix("CALIBRANT_").lower(): value for name, value in settings.items()})
    address = urlsplit(read.journal_store)
    assert (address.hostname, address.username) == ("postgres", store["environment"]["POSTGRES_USER"])
    assert given["PGPASSWORD"] == store["environment"]["POSTGRES_PASSWORD"]
    assert service["volumes"] == [f"journal:{read.journal}"]
    assert f"--mode=700 {read.journal}" in (ROOT / "Dockerfile").read_text()  # a new volume is the user's, as that is
    assert {volume.split(":")[0] for one in (service, store) for volume in one["volumes"]} == ADDED["volumes"].keys()
    assert service["depends_on"] == {"postgres": {"condition": "service_healthy"}}


class Stack:
    """The services of the file, up."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def compose(self, *arguments: object, timeout_s: float = 900) -> str:
        """What `docker compose` prints, with stand-ins for images that cannot be had everywhere."""
        files = ["--file", FILE, "--file", Path(__file__).with_name("standins.yaml")]
        return self.engine("compose", "--project-name", "calibrant-test", *files, *arguments, timeout_s=timeout_s)

    def prometheus(self) -> Prometheus:
        """The one that watches the service."""
        return Prometheus(f"http://{self.compose('port', 'prometheus', 9090)}")


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Stack]:
    """Up and healthy; afterwards gone, with what it stored."""
    stack = Stack(engine)
    try:
        stack.compose("--profile", "load", "build")
        stack.compose("up", "--wait", "--wait-timeout", 120)
        yield stack
    finally:
        stack.compose("--profile", "load", "down", "--volumes", "--timeout", 60)


@pytest.mark.online
def test_the_files_are_right_by_the_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine("compose", "--file", FILE, "--profile", "load", "config", "--quiet")
    monkeypatch.setenv("POSTGRES_PASSWORD", "secret")
    engine("compose", "--file", FILE, "--file", WITH_JOURNAL, "config", "--quiet")


@pytest.mark.online
def test_under_load_every_panel_of_the_dashboard_has_data(stack: Stack) -> None:
    printed = stack.compose("run", "--rm", "locust", "--host", "http://calibrant:8000", "--stage-s", "12")
    sys.stdout.write(printed)
    prometheus = stack.prometheus()
    with prometheus.client:
        (target,) = prometheus.ask("/targets")["activeTargets"]
        assert (target["scrapeUrl"], target["health"]) == ("http://calibrant:8000/metrics", "up")
        end = time.monotonic() + 60  # until another scrape or two have seen all
        while empty := [
            where for where, query in panels() if not prometheus.values(filled(query, __rate_interval="1m"))
        ]:
            assert time.monotonic() < end, f"no data for {empty}"
            time.sleep(5)
