"""See a head drift, in two minutes: what `make drift` does.

A server of its own, with a copy of models/ and a journal in a temporary folder, answers scans of handwritten digits.
Their labels come back a second later. Then the scanner gets dirty: an alarm goes off, another temperature is proposed,
earns its place, and is approved. What happens is told in a line each. Exit codes: 0 well, 1 what should happen did not,
3 there is no server.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from deploy.drift.client import Client, Refused
from deploy.drift.scans import Scanner, scanners
from deploy.server import ROOT, NotServed, is_served, serve

CLEAN_LABELS: Final = 1000
AFTER_LABELS: Final = 500
MOST_LABELS: Final = 2000
"""Of a part that ends with an event: beyond them the event is not waited for."""

SWAP_S: Final = 60.0
"""Within these an approved version answers; a busy machine takes seconds to load it."""

SERVED: Final = "/v1/models/digits/versions/1"


class Missed(Exception):
    """What should happen did not; the sentence says what."""


def main() -> int:
    """Start the server, play, and leave nothing behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="of the server (default: %(default)s)")
    parser.add_argument("--scans", type=int, default=40, help="that come in a step (default: %(default)s)")
    parser.add_argument("--step-s", type=float, default=1.0, help="seconds of a step, at least (default: %(default)g)")
    given = parser.parse_args()
    url = f"http://127.0.0.1:{given.port}"
    if is_served(url):
        return complain(f"something answers at {url} already; expected a port that is free: --port", 3)
    try:
        with tempfile.TemporaryDirectory() as name:
            models, journal = Path(name) / "models", Path(name) / "journal"
            shutil.copytree(ROOT / "models", models)
            options = ("--models", models, "--journal", journal, "--log-level", "error")
            with serve(url, *options, stdout=subprocess.DEVNULL):
                Demo(url, Client(url, given.scans, given.step_s)).run()
    except NotServed:
        return complain("the server does not get ready", 3)
    except (Missed, Refused) as error:
        return complain(str(error), 1)
    return 0


class Demo:
    """What happens, in order."""

    def __init__(self, url: str, client: Client) -> None:
        self.url, self.client = url, client
        self.began = time.monotonic()

    def run(self) -> None:
        """All of it.

        Raises:
            Missed, Refused: it did not happen.
        """
        clean, dirty = scanners()
        self.tell(f"watch it at {self.url}/console/#/calibration/digits/1")
        self.tell("digits/1 reads scans of handwritten digits; a second later most of them are known for certain")
        self.read_clean(clean)
        self.client.answers.clear()
        self.tell("the scanner gets dirty: scans are noisy from now on, and nobody tells the service")
        self.read_until_alarm(dirty)
        self.read_until_earned(dirty)
        self.approve()
        self.read_after(dirty)

    def read_clean(self, scanner: Scanner) -> None:
        """Scans as they were on the day of the fit: no alarm."""
        found = self.read_quiet(scanner, {"labels": 0}, CLEAN_LABELS)
        e = amount(found["monitors"][0]["max_e"])
        self.tell(f"{found['labels']:,} labels, no alarm, e-value {e} at most:")
        self.tell(self.rightness())

    def read_quiet(self, scanner: Scanner, found: dict[str, Any], n_labels: int) -> dict[str, Any]:
        """Scans from `found`, the last step's, until there are so many labels, and no alarm."""
        while found["labels"] < n_labels:
            found = self.client.step(scanner)
        (model, *_) = found["monitors"]
        if model["alarm"]:
            raise Missed(f"digits/{found['version']} has an alarm at label {model['alarm_at']}; expected none")
        return found

    def read_until_alarm(self, scanner: Scanner) -> None:
        """Scans that the head is too sure of."""
        labels, warned = 0, False
        first: int | None = None
        while labels < MOST_LABELS:
            found = self.client.step(scanner)
            first = found["labels"] if first is None else first
            labels = found["labels"] - first
            (model, *_) = found["monitors"]
            if model["alarm"]:
                self.tell(f"ALARM after {labels:,} labels of noisy scans, e-value {amount(model['max_e'])}:")
                self.tell(self.rightness())
                return
            if model["warning"] and not warned:
                warned = True
                self.tell(f"a warning after {labels:,} labels of noisy scans, e-value {amount(model['max_e'])}")
        raise Missed(f"there was no alarm within {labels:,} labels of noisy scans; expected one")

    def read_until_earned(self, scanner: Scanner) -> None:
        """A shadow of the head at another temperature is judged by the labels that follow."""
        self.tell("a refit is proposed: beside the head a shadow learns from the labels that follow")
        self.tell(f"watch it at {self.url}/console/#/refits/digits/1")
        fitted = 0
        for _ in range(0, MOST_LABELS, self.client.n_scans):
            self.client.step(scanner)
            found = self.client.ask("GET", f"{SERVED}/refit")
            if found["labels"]["fitted"] > fitted:
                fitted, temperature = found["labels"]["fitted"], found["temperature"]
                change = f"{temperature['served']:.2f} to {temperature['proposed']:.2f}"
                self.tell(f"fitted on {fitted} labels: the temperature goes from {change}")
            if found["state"] == "earned" and found["refusal"] is None:
                e, difference = found["evidence"]["max_e"], found["nll"]["difference"]
                self.tell(f"it has earned its place: {difference:+.2f} in the log-loss, e-value {amount(e)}")
                return
        raise Missed(f"the refit is {found['state']} ({found['refusal']}); expected it to have earned its place by now")

    def approve(self) -> None:
        """What a person does on the page, or with `calibrant live promote`."""
        version = self.client.promote(f"{SERVED}", "you")
        self.tell(f"you approve it: digits/{version} is written, and takes the place of digits/1")

    def read_after(self, scanner: Scanner) -> None:
        """The same noisy scans, and a head that knows how often it is wrong."""
        until = time.monotonic() + SWAP_S
        while (found := self.client.step(scanner))["version"] == "1":
            if time.monotonic() > until:
                raise Missed("digits/1 still answers; expected the version that was approved")
        self.client.answers.clear()
        found = self.read_quiet(scanner, found, AFTER_LABELS)
        self.tell(f"{found['labels']:,} labels for digits/{found['version']}, no alarm:")
        self.tell(self.rightness())

    def rightness(self) -> str:
        """How right and how sure the answers of this part were."""
        confidences, right = zip(*self.client.answers, strict=True)
        share, sure = sum(right) / len(right), sum(confidences) / len(right)
        return f"{share:.0%} of the answers are right, by their confidence it should be {sure:.0%}"

    def tell(self, sentence: str) -> None:
        """A line, with the time since the beginning."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        sys.stdout.write(f"{minutes}:{seconds:02} {sentence}\n")
        sys.stdout.flush()


def amount(e: float) -> str:
    """An e-value in words."""
    return f"{e:,.1f}" if e < 10 else f"{e:,.0f}" if e < 1e6 else "over a million"


def complain(sentence: str, code: int) -> int:
    """Say what is wrong; the exit code."""
    sys.stderr.write(f"drift: {sentence}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
