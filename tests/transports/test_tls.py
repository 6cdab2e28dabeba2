"""TLS on every HTTP transport: requests as ever, a certificate that is renewed, one that is broken, slow handshakes."""

import asyncio
import pickle
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import SSLError

import pytest
import uvicorn
import uvloop
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from service.errors import CannotStart, UsedWrongly
from service.settings import Settings
from service.transports import renewal
from service.transports.renewal import LastRead
from service.transports.tls import Certificate, Pair, find_fault
from tests.api.bodies import until
from tests.certificates import Authority
from tests.conftest import Running
from tests.processes import serve
from tests.transports.wire import PREDICT, Wire, post

Run = Callable[..., Running]
ONE = {"logits": [1.0, 2.0]}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at every few milliseconds."""
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def _on_each_loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their ends of TLS are not the same code."""
    monkeypatch.setattr(uvicorn.Config, "get_loop_factory", lambda _: request.param)


@contextmanager
def tls_wire(running: Running, authority: Authority) -> Iterator[Wire]:
    """A connection by hand, whose client does not close its side of TLS when the server does."""
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection,
        authority.context.wrap_socket(connection, server_hostname="127.0.0.1") as encrypted,
    ):
        yield Wire(encrypted)


def ends_within(running: Running, timeout_s: float) -> bool:
    """Whether the last connection is gone by then."""
    end = time.monotonic() + timeout_s
    while running.server.server_state.connections and time.monotonic() < end:
        time.sleep(0.01)
    return not running.server.server_state.connections


def test_requests_are_answered_small_large_and_wrong_ones(run: Run, tmp_path: Path, authority: Authority) -> None:
    running = run(**authority.write(tmp_path), max_body_bytes=2**20)
    with authority.client(running.port) as client:
        for _ in range(3):
            answer = client.post("/v1/predict", json=ONE)
            assert answer.json()["probabilities"] == pytest.approx([0.268941, 0.731059], abs=1e-6)
        assert len(client.post("/v1/predict", json={"logits": [0.5] * 100_000}).json()["probabilities"]) == 100_000
        assert client.get("/v1/models").status_code == 200
        assert client.post("/v1/predict", content=b"x" * (2**20 + 1)).status_code == 413
        assert client.post("/v1/predict", content=b"{").status_code == 400
        assert client.post("/v1/predict", headers={"x": "x" * 20_000}, json=ONE).status_code == 431
    assert running.raw(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n") == b""  # not without TLS


def test_a_renewed_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    run: Run, tmp_path: Path, authority: Authority
) -> None:
    running, next_one = run(**authority.write(tmp_path)), Authority()
    with authority.client(running.port) as old:
        assert old.post("/v1/predict", json=ONE).status_code == 200
        next_one.write(tmp_path)
        until(lambda: next_one.is_shown(running.port))
        assert not authority.is_shown(running.port)
        assert old.post("/v1/predict", json=ONE).status_code == 200


def test_a_broken_certificate_leaves_the_one_before(
    run: Run, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    options = authority.write(tmp_path)
    running, next_one = run(**options), Authority()
    options["tls_cert"].write_text("no certificate")
    until(lambda: "cannot be used" in caplog.text)
    assert authority.is_shown(running.port)
    next_one.write(tmp_path)
    until(lambda: next_one.is_shown(running.port))
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told  # one, and another where the new certificate was seen before its key
    assert all(one.endswith("; what was read before still holds") for one in told)


@pytest.mark.usefixtures("_on_each_loop")
@pytest.mark.parametrize("sent", [b"", b"\x16"])
def test_who_never_ends_the_handshake_is_cut_off(run: Run, tmp_path: Path, authority: Authority, sent: bytes) -> None:
    running = run(**authority.write(tmp_path), header_timeout_s=0.5)
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as silent:
        silent.sendall(sent)
        assert silent.recv(1) == b""
    until(lambda: authority.is_shown(running.port))


@pytest.mark.usefixtures("_on_each_loop")
def test_who_does_not_close_its_side_does_not_hold_the_end(
    run: Run, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.process.server.WINDOW_S", 0.3)
    running = run(**authority.write(tmp_path))
    with tls_wire(running, authority) as idle:
        idle.send(post())
        assert idle.answer()[0] == 200
        running.server.should_exit = True
        assert ends_within(running, 5)
        assert idle.closed()


@pytest.mark.usefixtures("_on_each_loop")
def test_who_is_refused_and_does_not_close_its_side_is_cut_off(
    run: Run, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.transports.ordinary.LINGER_S", 0.1)
    running = run(**authority.write(tmp_path), header_timeout_s=0.5)
    with tls_wire(running, authority) as slow:
        slow.send(PREDICT)
        assert slow.answer()[0] == 408
        assert ends_within(running, 3)
        assert slow.closed()


def test_both_files_are_wanted(tmp_path: Path) -> None:
    assert Certificate.of(Settings()) is None
    for given in (Settings(tls_cert=tmp_path), Settings(tls_key=tmp_path)):
        with pytest.raises(UsedWrongly, match="expected --tls-cert FILE and --tls-key FILE"):
            Certificate.of(given)


def test_what_cannot_be_used_is_told_at_the_start_without_the_key(tmp_path: Path, authority: Authority) -> None:
    options = authority.write(tmp_path)
    chain, key = options["tls_cert"], options["tls_key"]
    secret = key.read_bytes()
    private = serialization.load_pem_private_key(secret, None)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    encrypted = private.private_bytes(*kinds, serialization.BestAvailableEncryption(b"password"))
    other, other_type = Authority().write(tmp_path)["tls_key"].read_bytes(), rsa.generate_private_key(65537, 2048)
    rsa_pem = other_type.private_bytes(*kinds, serialization.NoEncryption())
    for path, content, sentence in (
        (chain, b"", f"{chain} cannot be used: it has no certificate that can be read"),
        (chain, secret, f"{chain} cannot be used: it has no certificate that can be read"),
        (chain, None, f"{chain} cannot be read: No such file or directory"),
        (key, b"nothing", f"{key} cannot be used: it has no private key that can be read"),
        (key, encrypted, f"{key} cannot be used: the key has a password"),
        (key, other, f"the key in {key} does not belong to the certificate in {chain}"),
        (key, rsa_pem, f"the key in {key} does not belong to the certificate in {chain}"),
        (key, None, f"{key} cannot be read: No such file or directory"),
    ):
        authority.write(tmp_path)
        path.write_bytes(content) if content is not None else path.unlink()
        with pytest.raises(CannotStart) as error:
            Certificate(chain, key)
        assert str(error.value) == f"{sentence}; expected a certificate chain and its key, as PEM without a password"


def test_what_openssl_minds_of_a_pair_that_belongs_together_is_told(tmp_path: Path) -> None:
    weak = SSLError(1, "[SSL: EE_KEY_TOO_SMALL] ee key too small (_ssl.c:3905)")
    weak.reason = "EE_KEY_TOO_SMALL"
    for error, why in ((weak, "ee key too small"), (FileNotFoundError(2, "No such file"), "No such file")):
        assert find_fault(tmp_path, tmp_path, b"", error).endswith(f"cannot be used: {why}")


def test_a_pair_does_not_show_its_key() -> None:
    assert repr(Pair(b"chain", b"key")) == "<Pair>"


def test_a_pair_that_was_read_before_stands_in_for_files_that_are_broken(tmp_path: Path, authority: Authority) -> None:
    options = authority.write(tmp_path)
    chain, key = options["tls_cert"], options["tls_key"]
    last = pickle.loads(pickle.dumps(LastRead(pair=Certificate(chain, key).pair)))
    assert repr(last) == "<LastRead>"
    for path in (chain, key):
        authority.write(tmp_path)
        path.write_text("broken")
        certificate = Certificate(chain, key, last.pair)
        assert certificate.pair == last.pair
        with pytest.raises(CannotStart):
            certificate.read()


def test_several_workers_show_it_and_the_renewed_one(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    options, next_one = authority.write(tmp_path), Authority()
    given = [f"--{name.replace('_', '-')}={path}" for name, path in options.items()]
    with serve("--workers", "2", *given) as process:
        assert process.url.startswith("https://")
        assert process.client.post("/v1/predict", json=ONE).status_code == 200
        next_one.write(tmp_path)
        port = int(process.url.rpartition(":")[2])
        until(lambda: all(next_one.is_shown(port) for _ in range(8)))
