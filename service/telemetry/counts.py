"""The counts of this process, and of all workers together.

A timer, which runs only while there is something to add up, does so every `INTERVAL_S`. Several workers keep a file
each in a folder that they share, and whoever is asked adds them up. What is counted, and how, stands in `tally.py`.
"""

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from service.errors import AnsweredError
from service.telemetry.observer import Headers, Response
from service.telemetry.request import Request
from service.telemetry.samples import SAMPLED, Samples
from service.telemetry.tally import SILENCE, Tally, do_nothing

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.1
Key = tuple[str, str]  # model and version
NO_MODEL: Final = ("", "")  # requests for which no model was found, and what is counted for the service as a whole


@dataclass
class Totals:
    """All processes together, at one moment."""

    tallies: dict[Key, Tally] = field(default_factory=dict)
    n_waiting: int = 0
    n_dead_batchers: int = 0
    stopped: dict[str, str] = field(default_factory=dict)
    pids: list[int] = field(default_factory=list)

    def merge(self, state: dict[str, Any], pid: int) -> Self:
        """Add a process's; a dead one's queue is gone."""
        for model, version, tally in state["tallies"]:
            self.tallies.setdefault((model, version), Tally(do_nothing)).merge(tally)
        if lives(pid):
            self.pids.append(pid)
            self.n_waiting += state["n_waiting"]
            self.n_dead_batchers += state["dead"]
            self.stopped |= state["stopped"]
        return self


class Telemetry:
    """The observer that counts, and the way to the counts of all processes. Use it from one event loop."""

    def __init__(self, folder: Path | None) -> None:
        self.file = None if folder is None else folder / f"{os.getpid()}.json"
        self.nowhere = Tally(self.wake)
        self.tallies: dict[Key, Tally] = {NO_MODEL: self.nowhere}
        self.depth: Callable[[], int] = int
        self.dead: Callable[[], bool] = bool
        self.stopped: Callable[[], dict[str, str]] = dict  # `MODEL/VERSION` to why its head was taken out of service
        self.timer: asyncio.TimerHandle | None = None
        self.failed = False  # to publish, which is logged once

    def of(self, name: str, version: str) -> Tally:
        """The tally of a version of a model."""
        key = (name, version)
        if key not in self.tallies:
            self.tallies[key] = Tally(self.wake)
        return self.tallies[key]

    def began(self, request: Request, headers: Headers) -> None:
        """Do nothing: what is counted is how it ends."""

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:  # noqa: ARG002 - traces use them
        samples: Samples = runner.tally.samples
        samples.ran(n_rows, took_s)

    def answered(self, request: Request, arrays: Any, response: Response) -> None:  # noqa: ARG002 - as above
        """Count an answer and its warnings by code, and sample confidences: the first row of a few answers."""
        tally = request.model.tally
        samples: Samples = tally.samples
        samples.answered(request.n_rows, request.decode_s, request.queue_s, request.run_s, request.encode_s)
        if not request.query.plain:
            count_warnings(tally, request.query)
        if len(samples.confidences) < SAMPLED and "probabilities" in arrays:
            samples.confidences.append(float(arrays["probabilities"][0].max()))

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:  # noqa: ARG002 - as above
        """Count a refusal, by its code and where a model was found for it by that."""
        self.nowhere.rejected[error.code] += 1
        if request is None:
            self.nowhere.refused(error.status, 0.0)
        else:
            tally = self.nowhere if request.model is None else request.model.tally
            tally.refused(error.status, request.decode_s + request.queue_s + request.run_s)

    def gone(self, request: Request) -> None:
        """Do nothing: nobody was answered."""

    def journaled(self, n_kept: int, n_dropped: int) -> None:
        """Count rows that the journal has kept, or has not."""
        self.wake()
        self.nowhere.n_journaled += n_kept
        self.nowhere.n_dropped += n_dropped

    def unsent(self, n_spans: int) -> None:
        """Count spans that the collector has not got; from any thread, one at a time."""
        self.nowhere.n_unsent += n_spans

    def wake(self) -> None:
        """Something came: add it up in a moment."""
        if self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(INTERVAL_S, self.ring)

    def ring(self) -> None:
        """Add up, and go on while rows are waiting."""
        self.timer = None
        self.add_up()
        self.publish()
        if self.depth():
            self.wake()

    def add_up(self) -> None:
        """Put everything where it belongs."""
        for tally in list(self.tallies.values()):  # a model may be loaded meanwhile, in a thread
            tally.add_up()

    def state(self) -> dict[str, Any]:
        return {
            "tallies": [[*key, tally.state()] for key, tally in list(self.tallies.items())],
            "n_waiting": self.depth(),
            "dead": self.dead(),
            "stopped": self.stopped(),
        }

    def publish(self) -> None:
        """Let the other processes see it; where the disk is full, they see what was before."""
        if self.file is None:
            return
        draft = self.file.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(self.state()))
            draft.replace(self.file)
        except FileNotFoundError:  # the folder goes with whoever made it
            return
        except OSError as error:
            if not self.failed:
                logger.warning(
                    "the counts of process %d cannot be written, /metrics lacks them: %s", os.getpid(), error
                )
            self.failed = True
        else:
            self.failed = False

    def close(self) -> None:
        """Add up what is left."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.add_up()
        self.publish()

    def totals(self) -> Totals:
        """Everybody's: this process to the last request, the others as of `INTERVAL_S` ago."""
        self.add_up()
        totals = Totals().merge(self.state(), os.getpid())
        if self.file is not None:
            for path in self.file.parent.glob("*.json"):
                if path != self.file:
                    totals.merge(json.loads(path.read_text()), int(path.stem))
        return totals


class Off(Telemetry):
    """Telemetry switched off: the same surface, and nothing behind it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.tallies.clear()

    def of(self, name: str, version: str) -> Tally:  # noqa: ARG002 - the signature of the one that counts
        """The same for all."""
        return SILENCE

    def journaled(self, n_kept: int, n_dropped: int) -> None:
        """Do nothing."""

    def ran(self, runner: Any, marks: Sequence[Any], n_rows: int, took_s: float) -> None:
        """Do nothing."""

    def answered(self, request: Request, arrays: Any, response: Response) -> None:
        """Do nothing."""

    def refused(self, request: Request | None, error: AnsweredError, response: Response) -> None:
        """Do nothing."""


def count_warnings(tally: Tally, query: Any) -> None:
    """Count the warnings that an answer carries."""
    if query.rows.looks_like_probabilities:
        tally.warned["looks_like_probabilities"] += 1
    if query.rows.empty:
        tally.warned["no_class_allowed"] += 1
    if query.groups is not None and not query.groups.all():
        tally.warned["unknown_group"] += 1


def start(folder: Path | None = None) -> Telemetry:
    """Telemetry of one process; several that share a folder are added up."""
    return Telemetry(folder)


def lives(pid: int) -> bool:
    """Whether a process lives."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
