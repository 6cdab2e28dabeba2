"""Whether the service is ready, and what that depends on."""

from collections.abc import Callable, MutableSequence
from typing import Final, Protocol

from service.engine.batcher import Batcher
from service.engine.head import Head
from service.engine.runner import HEAD_STOPPED
from service.errors import NotReady
from service.model import stopped_heads
from service.repository import Repository
from service.telemetry.counts import Telemetry


class State(Protocol):
    """What of the running service these answers are made of."""

    repository: Repository
    batcher: Batcher | None
    telemetry: Telemetry
    draining: bool

    @property
    def readiness(self) -> Callable[[], bool]:
        """Whether every process behind the port is ready."""

    @property
    def journal(self) -> object | None:
        """What keeps answers until their labels come."""

    default_model: str


def check_ready(state: State, head: Head | None = None) -> None:
    """Raise NotReady unless every process behind the port answers, and this head is in service."""
    if head is not None and head.stopped:
        raise NotReady(head.stopped, code=HEAD_STOPPED)
    if state.draining:
        raise NotReady("the service is stopping")
    if state.batcher is None or not state.batcher.alive:
        raise NotReady("the batcher is not running")
    if not state.readiness():
        raise NotReady("one of the workers is not ready")
    if not state.repository.models:
        raise NotReady("no model is served; expected MODEL/VERSION/model.onnx in the models folder (see /v1/models)")
    stopped = stopped_heads(state.repository.models)
    if stopped and len(stopped) == sum(map(len, state.repository.models.values())):
        raise NotReady("no head is in service: " + "; ".join(f"{key}: {why}" for key, why in stopped.items()))


def is_ready(state: State) -> bool:
    """Whether `/readyz` answers 200."""
    try:
        check_ready(state)
    except NotReady:
        return False
    return True


STARTING: Final = 0
READY: Final = 1
STOPPED: Final = 2  # after it was ready
MAX_MISSED: Final = 20  # looks, ten a second


class Pulse:
    """Which processes go on: each adds to a number of its own, and is looked at again and again.

    Looks are counted and no seconds, so that nobody is called silent by a process that stood still itself.
    """

    def __init__(self, beats: MutableSequence[int]) -> None:
        self.beats = beats
        self.last = list(beats)
        self.missed = [0] * len(beats)

    def look(self) -> None:
        """See who has gone on since the last look; the others have missed one more."""
        now = list(self.beats)
        self.missed = [(n + 1) * (beat == before) for n, beat, before in zip(self.missed, now, self.last, strict=True)]
        self.last = now


class Readiness:
    """A byte for each process behind the port: starting, ready or stopped. One process has one of its own."""

    def __init__(
        self, ready: MutableSequence[int] | None = None, slot: int = 0, beats: MutableSequence[int] | None = None
    ) -> None:
        self.ready = [STARTING] if ready is None else ready
        self.slot = slot
        self.pulse = Pulse([0] * len(self.ready) if beats is None else beats)

    def __call__(self) -> bool:
        """Whether all are ready."""
        return all(self.is_ready(slot) for slot in range(len(self.ready)))

    def is_ready(self, slot: int) -> bool:
        """Whether the process of this slot is, and goes on."""
        return self.ready[slot] == READY and self.pulse.missed[slot] < MAX_MISSED

    def set(self, ready: bool) -> None:
        """Say it of this process."""
        self.ready[self.slot] = READY if ready else STOPPED

    def beat(self) -> None:
        """Say that this process goes on, and look at the others; called at every tick of its loop."""
        self.pulse.beats[self.slot] += 1
        self.pulse.look()
