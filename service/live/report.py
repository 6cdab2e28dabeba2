"""What the labels of a version say, as JSON: the statistics' part of its calibration page."""

from typing import Any, Final

import numpy as np

from service.live.monitor import Monitor
from service.live.summary import Summary

DELAY: Final = (
    "Early labels and late ones disagree about the same answers: how long a label takes seems to depend on whether the "
    "answer was wrong, and the alarm cannot be trusted; expected a delay that does not, or the policy matured."
)


def report(monitor: Monitor, group: str | None = None) -> dict[str, Any]:
    """Measures of all rows, or of one group, and every monitor.

    Raises:
        KeyError: no label of that group came.
    """
    summary: Summary = monitor.summary if group is None else monitor.groups[group]
    return {
        **summary.measures(),
        "group": group,
        "groups": sorted(monitor.groups),
        "lag_s": monitor.lags.quantiles(),
        "policy": monitor.policy,
        "reference": monitor.reference.source,
        "monitors": monitors(monitor, group),
        "history": monitor.history.points if group is None else [],
        "unarmed": unarmed(monitor),
        "epoch": len(monitor.epochs),
        "epochs": monitor.epochs,
        "warnings": warnings(monitor),
    }


def monitors(monitor: Monitor, group: str | None = None) -> list[dict[str, Any]]:
    """Every monitor, or that of one group: of the null "as fitted", of the absolute one, of prediction sets."""
    found = [] if monitor.evidence is None else monitor.evidence.report()
    found.append(monitor.absolute.report())
    if monitor.sets.stream.n:
        found.append(monitor.sets.report())
    return found if group is None else [one for one in found if one["scope"] == f"group {group}"]


def unarmed(monitor: Monitor) -> list[str]:
    """The scopes of classes that do not bet: their rows of the fit would have raised a warning, or were too few."""
    known = monitor.reference.classes
    if known is None:
        return []
    return [f"class {k}" for k in np.flatnonzero(~known.armed)] + ([] if known.bias_armed else ["class bias"])


def warnings(monitor: Monitor) -> list[dict[str, Any]]:
    """What makes the numbers mean less than they say."""
    found = []
    if monitor.disagreement.at is not None:
        found.append({"code": "informative_delay", "message": DELAY, "since": monitor.disagreement.at})
    if monitor.groups_left_out:
        message = f"More groups came than can be told apart; expected at most {len(monitor.groups)}."
        found.append({"code": "too_many_groups", "message": message})
    return found
