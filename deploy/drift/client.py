"""The client of the demo: it has scans answered, learns a step later what most of them are, and sends that, too."""

import http.client
import json
import random
import time
from typing import Any, Final
from urllib.parse import urlsplit

from deploy.drift.scans import Scanner, Sheet

SHEET: Final = 10  # scans of a request
KNOWN: Final = 0.8  # the share of scans of which it becomes known what they are
COUNT_S: Final = 60.0  # within which the labels of a step are counted


class Refused(Exception):
    """The service did not do what the demo needs; the sentence is its answer."""


class Client:
    """Sends scans and labels to the model `digits`, some each second, and reads what the service says of them.

    Attributes:
        n_scans: of a step, rounded up to whole sheets.
        step_s: seconds that a step takes at least.
        sent: the labels that were sent of each version, by its path.
        answers: confidence, and whether it was right, of the scans since `begin`.
    """

    def __init__(self, url: str, n_scans: int, step_s: float) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=COUNT_S)
        self.n_scans, self.step_s = n_scans, step_s
        self.answers: list[tuple[float, bool]] = []
        self.random = random.Random(0)  # noqa: S311 - traffic, no secrets
        self.unlabelled: list[tuple[str, str, Sheet]] = []
        self.sent: dict[str, int] = {}
        self.n_sheets = 0
        self.tag = ""  # of the last answer

    def step(self, scanner: Scanner) -> dict[str, Any]:
        """Scans, and the labels of those of the step before; what is said then of the version that answered."""
        end = time.monotonic() + self.step_s
        before, self.unlabelled = self.unlabelled, []
        for _ in range(0, self.n_scans, SHEET):
            self.answer(scanner.sheet(SHEET))
        self.label(before)
        time.sleep(max(0.0, end - time.monotonic()))
        return self.counted(self.unlabelled[-1][1])

    def answer(self, sheet: Sheet) -> None:
        """Have a sheet answered."""
        self.n_sheets += 1
        name = f"sheet-{self.n_sheets}"
        body = {"id": name, "logits": sheet.logits.tolist(), "outputs": ["prediction", "confidence"]}
        found = self.ask("POST", "/v1/models/digits/predict", body)
        right = [
            predicted == label for predicted, label in zip(found["prediction"], sheet.labels.tolist(), strict=True)
        ]
        self.answers += zip(found["confidence"], right, strict=True)
        self.unlabelled.append((name, f"/v1/models/digits/versions/{found['version']}", sheet))

    def label(self, sheets: list[tuple[str, str, Sheet]]) -> None:
        """Send what most scans of these sheets are."""
        labels = []
        for name, version, sheet in sheets:
            known = [row for row in range(SHEET) if self.random.random() < KNOWN]
            labels += [{"id": name, "row": row, "label": int(sheet.labels[row])} for row in known]
            self.sent[version] = self.sent.get(version, 0) + len(known)
        if labels:
            self.ask("POST", "/v1/labels", {"labels": labels})

    def counted(self, version: str) -> dict[str, Any]:
        """What the service says of a version, once it has counted the labels that were sent for it.

        Raises:
            Refused: it does not count them.
        """
        end = time.monotonic() + COUNT_S
        while True:
            found = self.ask("GET", f"{version}/calibration")
            if found["labels"] >= self.sent.get(version, 0):
                return found
            if time.monotonic() > end:
                raise Refused(f"{found['labels']} labels were counted; expected {self.sent[version]} by now")
            time.sleep(0.05)

    def promote(self, version: str, by: str) -> str:
        """Approve the refit of a version as it is now; the new version.

        Raises:
            Refused: it is refused.
        """
        self.ask("GET", f"{version}/refit")
        return str(self.ask("POST", f"{version}/promote", {"by": by}, self.tag)["version"])

    def ask(self, method: str, path: str, body: Any = None, tag: str = "") -> dict[str, Any]:
        """What the service answers; `tag` is the one that the answer before had, where it must be the same still.

        Raises:
            Refused: with an error.
        """
        sent = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"If-Match": tag} if tag else {})
        self.connection.request(method, path, sent, headers)
        answer = self.connection.getresponse()
        self.tag = answer.getheader("ETag", "")
        found: dict[str, Any] = json.loads(answer.read())
        if answer.status >= 400:
            raise Refused(f"{method} {path} was answered with {answer.status}: {found.get('error', found)}")
        return found
