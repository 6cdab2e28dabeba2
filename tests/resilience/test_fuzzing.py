"""Damaged bytes into every reader of what clients send: an answer or an error of theirs, and nothing that stays.

The same in long, with other bytes each time, is `make soak`.
"""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidValue, RunFailed
from tests.resilience.fuzz import Pool, fuzz
from tests.resilience.mutation import damaged
from tests.resilience.seeds import WIRE
from tests.resilience.targets import TARGETS, Connections, check_wire, described, kept, statuses
from tests.transports.played import with_app

N_WIRE = 150


@pytest.mark.parametrize("name", TARGETS)
def test_every_reader_takes_or_refuses_damaged_bytes(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=300, derandomize=True, database=None)
    @given(st.randoms(use_true_random=False))
    def check(draw: random.Random) -> None:
        target.check(damaged(target.seeds, draw))

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_before_is_still_taken_or_refused(name: str) -> None:
    assert kept(name)
    for data in kept(name):
        TARGETS[name].check(data)


def test_damaged_requests_on_a_connection_are_the_client_s_fault_and_nothing_of_them_stays() -> None:
    async def check(app: Any) -> None:
        connections = Connections(app)
        draw = random.Random(1)
        for data in (*WIRE, *kept("wire")):
            await check_wire(connections, data)
        for _ in range(N_WIRE):
            await check_wire(connections, damaged(WIRE, draw))

    with_app(check, load_timeout_s=0)


def test_a_fault_of_the_service_is_found_and_the_bytes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    async def fragile(data: bytes) -> str:
        if b"x" in data:
            raise MemoryError
        return str(len(data))

    pool = Pool("none", (b"axbx",))
    with pytest.raises(MemoryError):
        asyncio.run(fuzz(pool, fragile, 60, random.Random(1)))
    assert "none: b'" in capsys.readouterr().err


def test_an_error_of_the_service_s_own_is_none_of_the_client_s() -> None:
    assert described(InvalidValue("logits[3] is 1e40; expected less")) == "invalid_value: _ is _; expected less"
    with pytest.raises(AssertionError):
        described(RunFailed("the run failed"))


def test_answers_are_counted_by_their_status() -> None:
    assert statuses(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n") == [
        200,
        500,
    ]
