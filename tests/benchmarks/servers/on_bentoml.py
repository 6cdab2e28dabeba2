"""BentoML with numpy arrays as types: each is made from JSON and refused where that fails."""

import bentoml
import numpy as np

from tests.benchmarks.servers.session import probabilities


@bentoml.service(workers=1, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Head:
    """One process, under uvicorn."""

    @bentoml.api(route="/v1/predict")
    async def predict(self, logits: np.ndarray, mask: np.ndarray, temperature: np.ndarray) -> np.ndarray:
        """Answer one request."""
        return probabilities(logits, mask, temperature)
