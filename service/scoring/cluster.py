"""Who works off a plan on a Ray cluster: actors of Ray Data. The only importer of Ray, and only when it is asked for.

The blocks that go out are spans of the plan, and what was done comes back. The rows themselves stay out of Ray's object
store, which would copy them twice: an actor reads its span and writes the parts, where all nodes see the same files.
"""

import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any, Final

from service.errors import CannotStart, CommandError
from service.scoring.job import Outcome, Plan, Report, score_span
from service.scoring.options import Options
from service.scoring.parts import Folder
from service.scoring.scorer import Scorer

CONNECT_S: Final = 5.0
CAUSE: Final = re.compile(r"^\w*Error: .*", re.MULTILINE)  # the last line of each traceback that Ray quotes


def run_actors(plan: Plan, options: Options, folder: Folder, jobs: int, report: Report) -> list[Outcome]:
    """Work off the plan in so many actors; `report` hears of each span that is finished.

    Raises:
        DataError: rows that cannot be scored.
        CannotStart: no cluster answers, or a node does not see the files.
        CommandError: an actor failed, or a node wrote its parts somewhere else.
    """
    # another node has another working folder
    plan = plan._replace(files=tuple(file.absolute() for file in plan.files))
    options = replace(options, model=options.model.absolute())
    with connect() as data:
        spans = data.from_items([*range(len(plan.spans))], override_num_blocks=len(plan.spans))
        found = spans.map(
            Worker,
            fn_constructor_args=(plan, options, folder),
            compute=data.ActorPoolStrategy(size=jobs, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
        )
        outcomes = []
        for row in found.iter_rows():
            if row["error"] is not None:
                raise row["error"]
            outcome = Outcome(*row["outcome"])
            outcomes.append(outcome)
            report(outcome.n_written + outcome.n_kept)
    check_parts(folder, outcomes, plan)
    folder.remove_unfinished()  # of actors that were lost on the way
    return outcomes


class Worker:
    """What an actor does: load the head once, and work off one span after the other."""

    def __init__(self, plan: Plan, options: Options, folder: Folder) -> None:
        self.plan = plan
        self.options = options
        self.folder = folder

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.options)

    def __call__(self, row: Mapping[str, int]) -> dict[str, Any]:
        """Work off the span that a row names; an error comes back as a value, since Ray wraps what is raised."""
        try:
            outcome = score_span(self.plan.spans[row["item"]], self.plan, self.scorer, self.folder, lambda _: None)
        except CommandError as error:
            return {"outcome": None, "error": error}
        return {"outcome": outcome, "error": None}


@contextmanager
def connect() -> Iterator[Any]:
    """`ray.data` of the cluster that RAY_ADDRESS names, without Ray's own words on the terminal.

    Raises:
        CannotStart: it names none, or none that answers.
        CommandError: what Ray raises later.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    check_address(address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # a cluster that is started here would report home
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data's own actors are an error to Ray's core
    import ray
    import ray.data

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise CannotStart(f"RAY_ADDRESS is {address}: {str(error).splitlines()[0]}") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        yield ray.data
    except ray.exceptions.RayError as error:
        what = [type(error).__name__, *CAUSE.findall(str(error))][-1]
        raise CommandError(f"an actor failed: {what}; expected calibrant[ray] as it is here on every node") from error
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Refuse a cluster that does not listen, for which Ray would wait for minutes.

    Raises:
        CannotStart: with what was expected.
    """
    if not address:
        raise CannotStart("RAY_ADDRESS is not set; expected HOST:PORT of a Ray cluster")
    host, _, port = address.rpartition(":")
    if "://" in address:  # of Ray's dashboard, or of its client, which knows no Ray Data
        raise CannotStart(f"RAY_ADDRESS is {address}; expected HOST:PORT of a Ray cluster")
    if not port.isdecimal():  # `auto`, `local`
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise CannotStart(f"RAY_ADDRESS is {address}, where nothing answers; expected a Ray cluster") from error


def check_parts(folder: Folder, outcomes: list[Outcome], plan: Plan) -> None:
    """Refuse an output that lies on several nodes."""
    expected = sum(-(-(outcome.n_written + outcome.n_kept) // plan.sizes.part) for outcome in outcomes)
    there = len(folder.parts())
    if there < expected:
        raise CommandError(f"{folder.path} has {there} of {expected} parts; expected a folder that all nodes share")
