"""Work that holds the loop goes a piece at a time: what came meanwhile is answered before the next piece."""

import asyncio

from service.transports.turns import N_TURNS, Turns


def test_whoever_comes_during_a_piece_is_through_before_the_next() -> None:
    done: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        turns = Turns()

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
            turns.take(large)
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)
        assert not turns.waiting

    asyncio.run(main())
    assert done == ["large", "small"] * 3


def test_a_piece_that_fails_does_not_stop_the_others() -> None:
    done: list[str] = []

    def fails() -> None:
        raise ValueError

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: done.append(str(context["exception"])))
        turns = Turns()
        turns.take(fails)
        turns.take(lambda: done.append("went on"))
        for _ in range(10 * N_TURNS):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert done == ["", "went on"]
