"""What each stage of one request costs, in this process, in microseconds: decode, check, hand over, run, encode."""

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any, Final

import numpy as np
from rich.table import Table

from service.codec.predict.careful import decode_careful
from service.codec.predict.decode import decode_fast, decode_predict, decode_usual
from service.codec.predict.encode import encode_predict
from service.codec.query import Query
from service.engine.batcher import Batcher
from service.engine.entry import Entry
from service.engine.feed import build_feed
from service.engine.head import Head
from service.engine.pace import Pace
from service.engine.rows import Rows, Runnable
from service.families.outputs import graph_bits
from service.model import Model
from tests.benchmarks.options import Options, console
from tests.benchmarks.processes import ROOT
from tests.benchmarks.work import inputs, made

SHAPES: Final = ((1, 10), (1, 1000), (64, 1000), (1, 50_000))
SAMPLES: Final = 9
AT_ONCE: Final = 16
WANTED: Final = graph_bits(("probabilities",))

Stages = dict[str, float | None]


class Instant:
    """A runner that has its answer already, so that only the way there and back is timed."""

    temperature = 1.0
    stopped = ""

    def __init__(self, n: int, k: int) -> None:
        self.pace = Pace()
        self.answer = np.zeros((n, k), np.float32)

    def cost_s(self, n_numbers: int) -> float:
        """Nothing."""
        return 0.0

    def run(self, feed: dict[str, Any], bits: int) -> dict[str, Any]:
        """As many rows as came."""
        return {"probabilities": self.answer[: len(feed["logits"])]}

    def run_alone(self, rows: Runnable, bits: int) -> dict[str, Any]:
        """As many rows as came."""
        return {"probabilities": self.answer[: rows.n]}

    def stop(self, why: str) -> None:
        """Nothing runs for long."""


def cost_us(work: Callable[[], object], budget_s: float) -> float:
    """Microseconds of CPU of one call: the median of some samples, each of them long enough for the clock."""
    n = calls_within(work, budget_s / SAMPLES)
    return 1e6 * statistics.median(seconds_of(work, n) / n for _ in range(SAMPLES))


def calls_within(work: Callable[[], object], budget_s: float) -> int:
    """How many calls take about that long, up to twice; a power of 2."""
    n = 1
    while seconds_of(work, n) < budget_s and n < 1_000_000:
        n *= 2
    return n


def seconds_of(work: Callable[[], object], n: int) -> float:
    """Seconds of CPU of `n` calls, all of whose work is on this thread; a busy machine hardly changes them."""
    start = time.thread_time()
    for _ in repeat(None, n):
        work()
    return time.thread_time() - start


async def hand_over_us(rows: Runnable, at_once: int, budget_s: float) -> float:
    """Microseconds a request from `submit` to its answer, so many waiting at a time, by a run that costs nothing."""
    n, k = rows.inputs["logits"].shape
    batcher = Batcher(max_queue_rows=max(8192, at_once * n))
    runner = Instant(max(n, batcher.max_batch_rows), k)
    finished = asyncio.get_running_loop().create_future()
    samples: list[float] = []
    waiting = at_once
    start = time.perf_counter()
    end = start + budget_s

    def send() -> None:
        nonlocal start, waiting
        waiting = at_once
        start = time.perf_counter()
        for _ in range(at_once):
            batcher.submit(runner, rows, WANTED, done, 60.0)

    def done(entry: Entry) -> None:
        nonlocal waiting
        assert entry.error is None
        waiting -= 1
        if waiting == 0:
            now = time.perf_counter()
            samples.append((now - start) / at_once)
            if now < end:
                # after the batch is over, as a request from outside would come
                batcher.loop.call_soon(send)
            else:
                finished.set_result(None)

    send()
    await finished
    await batcher.close()
    return 1e6 * statistics.median(samples)


async def at_once_us(rows: Runnable, budget_s: float) -> float:
    """Microseconds of a request that nobody else's could share a batch with, by a run that costs nothing."""
    n, k = rows.inputs["logits"].shape
    batcher, runner = Batcher(), Instant(n, k)
    took = cost_us(lambda: batcher.run_now(runner, rows, WANTED, 60.0, n_connections=1), budget_s)
    await batcher.close()
    return took


def looped(n: int, k: int, query: Query, budget_s: float) -> Stages:
    """The batcher's stages, on the loop that the service has."""
    import uvicorn

    factory = uvicorn.Config("").get_loop_factory()
    rows = query.rows
    stages: Stages = {}
    with asyncio.Runner(loop_factory=factory) as runner:
        stages["at once"] = runner.run(at_once_us(rows, budget_s))
        stages["hand-over, alone"] = runner.run(hand_over_us(rows, 1, budget_s))
        if n * k <= 10_000:  # of the larger ones a batch is mostly copying
            stages[f"hand-over, {AT_ONCE} wait"] = runner.run(hand_over_us(rows, AT_ONCE, budget_s))
    return stages


def measured(n: int, k: int, model: Model, budget_s: float) -> Stages:
    """Microseconds by stage, for a request of N rows of K classes with mask and temperatures."""
    body = made(f"{n}x{k}").body
    given = inputs(n, k)
    logits, temperature = given.logits.astype(np.float64), given.temperature.reshape(-1, 1)
    query = decode_predict(body, None, model.signature)
    feed = build_feed([query.rows], model.signature.temperature)
    answer = model.head.run(feed, WANTED)
    signature = model.signature
    fast, usual = (way(body, signature) is not None for way in (decode_fast, decode_usual))
    time_of = partial(cost_us, budget_s=budget_s)
    return {
        "decode, usual": time_of(lambda: decode_usual(body, signature)) if usual else None,
        "decode, fast": time_of(lambda: decode_fast(body, signature)) if fast else None,
        "decode, careful": time_of(lambda: decode_careful(body, signature)),
        "of which rows check": time_of(lambda: Rows.from_logits(logits, given.mask, temperature)),
        **looped(n, k, query, budget_s),
        "head run": time_of(lambda: model.head.run(feed, WANTED)),
        "join and run, alone": time_of(lambda: model.head.run_alone(query.rows, WANTED)),
        "encode": time_of(lambda: encode_predict(query, answer, signature)),
    }


def run(options: Options) -> dict[str, Any]:
    """Measure all shapes, and print."""
    model = Model("softmax", 1, Head(ROOT / "models" / "softmax" / "1" / "model.onnx"), (0, 0, 0))
    budget_s = options.seconds / 4
    columns = {f"{n}x{k}": measured(n, k, model, budget_s) for n, k in SHAPES}
    drawn = Table(title="Stages of one request, microseconds (medians)", title_justify="left", caption_justify="left")
    drawn.add_column("stage")
    for shape in columns:
        drawn.add_column(f"{shape} + mask", justify="right")
    for stage in next(iter(columns.values())):
        drawn.add_row(stage, *(spoken(stages.get(stage)) for stages in columns.values()))
    drawn.caption = "the hand-over is from submit to done with a run that costs nothing; HTTP is not in here"
    console.print(drawn)
    return {"stages_us": columns}


def spoken(us: float | None) -> str:
    """A number of microseconds with three digits, or a dash."""
    if us is None:
        return "-"
    return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"
