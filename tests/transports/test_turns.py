"""Work that holds the loop goes a piece at a time: what came meanwhile is answered before the next piece."""

import asyncio

import pytest

from service.transports import turns
from service.transports.turns import N_TURNS, Turns


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
            taken.take(large)
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)
        assert not taken.waiting

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
        for _ in range(30):
            taken.take(work)
        while len(taken.waiting) > 5:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0)
        assert taken.expected_wait_s == pytest.approx(10.0, rel=0.01)
        while taken.waiting:  # noqa: ASYNC110 - as above
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
        taken.take(fails)
        taken.take(lambda: done.append("went on"))
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["", "went on"]
