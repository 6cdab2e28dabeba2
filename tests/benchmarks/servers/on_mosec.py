"""Mosec, tuned: orjson for its JSON, and batches. Checks nothing."""

import os
from typing import Any, Final

import numpy as np
import orjson
from mosec import Server, Worker
from numpy.typing import NDArray

from tests.benchmarks.servers.session import probabilities

BATCHES: Final = os.environ.get("BATCHES") == "1"
Sent = dict[str, NDArray[Any]]


class Head(Worker):
    """One process, behind mosec's own of HTTP and batches."""

    def deserialize(self, data: bytes) -> Sent:
        """Arrays from JSON."""
        return {name: np.asarray(value) for name, value in orjson.loads(data).items()}

    def forward(self, data: Any) -> Any:
        """Answer a request, or a list of those in a batch, all of the same width."""
        if not BATCHES:
            return probabilities(data["logits"], data["mask"], data["temperature"])
        tensors = [np.concatenate([sent[name] for sent in data]) for name in ("logits", "mask", "temperature")]
        return np.split(probabilities(*tensors), np.cumsum([len(sent["logits"]) for sent in data])[:-1])

    def serialize(self, data: NDArray[np.float32]) -> bytes:
        """JSON from numpy."""
        return orjson.dumps({"probabilities": data}, option=orjson.OPT_SERIALIZE_NUMPY)


if __name__ == "__main__":
    server = Server()
    # a batch waits a millisecond at most, which is the least that can be said
    how = {"max_batch_size": 64, "max_wait_time": 1} if BATCHES else {}
    server.append_worker(Head, route="/v1/predict", **how)
    server.run()
