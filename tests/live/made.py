"""Labelled rows of a head that is as right as a curve says, or not, and how to bet on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Floats
from service.live.bets import e_values, log_steps, slopes
from service.live.monitor import Monitor
from service.live.records import RECORD, Records
from service.live.reference import Reference
from service.live.report import report
from service.live.shares import class_shares
from service.live.stream import BLOCK, Stream
from service.measures.curve import ReferenceCurve

EXACT = ReferenceCurve(1.0, 0.0, -60.0, ((0.0,) * 3,) * 3, 1e9)
"""Of a head that is right exactly as often as it says."""
FITTED = Reference(EXACT, "fit")
SECOND = 10**9


def records(confidence: Sequence[float] | Floats, right: Sequence[int] | NDArray[Any], start: int = 0) -> Records:
    """Rows of two classes that were answered with class 0, a second apart, with their labels ten seconds later."""
    n = len(confidence)
    hit, p = np.asarray(right, bool), np.asarray(confidence, np.float64)
    rows = np.zeros(n, RECORD)
    rows["index"] = np.arange(start, start + n)
    rows["label"] = ~hit
    rows["confidence"] = p
    rows["log_p"] = np.log(np.where(hit, p, 1 - p))
    rows["brier"] = 2 * (hit - p) ** 2
    rows["alpha"] = np.nan
    rows["predicted_ns"] = (np.arange(start, start + n) + 1) * SECOND
    rows["labelled_ns"] = rows["predicted_ns"] + 10 * SECOND
    rows["group"] = None
    return rows


def drawn(n: int, seed: int, sharper: float = 1.0) -> Records:
    """Rows of an exact head; with `sharper` its log-odds are that many times too large."""
    random = np.random.default_rng(seed)
    odds = random.normal(2, 1.5, n)
    truth, p = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-odds * sharper))
    return records(p, random.random(n) < truth)


def path(confidence: Floats, right: NDArray[Any], tau: float = 0.0, block: int = BLOCK) -> Floats:
    """E after each label against the null that confidences are exact within `tau`."""
    stream, found = Stream(16), []
    logs = log_steps(e_values(slopes(confidence), confidence, np.full(len(confidence), tau), np.asarray(right, bool)))
    for start in range(0, len(logs), block):
        found.append(stream.add(logs[start : start + block]))
        stream.close(start + block, 0, fewest=block)
    return np.concatenate(found)


def told(rows: Records, version: str = "digits/1", reference: Reference = FITTED) -> dict[str, Any]:
    """What the live process tells after these labels."""
    monitor = Monitor(reference)
    monitor.update(rows)
    found = {
        "predictions": 2 * len(rows),
        "labels": len(rows),
        "conflicts": 1,
        "report": report(monitor),
        "groups": {name: report(monitor, name) for name in monitor.groups},
        "shares": class_shares(np.full((10, 2), 0.5), Reference(prior=np.array([0.5, 0.5]))),
    }
    return {"at_ns": 5 * SECOND, "pending": 0, "lost": 0, "models": {version: found}}
