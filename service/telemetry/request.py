"""What of a request an observer may look at."""

from typing import Any


class Request:
    """What of a request an observer may look at.

    No protocol: where this is compiled, a look at an attribute is a look at a place in memory.

    Attributes:
        mark: the observer's own; it comes back with the batch that the request was part of.
        request_id: what the answer names it by.
        verb: `predict`, `infer` or `evaluate`.
        model: the model that was found, or none; `query`: what was decoded, or none.
        n_rows: of the query.
        decode_s, queue_s, run_s, encode_s: what its phases took so far, seconds.
    """

    __slots__ = ("decode_s", "encode_s", "mark", "model", "n_rows", "query", "queue_s", "request_id", "run_s", "verb")

    def __init__(self, request_id: bytes, verb: str) -> None:
        self.request_id = request_id
        self.verb = verb
        self.mark: Any = None
        self.model: Any = None
        self.query: Any = None
        self.n_rows = 0
        self.decode_s = self.queue_s = self.run_s = self.encode_s = 0.0
