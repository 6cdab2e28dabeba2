"""Work that holds the loop goes a piece at a time: what came meanwhile is answered before the next piece."""

import asyncio
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from service.transports import turns
from service.transports.handler import Handler
from service.transports.ordinary import OrdinaryProtocol
from service.transports.turns import N_STARTS, N_TURNS, Starts, Turns
from tests.conftest import serving
from tests.transports.wire import ids, post, wire


def test_whoever_comes_during_a_piece_is_through_before_the_next() -> None:
    done: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        taken = Turns()

        def small(steps_left: int) -> None:
            """A request that takes some turns of the loop, as one over the ASGI transport does."""
            if steps_left:
                loop.call_soon(small, steps_left - 1)
            else:
                done.append("small")

        def large() -> None:
            done.append("large")
            small(N_TURNS - 1)

        for _ in range(3):
            taken.decode(large)
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)
        assert not taken.busy

    asyncio.run(main())
    assert done == ["large", "small"] * 3


def test_the_wait_is_expected_from_what_the_last_pieces_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(turns, "clock", lambda: now)

    async def main() -> None:
        nonlocal now

        def work() -> None:
            nonlocal now
            now += 2.0

        taken = Turns()
        assert taken.expected_wait_s == 0.0
        for _ in range(60):
            taken.decode(work)
        while len(taken.decoding) > 5:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0)
        assert taken.expected_wait_s == pytest.approx(20.0, rel=0.01)  # to decode five, and to encode their answers
        while taken.busy:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        assert taken.expected_wait_s == 0.0

    asyncio.run(main())


def test_a_piece_that_fails_does_not_stop_the_others() -> None:
    done: list[str] = []

    def fails() -> None:
        raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: done.append(str(context["exception"])))
        taken = Turns()
        taken.decode(fails)
        taken.decode(lambda: done.append("went on"))
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["", "went on"]


def test_answers_go_before_what_was_taken_in_meanwhile() -> None:
    done: list[str] = []

    async def main() -> None:
        taken = Turns()

        def decode() -> None:
            done.append("decode")
            taken.encode(lambda: done.append("encode"))

        for _ in range(3):
            taken.decode(decode)
        while taken.busy:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["decode", "encode"] * 3


def test_others_without_end_get_one_turn_of_the_loop_between_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    n_turns = 0
    monkeypatch.setattr(turns, "clock", lambda: now)

    async def main() -> None:
        nonlocal now, n_turns
        taken = Turns()
        for _ in range(10):
            taken.decode(lambda: None)
        while taken.busy:
            now += 2 * turns.OTHERS_S  # what others took in this turn
            n_turns += 1
            await asyncio.sleep(0)

    asyncio.run(main())
    assert n_turns <= 11


def test_bodies_on_their_way_count_for_a_few_pieces() -> None:
    async def main() -> None:
        taken = Turns()
        waits: list[float] = []
        for _ in range(5):
            taken.decode(lambda: waits.append(taken.expected_wait_s / taken.piece_s if taken.piece_s else 0))
        for _ in range(4):
            taken.expect()
        while taken.busy:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0)
        assert waits == pytest.approx([0, 2 * 3 + 2 * 2, 2 * 2 + 2 * 1, 2 * 1, 0])
        assert taken.n_coming == 0

    asyncio.run(main())


def test_bodies_that_are_let_in_during_one_turn_of_the_loop_wait_for_each_other() -> None:
    async def main() -> None:
        taken = Turns()
        counts: list[int] = []
        for _ in range(5):
            taken.expect()
            counts.append(taken.n_coming)
        assert counts == [1, 2, 3, 4, 5]
        for _ in range(3):  # who is slow makes nobody wait for long
            await asyncio.sleep(0)
        assert taken.n_coming == 0
        taken.expect()
        taken.decode(taken.expect)  # the last piece
        while taken.busy or taken.n_coming:  # noqa: ASYNC110 - counts, no event
            await asyncio.sleep(0)

    asyncio.run(main())


def test_so_many_requests_start_a_turn_in_the_order_in_which_they_came() -> None:
    started: list[int] = []
    seen: list[int] = []

    async def main() -> None:
        starts = Starts()
        for i in range(2 * N_STARTS + 3):
            starts.start(partial(started.append, i))
        seen.append(len(started))
        await asyncio.sleep(0)
        starts.start(partial(started.append, 2 * N_STARTS + 3))  # behind those that wait
        seen.append(len(started))
        for _ in range(4):
            await asyncio.sleep(0)
            seen.append(len(started))
        for i in range(N_STARTS):  # as if nothing had been
            starts.start(partial(started.append, 2 * N_STARTS + 4 + i))
        seen.append(len(started))

    asyncio.run(main())
    every = 2 * N_STARTS + 4
    assert seen == [N_STARTS, 2 * N_STARTS, every, every, every, every, every + N_STARTS]
    assert started == list(range(every + N_STARTS))


def test_what_comes_at_once_over_asgi_starts_in_one_turn_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, held = Handler.begin, threading.Event()
    n_turns, seen = 0, []

    def begun(*given: Any, **options: Any) -> Any:
        if b'"held"' in given[4]:
            held.set()
            time.sleep(0.5)  # the others come meanwhile, and are read in one turn
            count_turns()
        else:
            seen.append(n_turns)
        return begin(*given, **options)

    def count_turns() -> None:
        nonlocal n_turns
        n_turns += 1
        if len(seen) < 3:
            asyncio.get_running_loop().call_soon(count_turns)

    monkeypatch.setattr(turns, "N_STARTS", 1)
    monkeypatch.setattr(Handler, "begin", begun)
    with serving(protocol=OrdinaryProtocol) as running, ExitStack() as stack:
        lines = [stack.enter_context(wire(running)) for _ in range(4)]
        lines[0].send(post(name="held"))
        assert held.wait(20)
        for line in lines[1:]:
            line.send(post(name="other"))
        assert ids(*(line.answer() for line in lines)) == ["held", "other", "other", "other"]
    assert len(set(seen)) == 3
