"""API keys in a file: what may stand there, and what a change of it does to those who are connected."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidKeys
from service.transports import renewal
from service.transports.cycle import Cycle
from service.transports.fast_known import KnownProtocol
from service.transports.gate import Gate
from service.transports.keys import Key, Keys, parse_keys
from service.transports.known import KnownHeaders
from service.transports.ordinary import OrdinaryProtocol
from tests.api.bodies import until
from tests.conftest import Running
from tests.transports.wire import PREDICT, ids, post, wire

Run = Callable[..., Running]


def digest(key: str) -> bytes:
    """What a file has of a key, as bytes."""
    return sha256(key.encode()).digest()


def line(name: str, key: str, scopes: str = "predict", rate: str = "") -> str:
    """A line of a file."""
    return f"{name} {digest(key).hex()} {scopes} {rate}\n"


def bearer(key: str) -> bytes:
    """The header of a key."""
    return f"authorization: Bearer {key}\r\n".encode()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the keys `one` and `two`, which is looked at every few milliseconds."""
    monkeypatch.setattr(renewal, "LOOK_S", 0.01)
    path = tmp_path / "keys"
    path.write_text(line("first", "one") + line("second", "two", "predict,observe"))
    return path


def test_a_line_is_a_key() -> None:
    text = f"# ours\n\n{line('ci', 'a', 'observe,predict', '2.5')}{line('labels.eu-1', 'b', 'label')}   # the last\n"
    first, second = parse_keys(text.encode())
    assert (first.name, first.digest, sorted(first.scopes), first.rows_per_s) == (
        "ci",
        digest("a"),
        ["observe", "predict"],
        2.5,
    )
    assert (second.name, sorted(second.scopes), second.rows_per_s) == ("labels.eu-1", ["label"], None)
    assert repr(first) == "<Key ci observe,predict>"
    assert parse_keys(first.line().encode())[0].line() == first.line()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("ci", "line 1 has 1 word; expected NAME SHA256 SCOPES [ROWS_PER_S]"),
        (line("ci", "a", "predict", "1 2"), "line 1 has 5 words"),
        (f"\n{line('c/i', 'a')}", "line 2: the name is wrong; expected at most 64 letters"),
        ("ci calibrant_secret predict", "line 1: the hash is not 64 hexadecimal digits; expected the SHA-256 of a key"),
        (line("ci", "a", "predict,secret"), "line 1: there is no such scope; expected some of predict, label,"),
        (line("ci", "a", "predict", "secret"), "line 1: the rate is wrong; expected rows a second, a number above 0"),
        (line("ci", "a", "predict", "0"), "line 1: the rate is wrong"),
        (line("ci", "a", "predict", "inf"), "line 1: the rate is wrong"),
        (line("ci", "a") + line("ci", "b"), "line 2: the name ci is there twice"),
        (line("ci", "a") + line("cd", "a"), "a hash is there twice"),
        (b"\xff\xfe\x00", "line 1 has 1 word"),
    ],
)
def test_what_is_no_key_is_told_with_its_line_and_nothing_that_may_be_secret(text: str | bytes, sentence: str) -> None:
    with pytest.raises(InvalidKeys) as error:
        parse_keys(text if isinstance(text, bytes) else text.encode())
    assert str(error.value).startswith(sentence)
    assert "secret" not in str(error.value)


def test_a_start_with_a_file_that_is_broken_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    with pytest.raises(InvalidKeys, match=r"keys cannot be read: No such file"):
        Keys(path=path)
    path.write_text("ci\n")
    with pytest.raises(InvalidKeys, match=r"keys cannot be read: line 1 has 1 word"):
        Keys(path=path)


def test_an_empty_file_lets_nobody_in(path: Path) -> None:
    path.write_text("")
    keys = Keys(path=path)
    assert keys.guarded
    assert keys.find(b"Bearer one") is None
    assert not Keys().guarded


def test_the_log_says_how_many_keys_there_are_and_warns_where_there_are_none(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keys = Keys([Key("given", digest("given"))], path)
    Keys(path=path)
    path.write_bytes(b"")
    keys.read()
    Keys(path=path)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("INFO", f"API keys accepted, with those of {path}: 3"),
        ("INFO", f"API keys accepted, with those of {path}: 2"),
        ("INFO", f"API keys accepted, with those of {path}: 1"),
        ("WARNING", f"{path} has no API key; expected one: every request that needs one is refused"),
    ]


def test_a_key_whose_line_stays_stays_the_same_and_others_are_revoked(path: Path) -> None:
    keys = Keys([Key("given", digest("three"))], path)
    first, second, given = (keys.find(b"Bearer " + key) for key in (b"one", b"two", b"three"))
    assert first
    assert second
    assert given
    assert not keys.read()
    path.write_text(line("second", "two", "observe,predict") + line("third", "four"))
    assert keys.read()
    assert (first.revoked, second.revoked, given.revoked) == (True, False, False)
    assert keys.find(b"Bearer one") is None
    assert keys.find(b"Bearer two") is second
    assert keys.find(b"Bearer three") is given
    path.write_text(line("second", "two", "observe"))
    assert keys.read()
    assert second.revoked
    assert repr(keys) == "<Keys 2>"


def test_a_broken_file_keeps_the_keys_and_says_so_once(run: Run, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = run(api_keys_file=path).service.gate.keys
    for broken, complaint in ((True, "has 1 word"), (False, "No such file")):
        if broken:  # in one step: a file that is empty for a moment has no keys
            replacement = path.with_name("new")
            replacement.write_text("first\n")
            replacement.replace(path)
        else:
            path.unlink()
        until(lambda complaint=complaint: complaint in caplog.text)
        assert keys.find(b"Bearer one")
    path.write_text(line("third", "three"))
    until(lambda: keys.find(b"Bearer three") is not None)
    assert keys.find(b"Bearer one") is None
    messages = [r.getMessage() for r in caplog.records if r.name == renewal.__name__ and r.levelname == "ERROR"]
    assert len(messages) == 2
    assert all(message.endswith("; what was read before still holds") for message in messages)


def test_a_revoked_key_stops_at_once_where_it_is_remembered_and_a_new_one_is_accepted(run: Run, path: Path) -> None:
    running = run(api_keys_file=path, api_keys="given")
    sent = post(name="a", headers=bearer("one"))
    with wire(running) as first, wire(running) as second, wire(running) as given:
        for connection in (first, second, first):
            connection.send(sent)
            assert ids(connection.answer()) == ["a"]
        path.write_text(line("third", "three"))
        until(lambda: running.service.gate.keys.find(b"Bearer three") is not None)
        for connection in (first, second, first):
            connection.send(sent)
            assert connection.answer()[0] == 401
        for key, status in (("three", 200), ("two", 401), ("given", 200)):
            given.send(post(headers=bearer(key)))
            assert given.answer()[0] == status


def test_a_key_whose_line_changes_is_remembered_again_on_the_same_connection(
    run: Run, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    begin = KnownHeaders.begin

    def begun(known: KnownHeaders, cycle: Cycle, data: bytes) -> int:
        found.append(begin(known, cycle, data))
        return found[-1]

    running, sent = run(api_keys_file=path), post(headers=bearer("one"))
    with wire(running) as connection:
        monkeypatch.setattr(KnownHeaders, "begin", begun)
        connection.send(sent)
        assert connection.answer()[0] == 200
        path.write_text(line("first", "one", rate="100000"))
        until(lambda: (key := running.service.gate.keys.find(b"Bearer one")) is not None and key.rate is not None)
        for _ in range(3):
            connection.send(sent)
            assert connection.answer()[0] == 200
    assert not found or found[-2:] == [0, 0]  # other transports have no memory


@pytest.mark.parametrize("known", [False, True])
def test_a_key_that_was_revoked_while_a_body_came_is_refused_and_not_remembered(
    run: Run, path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    running, check = run(api_keys_file=path), Gate.check
    passed: list[Any] = []

    def checked(*arguments: Any) -> Any:
        found = check(*arguments)
        passed.append(found)
        return found

    monkeypatch.setattr(Gate, "check", checked)
    sent = post(name="a", headers=bearer("one"))
    with wire(running) as slow:
        if known:
            slow.send(sent)
            assert slow.answer()[0] == 200
        slow.send(sent[:-4])
        if known and running.server.config.http_protocol_class is KnownProtocol:
            connections: set[Any] = running.server.server_state.connections
            until(lambda: any(connection.n_missing == 4 for connection in connections))
        else:
            until(lambda: len(passed) == 1 + known)
        path.write_text(line("second", "two"))
        until(lambda: running.service.gate.keys.find(b"Bearer one") is None)
        slow.send(sent[-4:])
        for _ in range(2):
            assert slow.answer()[0] == 401
            slow.send(sent)


def test_a_key_that_was_revoked_while_a_body_came_changes_nothing_either(run: Run, path: Path) -> None:
    path.write_text(line("first", "one", "admin"))
    running = run(api_keys_file=path)
    with wire(running) as slow:
        slow.send(
            b"POST /v2/repository/models/softmax/unload HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n"
            + bearer("one")
            + b"\r\n{"
        )
        connections: set[Any] = running.server.server_state.connections
        until(lambda: any(connection.n_body == 1 for connection in connections))
        path.write_text("")
        until(lambda: running.service.gate.keys.find(b"Bearer one") is None)
        slow.send(b"}")
        assert slow.answer()[0] == 401
    assert "softmax" in running.service.repository.models


def test_the_body_of_a_refused_request_is_not_kept(run: Run, path: Path) -> None:
    running = run(api_keys_file=path)
    with wire(running) as line:
        line.send(PREDICT + b"content-length: 2000000\r\n\r\n" + b" " * 1_000_000)
        connections: set[Any] = running.server.server_state.connections
        if running.server.config.http_protocol_class is not OrdinaryProtocol:
            until(lambda: any(connection.n_body == 1_000_000 for connection in connections))
            assert not any(connection.parts for connection in connections)
        line.send(b" " * 1_000_000)
        assert line.answer()[0] == 401
