"""LitServe, as its documentation begins: one worker, no batches. Checks nothing."""

import sys
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.servers.session import probabilities


class Head(litserve.LitAPI):
    """One process, behind LitServe's own of HTTP."""

    def setup(self, device: str) -> None:
        """Nothing: the session is opened with its module."""

    def predict(self, x: dict[str, Any]) -> NDArray[np.float32]:
        """Answer one request."""
        return probabilities(x["logits"], x["mask"], x["temperature"])

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """What becomes JSON."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Head(api_path="/v1/predict"), accelerator="cpu", workers_per_device=1)
    port = int(sys.argv[1])
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False, access_log=False)
