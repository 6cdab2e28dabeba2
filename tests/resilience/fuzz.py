"""Fuzz for long: `python -m tests.resilience.fuzz --seconds 600`; `make soak` does.

What goes a new way is kept to be damaged further, and with --keep in the corpus, which the tests read. Stops at the
first input that breaks what must hold, and writes it to the standard error.
"""

import argparse
import asyncio
import faulthandler
import functools
import json
import logging
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from service import memory
from tests.resilience.mutation import damaged
from tests.resilience.seeds import WIRE
from tests.resilience.targets import CORPUS, TARGETS, Connections, check_wire, kept
from tests.transports.played import with_app

HANG_S: Final = 30.0  # for a hundred inputs, on a busy machine
WARM: Final = 0.2  # of the time, in which memory may still grow
GROWTH_MB: Final = 20
MOST_KEPT: Final = 5000
MOST_BYTES: Final = 400  # of an input in the corpus


class Pool:
    """Inputs, one for each way that was found."""

    def __init__(self, name: str, seeds: tuple[bytes, ...]) -> None:
        self.name = name
        self.inputs = list(dict.fromkeys((*seeds, *kept(name))))
        self.ways: dict[str, bytes] = {}
        self.n = 0

    def add(self, way: str, data: bytes) -> None:
        """Keep an input that went a new way, or a shorter one."""
        self.n += 1
        old = self.ways.get(way)
        if old is None and len(self.inputs) < MOST_KEPT and data not in self.inputs:
            self.inputs.append(data)
        if old is None or len(data) < len(old):
            self.ways[way] = data

    def keep(self) -> None:
        """Write the shortest of each way."""
        CORPUS.mkdir(exist_ok=True)
        texts = sorted({data.decode("latin-1") for data in self.ways.values() if len(data) <= MOST_BYTES})
        (CORPUS / f"{self.name}.json").write_text(json.dumps(texts, indent=0) + "\n")


async def fuzz(pool: Pool, check: Callable[[bytes], Awaitable[str]], seconds: float, draw: random.Random) -> int:
    """Check damaged inputs for so long; the MB by which memory grew after the warm-up."""

    async def look(data: bytes) -> None:
        try:
            pool.add(await check(data), data)
        except BaseException:
            sys.stderr.write(f"{pool.name}: {data!r}\n")
            raise

    for data in list(pool.inputs):
        await look(data)
    began = time.monotonic()
    before = 0
    while (spent := time.monotonic() - began) < seconds:
        if not before and spent > WARM * seconds:
            before = memory.resident_bytes()
        faulthandler.dump_traceback_later(HANG_S, exit=True, file=2)
        for _ in range(100):
            await look(damaged(pool.inputs, draw))
        faulthandler.cancel_dump_traceback_later()
    return (memory.resident_bytes() - before) >> 20


def plain(check: Callable[[bytes], str]) -> Callable[[bytes], Awaitable[str]]:
    """A check that waits for nothing."""

    async def checked(data: bytes) -> str:
        return check(data)

    return checked


def run(name: str, seconds: float, draw: random.Random) -> tuple[Pool, int]:
    """Fuzz one target for so long: what was found, and by how many MB memory grew."""
    if name != "wire":
        pool = Pool(name, TARGETS[name].seeds)
        return pool, asyncio.run(fuzz(pool, plain(TARGETS[name].check), seconds, draw))
    pool, grown = Pool(name, WIRE), 0

    async def over_the_wire(app: Any) -> None:
        nonlocal grown
        grown = await fuzz(pool, functools.partial(check_wire, Connections(app)), seconds, draw)

    with_app(over_the_wire, load_timeout_s=0)
    return pool, grown


def main() -> int:
    """Fuzz every target for its share of the time; 1 if memory grew."""
    parser = argparse.ArgumentParser(prog="tests.resilience.fuzz")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--target", choices=[*TARGETS, "wire"])
    parser.add_argument("--keep", action="store_true", help="write the corpus")
    given = parser.parse_args()
    logging.disable(logging.WARNING)  # what is refused is logged
    names = [given.target] if given.target else [*TARGETS, "wire"]
    draw = random.Random(given.seed)
    sys.stdout.write(f"seed {given.seed}\n")
    worst = 0
    for name in names:
        pool, grown = run(name, given.seconds / len(names), draw)
        sys.stdout.write(f"{name:9} {pool.n:9,} inputs, {len(pool.ways):5,} ways, {grown:+} MB\n")
        sys.stdout.flush()
        worst = max(worst, grown)
        if given.keep:
            pool.keep()
    return int(worst > GROWTH_MB)


if __name__ == "__main__":
    sys.exit(main())
