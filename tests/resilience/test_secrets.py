"""Nothing secret gets out: the keys of a service that does everything are in no log, error, metric, trace or title."""

import json
import signal
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import UsedWrongly
from service.settings import Settings, load
from tests.api.bodies import until
from tests.processes import Process, calibrant, serve
from tests.rpc.calls import Caller, request
from tests.rpc.test_life import address, failing
from tests.telemetry.test_traces import Collector, collector

__all__ = ["collector"]  # a fixture
GIVEN, FILED, SLOW, WRONG, PEPPER = (
    f"calibrant_{name}-secret" for name in ("given", "filed", "slow", "wrong", "pepper")
)
BODY = {"logits": [1.0, 2.0], "id": "an-id"}


def digest(key: str) -> str:
    """What the file has of a key; it need not get out, either."""
    return sha256(key.encode()).hexdigest()


def titles() -> str:
    """What everybody can read of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return "\n".join(found)


def exercise(process: Process) -> list[httpx.Response]:
    """Answers and errors of every kind, over HTTP."""
    found = []
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/v1/predict", BODY),
        ("POST", "/v1/predict", {"logits": ["x"]}),
        ("POST", "/v2/models/nobody/infer", {}),
        ("POST", "/v1/labels", {"labels": [{"id": "an-id", "label": 1}]}),
        ("GET", "/v1/models", None),
        ("GET", "/metrics", None),
        ("GET", "/v2/models/stats", None),
        ("GET", "/openapi.json", None),
        ("DELETE", "/v1/labels/an-id", None),
        ("GET", "/nowhere", None),
    ]
    for key in (GIVEN, FILED, SLOW, SLOW, WRONG, ""):
        for method, path, body in requests:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            found.append(process.client.request(method, path, json=body, headers=headers))
    return found


def test_no_key_gets_out_of_a_service_that_does_everything(tmp_path: Path, collector: Collector) -> None:
    path = tmp_path / "keys"
    path.write_text(f"filed {digest(FILED)} predict,observe\nslow {digest(SLOW)} predict 1e-6\n")
    options = ("--journal", tmp_path / "journal", "--grpc", "0", "--workers", "2", "--api-keys-file", path)
    logs = ("--traces", "--access-log", "--log-level", "debug", "--log-format", "json")
    secrets = {"CALIBRANT_API_KEYS": GIVEN, "CALIBRANT_JOURNAL_HASH_IDS": PEPPER}
    with serve(*options, *logs, **secrets) as process:
        answers = exercise(process)
        assert {answer.status_code for answer in answers} >= {200, 202, 401, 403, 404, 422, 429}
        caller = Caller(None, address(process))
        with caller.channel:
            one = request(("logits", "FP32", [[1, 2]]))
            assert caller.infer(one, metadata=(("authorization", f"Bearer {GIVEN}"),))
            refused = failing(lambda: caller.infer(one, metadata=(("authorization", f"Bearer {WRONG}"),)))
        shown = [titles(), str(refused.details()), str(refused.trailing_metadata())]
        header = {"authorization": f"Bearer {GIVEN}"}
        path.write_text(f"new {digest('new')} observe\n")
        until(lambda: process.client.get("/metrics", headers={"authorization": "Bearer new"}).status_code == 200)
        shown.append(process.client.get("/metrics", headers=header).text)
        assert process.end(signal.SIGTERM)[0] == 0
        shown += [process.printed, process.logged]
    assert "service serve" in shown[0]
    assert len(collector.spans) > 10
    names = {json.loads(line).get("key") for line in process.logged.splitlines() if "calibrant.access" in line}
    assert names >= {"api-keys-1", "filed", "slow"}  # the log says who, and never more
    shown += [str(collector.spans), *(f"{answer.headers} {answer.text}" for answer in answers)]
    for secret in (GIVEN, FILED, SLOW, WRONG, PEPPER, digest(GIVEN), digest(FILED), digest(SLOW)):
        assert not any(secret in text for text in shown), secret


def test_settings_show_no_secret() -> None:
    settings = Settings(api_keys=GIVEN, journal_hash_ids=PEPPER, journal_store=f"postgresql://me:{WRONG}@host/db")
    assert "secret" not in f"{settings!r} {settings}"
    with pytest.raises(UsedWrongly) as error:
        load(journal_store=f"mysql://me:{WRONG}@host/db")
    sentence = "--journal-store (CALIBRANT_JOURNAL_STORE) cannot be used; expected postgresql://..."
    assert str(error.value) == sentence
    assert error.value.__cause__ is None


def test_a_key_on_the_command_line_is_warned_of_without_a_word_of_it() -> None:
    done = calibrant("serve", "--port", 0, "--models", "nowhere", "--api-keys", GIVEN)
    assert "--api-keys is on the command line, which everybody on this machine can read; expected it in" in done.stderr
    assert "CALIBRANT_API_KEYS" in done.stderr
    assert GIVEN not in done.stderr + done.stdout
    assert "--api-keys is" not in calibrant("serve", "--models", "nowhere", CALIBRANT_API_KEYS=GIVEN).stderr
