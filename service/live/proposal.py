"""The refit of one version: proposed, shadowed, promoted or dismissed, and what people did about it.

A fold of the version's labels and of those deeds, as the monitor is one of its labels. A version that was promoted
itself has a second shadow, the version that it replaced, which may win its place back.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Literal

from service.live.guard import FEWEST_LABELS, PROMOTED_FROM, Case, refusal
from service.live.monitor import Monitor
from service.live.records import Records
from service.live.refit import Labelled, Shadow
from service.metadata import Metadata

Policy = Literal["off", "propose", "promote"]
Because = Literal["alarm", "request"]
Phase = Literal["none", "running", "promoted", "dismissed"]

METHOD: Final = "temperature"
MOST_EVENTS: Final = 100
NO_LOGITS: Final = "the journal has no log-probabilities of the answers; expected --journal-what logits"


class Refit:
    """What became of the wish for a better temperature.

    Attributes:
        phase: where it stands.
        since_ns: when it was proposed; because: of what; by: whom, if it was asked for.
        epoch: the first label of the monitor's epoch in which it was proposed; of its alarm nothing is again.
        start: the number of the first label that counts.
        shadow: its statistics, until it is dismissed.
        back: those of the version that was replaced; is_back: it has been put back.
        answered_ns: when the first and the last answer that counts were given.
        tried_ns: when a promotion was last tried by itself, by whichever host.
        left_out: labels whose answer has no log-probabilities.
        history: the newest 100 events.
    """

    def __init__(self, back: float | None = None) -> None:
        """Begin without a proposal; `back` is the factor to the temperature of the version that was replaced."""
        self.phase: Phase = "none"
        self.since_ns: int | None = None
        self.because: Because | None = None
        self.by: str | None = None
        self.epoch = -1
        self.start = 0
        self.shadow: Shadow | None = None
        self.back = None if back is None else Shadow(back)
        self.is_back = False
        self.answered_ns: list[int] = []
        self.left_out = 0
        self.tried_ns = 0
        self.history: list[dict[str, Any]] = []

    @property
    def is_running(self) -> bool:
        """Whether labels are wanted for the proposal."""
        return self.phase == "running"

    @property
    def is_replaced(self) -> bool:
        """Whether another version has taken the place of this one."""
        return self.phase == "promoted" or self.is_back

    @property
    def wants_labels(self) -> bool:
        """Whether labels change anything."""
        return self.is_running or self.wants_back

    @property
    def wants_back(self) -> bool:
        """Whether the version that was replaced may still win."""
        return self.back is not None and not self.is_back

    def propose(self, because: Because, by: str | None, epoch: int, start: int, at_ns: int) -> None:
        """Begin to shadow with the label of the number `start`."""
        self.phase, self.because, self.by, self.epoch = "running", because, by, epoch
        self.start, self.since_ns, self.shadow = start, at_ns, Shadow()
        self.answered_ns, self.left_out = [], 0
        self._tell("proposed", at_ns, by)

    def see_alarm(self, monitor: Monitor) -> None:
        """Propose at the alarm of an epoch, once; labels of a version that was replaced may come for long."""
        alarms = [watch for watch in (monitor.evidence, monitor.absolute) if watch is not None]
        found = [(one.latch.alarm_at, one.latch.alarm_ns or 0) for one in alarms if one.latch.alarm_at is not None]
        if found and not self.is_running and not self.is_replaced and self.epoch != monitor.epoch_start:
            label, at_ns = min(found)
            self.propose("alarm", None, monitor.epoch_start, label + 1, at_ns)

    def update(self, records: Records, rows: Labelled) -> None:
        """Count labels: of the answers `rows` `[n]`, with their records."""
        if self.back is not None and self.wants_back:
            self.back.update(rows)
        new = records["index"] >= self.start
        if self.shadow is None or not self.is_running or not new.any():
            return
        records, rows = records[new], Labelled(rows.log_p[new], rows.sizes, rows.columns[new])
        answered = records["predicted_ns"].tolist()
        self.answered_ns = [min(self.answered_ns + answered), max(self.answered_ns + answered)]
        start, n = 0, len(records)
        while start < n:
            stop = min(n, start + (self.shadow.next_fit or n) - self.shadow.n)
            fitted = self.shadow.fitted
            self.shadow.update(rows.part(start, stop))
            if self.shadow.fitted > fitted:
                self._tell("fitted", int(records["labelled_ns"][stop - 1]), None)
            start = stop

    def promote(self, version: str, by: str, at_ns: int) -> None:
        """A version with the shadow's temperature was written."""
        self._tell("promoted", at_ns, by, version)
        self.phase = "promoted"

    def put_back(self, version: str, at_ns: int) -> None:
        """A version with the old head was written."""
        self.is_back = True
        self._tell("put back", at_ns, None, version)
        if self.is_running:
            self.phase = "dismissed"

    def dismiss(self, by: str, at_ns: int) -> None:
        """Throw the shadow away."""
        self._tell("dismissed", at_ns, by)
        self.phase, self.shadow = "dismissed", None

    def _tell(self, what: str, at_ns: int, by: str | None, version: str | None = None) -> None:
        """Add to the history."""
        shadow = self.back if what == "put back" else self.shadow
        guard = None if shadow is None else shadow.guard
        judged = shadow is not None and shadow.served.rows > 0
        event = {
            "at": at_ns / 1e9,
            "by": by,
            "what": what,
            "to_version": version,
            "labels": 0 if shadow is None else shadow.n,
            "e": None if guard is None else guard.max_e,
            "difference": shadow.difference()["difference"] if shadow is not None and judged else None,
        }
        self.history = [*self.history, event][-MOST_EVENTS:]

    def state(self) -> dict[str, Any]:
        """As JSON; whole numbers may have more than 64 bits."""
        shadows = {name: getattr(self, name) for name in ("shadow", "back")}
        return vars(self) | {name: None if one is None else one.state() for name, one in shadows.items()}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> "Refit":
        """Read back what `state` wrote."""
        found = cls()
        vars(found).update(state)
        for name in ("shadow", "back"):
            setattr(found, name, None if state[name] is None else Shadow.restore(state[name]))
        return found


def unfit(about: Metadata | None) -> str | None:
    """Why another temperature cannot be fitted on a head's answers; none where it can."""
    if about is None:
        return "the file of the head was not there when its answers were read; expected it in the models folder"
    if about.family != "softmax":
        return f"the head is of the family {about.family}; expected softmax"
    if about.classes is None:
        return "the head serves any number of classes; expected one of a fixed number"
    if about.calibrator.get("laplace") and not about.calibrator.get("top"):
        return "the head mixes in the uniform distribution behind its temperature; expected one without --laplace"
    return None


def why_not(refit: Refit, about: Metadata | None, monitor: Monitor, labelled: float, *, sampled: bool) -> str | None:
    """Why the shadow must not be promoted, whatever its E; `labelled` is the share of the answers with a label."""
    reason = unfit(about)
    if reason is not None or about is None:
        return reason
    shadow = refit.shadow or Shadow()
    if refit.left_out and not shadow.n:
        return NO_LOGITS
    case = Case(
        METHOD,
        shadow.fitted,
        about.classes or 0,
        about.temperature * (shadow.factor or 1.0),
        about.temperature,
        labelled,
        sampled=sampled,
        informative_delay=monitor.disagreement.at is not None,
    )
    return refusal(case)


def state_of(refit: Refit, policy: Policy) -> str:
    """In one word: off, none, collecting, shadowing, earned, promoted or dismissed."""
    if policy == "off":
        return "off"
    if not refit.is_running or refit.shadow is None:
        return refit.phase
    if refit.shadow.guard is None:
        return "collecting"
    return "earned" if refit.shadow.has_earned else "shadowing"


def tag_of(refit: Refit) -> str:
    """What changes whenever what could be approved does."""
    shadow = refit.shadow
    content = (refit.phase, refit.since_ns, None if shadow is None else shadow.factor)
    return hashlib.blake2b(repr(content).encode(), digest_size=8).hexdigest()


def describe(refit: Refit, temperature: float | None, policy: Policy) -> dict[str, Any]:
    """The refit as everybody may read it; `temperature` is that of the head that serves."""
    shadow = refit.shadow or Shadow()
    state = state_of(refit, policy)
    measured = shadow.report()
    is_known = state not in ("off", "none")
    return {
        "policy": policy,
        "state": state,
        "since": refit.since_ns / 1e9 if is_known and refit.since_ns is not None else None,
        "because": refit.because if is_known else None,
        "method": METHOD,
        "temperature": {
            "served": temperature,
            "proposed": None if shadow.factor is None or temperature is None else temperature * shadow.factor,
        },
        "labels": {"seen": shadow.n, "fitted": shadow.fitted, "judged": shadow.served.rows, "needed": FEWEST_LABELS},
        **measured,
        "evidence": measured["evidence"] | {"needed": PROMOTED_FROM},
        "back": None if refit.back is None else describe_back(refit.back),
        "history": refit.history,
        "etag": tag_of(refit),
    }


def describe_back(back: Shadow) -> dict[str, Any]:
    """What labels say for the version that was replaced."""
    evidence = back.report()["evidence"]
    return {"labels": back.served.rows, "e": evidence["e"], "max_e": evidence["max_e"], "needed": PROMOTED_FROM}
