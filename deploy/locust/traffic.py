"""What real clients send, and what they must get: request bodies of mixed shapes, right ones and wrong ones.

Only the standard library, so that it runs wherever locust does. A pool is made once and drawn from, so that the
generator does not spend its time on writing numbers.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

PREDICT: Final = "/v1/predict"
N_OF_A_KIND: Final = 8


@dataclass(frozen=True)
class Sent:
    """One request.

    Attributes:
        kind: its line in the table.
        status: what must come back, 200 or 422, unless the service is too busy: 429.
        rows: how many rows of how many classes a 200 has, as `[N, K]`.
    """

    kind: str
    body: bytes
    status: int = 200
    rows: tuple[int, int] = (0, 0)


class Writer:
    """Makes bodies, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - traffic, no secrets

    def logits(self, n: int, k: int) -> list[list[float]]:
        """`[N, K]`, with the digits of a float32."""
        return [[round(self.random.gauss(0, 4), 6) for _ in range(k)] for _ in range(n)]

    def mask(self, n: int, k: int) -> list[list[bool]]:
        """`[N, K]`; in every row a class may be chosen."""
        return [[i == 0 or self.random.random() < 0.8 for i in range(k)] for _ in range(n)]

    def temperatures(self, n: int) -> list[float]:
        """`[N]`."""
        return [round(self.random.uniform(0.5, 3), 3) for _ in range(n)]

    def right(self, kind: str, n: int, k: int, *options: str, **others: Any) -> Sent:
        """A request that is answered; options are `mask` and `temperature`."""
        made: dict[str, Callable[[], object]] = {
            "mask": lambda: self.mask(n, k),
            "temperature": lambda: self.temperatures(n),
        }
        body = {"logits": self.logits(n, k), **{name: made[name]() for name in options}, **others}
        return Sent(kind, dumped(body), rows=(n, k))

    def small(self) -> Sent:
        """A row of ten."""
        return self.right("1x10", 1, 10)

    def chosen(self) -> Sent:
        """The best three of ten, at a temperature of the request's own."""
        outputs = ["prediction", "confidence"]
        return self.right("1x10 top 3", 1, 10, "temperature", outputs=outputs, top_k=3)

    def masked(self) -> Sent:
        """A row of a thousand, a fifth of it masked."""
        return self.right("1x1000 masked", 1, 1000, "mask")

    def batch(self) -> Sent:
        """A client that has collected a batch of its own."""
        return self.right("64x1000", 64, 1000, "mask", "temperature")

    def flood(self) -> Sent:
        """Many rows in few bytes, which is what fills a queue that counts rows."""
        return self.right("flood 512x10", 512, 10)

    def wrong(self) -> list[Sent]:
        """One of each mistake that clients make; each gets 422."""
        row = self.logits(1, 10)[0]
        mistakes: list[dict[str, Any]] = [
            {"logits": [row, row[:9]]},
            {"logits": [row], "temperature": 0},
            {"logits": [row], "temperature": "2"},
            {"logits": [row], "mask": [[1] * 10]},
            {"logits": [row], "mask": [[True] * 9]},
            {"logits": [[str(logit) for logit in row]]},
            {"logits": [row], "top_k": 0},
            {"logits": [row], "output": ["probabilities"]},
            {"scores": [row]},
            {"logits": []},
        ]
        return [Sent("wrong", dumped(mistake), status=422) for mistake in mistakes]


def dumped(value: object) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


# how often each is drawn, of a hundred
WEIGHTS: Final = {"1x10": 50, "1x10 top 3": 15, "1x1000 masked": 25, "64x1000": 5, "wrong": 5}


class Traffic:
    """The pool."""

    def __init__(self, seed: int = 0) -> None:
        writer = Writer(seed)
        makers: tuple[Callable[[], Sent], ...] = (writer.small, writer.chosen, writer.masked, writer.batch)
        self.pool = [maker() for maker in makers for _ in range(N_OF_A_KIND)] + writer.wrong()
        self.floods = [writer.flood() for _ in range(N_OF_A_KIND)]
        self.by_kind: dict[str, list[Sent]] = {}
        for sent in self.pool:
            self.by_kind.setdefault(sent.kind, []).append(sent)
        self.random = writer.random

    def usual(self) -> Sent:
        """One request of a usual client."""
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        return self.random.choice(self.by_kind[kind])

    def flood(self) -> Sent:
        """One of a client that does not know when to stop."""
        return self.random.choice(self.floods)


def fault(sent: Sent, status: int, retry_after: str | None, body: bytes | None) -> str | None:
    """What is wrong with an answer, if anything; 429 with `Retry-After` is an answer."""
    if status == 429:
        return None if retry_after else "429 without Retry-After"
    if status != sent.status:
        return "no answer" if status == 0 else f"{status} instead of {sent.status}"
    said = (body or b"")[:1]
    if said != b"{":
        return "no JSON object came back"
    if sent.kind == "1x10" and status == 200:
        total = sum(json.loads(body or b"")["probabilities"][0])
        return None if abs(total - 1) < 1e-3 else f"probabilities add up to {total:g}"
    return None
