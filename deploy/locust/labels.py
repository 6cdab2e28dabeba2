"""Labels as annotators send them: of some answers only, and late.

They are drawn by the probabilities that were answered, so that a server that keeps a journal finds its head as right as
that says.
"""

import heapq
import json
import random
import sys
import time
import urllib.request
from contextlib import suppress
from typing import Any, Final

LABELS: Final = "/v1/labels"
SHARE: Final = 0.5
MEAN_DELAY_S: Final = 2.0
EVERY_S: Final = 0.5
MOST: Final = 10_000  # that the service takes at once
WAIT_S: Final = 15.0


class LateLabels:
    """Labels that wait for their time, and what became of those that were sent."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)  # noqa: S311 - traffic, no secrets
        self.waiting: list[tuple[float, str, int]] = []
        self.next_s = 0.0
        self.sent = 0
        self.version = ""  # whose answers get labels: the path to it

    def add(self, request_id: str, answer: dict[str, Any], now_s: float) -> None:
        """An answer of one row came; it may get a label."""
        if self.random.random() < SHARE:
            self.version = f"/v1/models/{answer['model']}/versions/{answer['version']}"
            (probabilities,) = answer["probabilities"]
            due_s = now_s + self.random.expovariate(1 / MEAN_DELAY_S)
            label = self.random.choices(range(len(probabilities)), probabilities)[0]
            heapq.heappush(self.waiting, (due_s, request_id, label))

    def take(self, now_s: float) -> list[dict[str, Any]]:
        """The labels whose time has come, as the service wants them; many together, seldom."""
        due: list[dict[str, Any]] = []
        if now_s < self.next_s:
            return due
        self.next_s = now_s + EVERY_S
        while self.waiting and self.waiting[0][0] <= now_s and len(due) < MOST:
            _, request_id, label = heapq.heappop(self.waiting)
            due.append({"id": request_id, "label": label})
        self.sent += len(due)
        return due

    def show(self, host: str) -> None:
        """Print what the service has made of them, once it has counted all, or WAIT_S have passed."""
        end = time.monotonic() + WAIT_S
        found = {"labels": 0}
        while found["labels"] < self.sent and time.monotonic() < end:
            time.sleep(0.2)
            calibration = f"{host}{self.version}/calibration"
            with suppress(OSError), urllib.request.urlopen(calibration, timeout=WAIT_S) as answer:  # noqa: S310 - the load's
                found = json.load(answer)
        sys.stdout.write(
            f"labels: {self.sent:,} were sent, late, for half of the answers of one row\n{describe(found)}\n"
        )


def describe(found: dict[str, Any]) -> str:
    """What labels say of a version, in a line."""
    if not found["labels"]:
        return "the service has counted none yet"
    alarm = any(one["alarm"] for one in found["monitors"])
    return (
        f"the service has counted {found['labels']:,}: accuracy {found['accuracy']:.3f}, calibration error "
        f"{found['ece']['debiased']:.3f}, {'an ALARM' if alarm else 'no alarm'}"
    )
