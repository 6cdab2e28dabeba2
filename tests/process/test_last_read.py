"""What a worker starts with whose files of keys and certificate are broken by then."""

import os
import signal
import ssl
import threading
from pathlib import Path

import pytest

from service.process import last_read
from service.process.last_read import follow_files
from service.transports.keys import Keys
from service.transports.tls import Certificate
from tests.api.bodies import until
from tests.certificates import Authority
from tests.processes import Process, serve
from tests.transports.test_keys import digest, line

ONE = {"logits": [1.0, 2.0]}


def workers(process: Process) -> set[int]:
    """The process ids of the workers."""
    folder = Path(f"/proc/{process.popen.pid}/task/{process.popen.pid}/children")
    children = [int(pid) for pid in folder.read_text().split()]
    return {pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_a_worker_starts_with_what_was_read_last_where_the_files_are_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, keys = Authority(), tmp_path / "keys"
    authority.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    keys.write_text(line("first", "one") + line("second", "two"))
    options = authority.write(tmp_path) | {"api_keys_file": keys}
    given = [f"--{name.replace('_', '-')}={path}" for name, path in options.items()]
    with serve("--workers", "2", *given) as process:
        port = int(process.url.rpartition(":")[2])

        def statuses(key: str) -> set[int]:
            """Of requests on connections of their own, which all workers take."""
            found = set()
            for _ in range(16):
                with authority.client(port) as client:
                    answer = client.post("/v1/predict", json=ONE, headers={"authorization": f"Bearer {key}"})
                    found.add(answer.status_code)
            return found

        authority.write(tmp_path)  # renewed, and a key revoked: what was there at the start holds no more
        renewed = options["tls_cert"].read_text()
        keys.write_text(line("second", "two"))
        until(lambda: statuses("one") == {401})

        def shown() -> set[bool]:
            """Whether it is the renewed one that such connections are shown."""
            return {ssl.get_server_certificate(("127.0.0.1", port)) in renewed for _ in range(16)}

        until(lambda: shown() == {True})

        options["tls_cert"].write_text("broken")
        keys.unlink()
        before = workers(process)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(workers(process) - {victim}) == 2)
        until(lambda: process.client.get("/readyz").status_code == 200)
        assert shown() == {True}
        assert statuses("one") == {401}
        assert statuses("two") == {200}
        for pid in (process.popen.pid, *workers(process)):
            for name in ("environ", "cmdline"):
                assert b"PRIVATE" not in Path(f"/proc/{pid}/{name}").read_bytes()
        process.end(signal.SIGTERM)
    assert "before it was ready" not in process.logged
    assert "what was read before still holds" in process.logged


def test_the_files_are_followed_as_long_as_the_workers_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_read, "LOOK_S", 0.01)
    path, authority = tmp_path / "keys", Authority()
    path.write_text(line("first", "one"))
    options = authority.write(tmp_path)
    certificate = Certificate(options["tls_cert"], options["tls_key"])
    with follow_files(Keys(path=path), certificate) as last:
        before = last.pair
        assert last.keys == path.read_bytes()
        path.write_text(line("second", "two"))
        authority.write(tmp_path)
        until(lambda: last.keys == path.read_bytes() and last.pair != before)
        path.unlink()
        options["tls_key"].write_text("broken")
        assert "calibrant-files" in {thread.name for thread in threading.enumerate()}
        found = Keys(path=path, last=last.keys)
        assert {*found.by_digest} == {digest("two")}
    until(lambda: "calibrant-files" not in {thread.name for thread in threading.enumerate()})
    with follow_files(Keys(), None) as last:
        assert (last.keys, last.pair) == (None, None)
        assert "calibrant-files" not in {thread.name for thread in threading.enumerate()}
