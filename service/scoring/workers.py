"""Who works off a plan: this process, or several, or a cluster; what they wrote stays when one of them fails."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, Literal

from service.errors import CommandError, DataError
from service.scoring.job import Outcome, Plan, Report, Span, add_up, score_span
from service.scoring.options import Options
from service.scoring.parts import Folder
from service.scoring.scorer import Scorer

Engine = Literal["local", "ray"]
LOOK_S: Final = 0.2  # between two looks at how far the processes are


def run(plan: Plan, scorer: Scorer, folder: Folder, jobs: int, report: Report, engine: Engine = "local") -> Outcome:
    """Work off the plan; `report` hears how many rows more are there.

    Raises:
        DataError: rows that cannot be scored, or none at all.
        CommandError: a process was ended from outside.
        CannotStart: there is no such cluster.
    """
    if engine == "ray":
        from service.scoring.cluster import run_actors

        outcomes = run_actors(plan, scorer.options, folder, jobs, report)
    elif jobs == 1:
        outcomes = [score_span(span, plan, scorer, folder, report) for span in plan.spans]
    else:
        outcomes = run_processes(plan, scorer.options, folder, jobs, report)
    outcome = add_up(outcomes)
    if not outcome.n_written + outcome.n_kept:
        raise DataError(f"there are no rows in {', '.join(file.name for file in plan.files[:5])}; expected some")
    return outcome


def run_processes(plan: Plan, options: Options, folder: Folder, jobs: int, report: Report) -> list[Outcome]:
    """The same in so many processes; a span that fails ends the others at the next rows that they write."""
    context = multiprocessing.get_context("spawn")  # ONNX Runtime and Arrow do not survive a fork
    count, stopped = context.Value("q"), context.Event()
    seen = 0
    with ProcessPoolExecutor(jobs, context, start, (plan, options, folder, count, stopped)) as pool:
        futures = [pool.submit(work, span) for span in plan.spans]
        left: set[Future[Outcome]] = {*futures}
        try:
            while left:
                done, left = wait(left, LOOK_S, FIRST_EXCEPTION)
                now = count.value
                report(now - seen)
                seen = now
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise CommandError(
                "a process was ended from outside, for memory perhaps; the same command goes on from here"
            ) from error
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
    return [future.result() for future in futures]


class Stopped(Exception):
    """Another span has failed, or the user has had enough."""


State = tuple[Plan, Scorer, Folder, Callable[[int], None]]
STATE: list[State] = []  # of this process, if it works for another


def start(plan: Plan, options: Options, folder: Folder, count: Any, stopped: Any) -> None:
    """Begin as a process that works for another: load the head once, and end when that one does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other one hears of it, and stops this one
    threading.Thread(target=end_with_parent, daemon=True).start()

    def report(n_rows: int) -> None:
        with count.get_lock():
            count.value += n_rows
        if stopped.is_set():
            raise Stopped

    STATE.append((plan, Scorer(options), folder, report))


def end_with_parent() -> None:
    """Wait for the parent, which may be killed, and leave nothing running."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(span: Span) -> Outcome:
    """Work off one span."""
    plan, scorer, folder, report = STATE[0]
    return score_span(span, plan, scorer, folder, report)
