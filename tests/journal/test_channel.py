"""The socket of the live process: messages each way, and who is not there."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from service.errors import CannotStart
from service.journal import channel
from service.journal.channel import LENGTH, MAX_MESSAGE, Unreachable, ask, listen


async def echo(message: dict[str, Any]) -> dict[str, Any]:
    if message == {"do": "fail"}:
        raise RuntimeError
    return {"heard": message}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a short path."""
    monkeypatch.chdir(tmp_path)
    return Path()


def test_a_message_is_answered_whatever_its_length(folder: Path) -> None:
    async def talk() -> None:
        async with await listen(folder, echo):
            for size in (0, 10, 1_000_000):
                message = {"text": "x" * size}
                assert await ask(folder, message) == {"heard": message}

    asyncio.run(talk())


def test_whoever_waits_is_answered_between_two_pieces_of_work(folder: Path) -> None:
    async def work() -> bytes:
        async with await listen(folder, echo):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(folder / channel.NAME))
                client.sendall(LENGTH.pack(2) + b"{}")
                client.setblocking(False)
                await channel.give_way()
                return client.recv(100)

    assert asyncio.run(work()).endswith(b'{"heard":{}}')


def test_one_that_cannot_be_answered_is_logged_and_the_next_one_is(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        async with await listen(folder, echo):
            with pytest.raises(Unreachable):
                await ask(folder, {"do": "fail"})
            assert await ask(folder, {"do": "go on"}) == {"heard": {"do": "go on"}}

    asyncio.run(talk())
    assert "a message could not be answered" in caplog.text


def test_who_is_not_there_or_does_not_answer_is_unreachable(folder: Path) -> None:
    async def talk() -> None:
        with pytest.raises(Unreachable, match="the live process does not answer"):
            await ask(folder, {})
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(channel.NAME)
            with pytest.raises(Unreachable):  # as after a kill: the file is there, nobody listens
                await ask(folder, {})
            silent.listen()
            with pytest.raises(Unreachable):
                await ask(folder, {}, timeout_s=0.05)
        async with await listen(folder, echo):  # takes the place of the old file
            assert await ask(folder, {}) == {"heard": {}}

    asyncio.run(talk())


def test_a_message_too_long_closes_the_connection(folder: Path) -> None:
    async def talk() -> None:
        async with await listen(folder, echo):
            reader, writer = await asyncio.open_unix_connection(channel.NAME)
            writer.write(LENGTH.pack(MAX_MESSAGE + 1))
            assert await reader.read() == b""
            writer.close()

    asyncio.run(talk())


def test_the_socket_is_for_its_owner_alone(folder: Path) -> None:
    async def talk() -> None:
        async with await listen(folder, echo):
            assert Path(channel.NAME).stat().st_mode & 0o777 == 0o600  # noqa: ASYNC240 - it takes no time

    asyncio.run(talk())


def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    with pytest.raises(CannotStart, match=r"has a path of \d+ bytes; expected at most 90, for the socket in it"):
        asyncio.run(listen(folder, echo))
