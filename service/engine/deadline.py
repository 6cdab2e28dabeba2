"""Refuses at once what cannot be answered within its time."""

import time
from collections.abc import Hashable
from typing import Final, Protocol

from service.engine.entry import TOO_LATE
from service.engine.pace import runs_s
from service.engine.queue import Queue, most_rows
from service.engine.rows import Runnable
from service.engine.runner import Runner
from service.errors import DeadlinePassed, QueueFull

clock: Final = time.perf_counter
LONGER: Final = "a longer timeout (the request's own, or --default-timeout-ms)"


class Waiting(Protocol):
    """What is needed of the batcher that owns the queues."""

    queues: dict[Hashable, Queue]
    n_waiting: int
    max_batch_rows: int


def check_deadline(batcher: Waiting, queue: Queue | None, runner: Runner, rows: Runnable, timeout_s: float) -> None:
    """Pass where `rows`, which would go into `queue` or a new one, are expected to be answered within `timeout_s`.

    Counted are the rest of the run under way in that queue, the runs of what waits there, and their own. What waits in
    other queues runs beside them, and counts where more than a batch waits in all.

    Raises:
        QueueFull: they are not.
        DeadlinePassed: nothing is left of the time of the request.
    """
    if timeout_s <= 0:
        raise DeadlinePassed(TOO_LATE)
    now = clock()
    numbers_a_row = max(1, rows.n_numbers // rows.n)
    max_rows = most_rows(batcher.max_batch_rows, numbers_a_row)
    own_s = wait_s = runs_s(runner, rows.n, max_rows, numbers_a_row)
    if queue is not None:
        wait_s = rest_s(queue, now) + runs_s(runner, queue.n_waiting + rows.n, max_rows, numbers_a_row)
    if batcher.n_waiting > batcher.max_batch_rows:
        wait_s += sum([waiting_s(other) for other in batcher.queues.values() if other is not queue])
    if wait_s <= timeout_s or (queue is None and own_s > timeout_s and runner.pace.wants_run(now)):
        return
    if own_s > timeout_s:
        why, expected = f"the rows take about {own_s:.3g} s to run", f"expected {LONGER}"
    else:
        why, expected = f"the queue takes about {wait_s:.3g} s", f"try again in a moment, or with {LONGER}"
    raise QueueFull(f"{why}, and the request has {timeout_s:.3g} s left; {expected}", code="deadline_too_close")


def rest_s(queue: Queue, now: float) -> float:
    """What is left of a queue's run in a thread, as expected, seconds."""
    if queue.running is None:
        return 0.0
    return max(0.0, queue.started + queue.runner.pace.factor * queue.cost_s - now)


def waiting_s(queue: Queue) -> float:
    """What the runs of all that waits in a queue are expected to take, seconds."""
    return runs_s(queue.runner, queue.n_waiting, queue.max_rows, queue.numbers_a_row)
