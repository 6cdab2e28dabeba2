"""Lines in the log about what labels say: alarms, warnings, acknowledgements, what becomes of refits; each once.

They are seen in what is published. What was published before a start is not logged again.
"""

import logging
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

logger = logging.getLogger(__name__)

REFITS: Final = {
    "proposed": "another temperature is tried",
    "promoted": "the refit was promoted",
    "put back": "the version before was put back",
    "dismissed": "the refit was dismissed",
}
"""Those events of a refit's history that are logged."""


class Event(NamedTuple):
    """What happened to a version, and what a JSON line says of it beside the sentence."""

    level: int
    sentence: str
    values: dict[str, Any]


class Events:
    """Logs what is new.

    Attributes:
        logged: what was, by version, kind, and label, time or code.
    """

    def __init__(self, models: dict[str, Any]) -> None:
        """Begin with what was published last; `models` is by `MODEL/VERSION`."""
        self.logged = {key for name, found in models.items() for key, _ in events_of(name, found)}

    def log(self, models: dict[str, Any]) -> None:
        """Log what has happened since; of what is published no more only warnings by a code, which may come back."""
        published = set()
        for name, found in models.items():
            model, _, version = name.rpartition("/")
            for key, event in events_of(name, found):
                published.add(key)
                if key not in self.logged:
                    values = {"model": model, "version": version, **event.values}
                    logger.log(event.level, "%s: %s", name, event.sentence, extra=values)
        self.logged = published | {key for key in self.logged if key[1] == "code"}


def events_of(name: str, found: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Event]]:
    """What the published document of a version has of events, with what tells each from all others."""
    report, refit, shares = (found.get(what) or {} for what in ("report", "refit", "shares"))
    for one in report.get("monitors", []):
        # one that alarms has warned: where both are new, the alarm is enough
        what = "alarm" if one["alarm"] else "warning"
        at = one.get(f"{what}_at")
        if one["alarm"] or one["warning"]:
            sentence = f"{what} of {one['scope']}, {one['null']}, at label {at}, e {one['max_e']:.3g}"
            values = {"scope": one["scope"], "null": one["null"], "e": one["max_e"], "label": at}
            yield (name, what, one["scope"], one["null"], at), Event(logging.WARNING, sentence, values)
    for one in report.get("epochs", []):
        sentence = f"acknowledged at label {one['until']}, by {one['by']}; all evidence is 1 again"
        values = {"by": one["by"], "label": one["until"]}
        yield (name, "acknowledged", one["at_ns"]), Event(logging.INFO, sentence, values)
    for one in [*report.get("warnings", []), *shares.get("warnings", [])]:
        event = Event(logging.WARNING, one["message"], {"code": one["code"], "label": one.get("since")})
        yield (name, "code", one["code"]), event
    if refit.get("state") == "earned":
        e, labels = refit["evidence"]["max_e"], refit["labels"]["seen"]
        event = Event(logging.INFO, f"the refit has earned its place, e {e:.3g}", {"e": e, "label": labels})
        yield (name, "earned", refit["since"]), event
    for one in refit.get("history", []):
        if one["what"] in REFITS:
            yield (name, one["what"], one["at"]), refit_event(one)


def refit_event(one: dict[str, Any]) -> Event:
    """An entry of a refit's history."""
    details = {"as version": one["to_version"], "by": one["by"], "e": one["e"] and f"{one['e']:.3g}"}
    said = [f"{name} {value}" for name, value in details.items() if value is not None]
    values = {name: one[name] for name in ("to_version", "by", "e")} | {"label": one["labels"]}
    return Event(logging.INFO, ", ".join([REFITS[one["what"]], *said]), values)
