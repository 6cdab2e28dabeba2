"""A head file as something that `scores` can measure."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Chunk, Floats
from service.engine.head import Head
from service.families.outputs import GRAPH_OUTPUTS
from service.measures.scores import Predict

LOG_PROBABILITIES: Final = 1 << GRAPH_OUTPUTS.index("log_probabilities")


def predict(head: Head, group_names: tuple[str, ...] = ()) -> Predict:
    """Run chunks through `head`, at the temperature inside; float32 answers as float64 `[m,K]`.

    A group that the head does not know counts as none.
    """
    stored = list(head.metadata.calibrator.get("group_temperatures", {}))
    number = np.array([stored.index(name) + 1 if name in stored else 0 for name in group_names], np.int64)

    def of(chunk: Chunk) -> Floats:
        feed: dict[str, NDArray[Any]] = {"logits": np.asarray(chunk.logits, np.float32)}
        if chunk.mask is not None:
            feed["mask"] = np.ascontiguousarray(chunk.mask)
        if stored and chunk.groups is not None:
            feed["group"] = number[chunk.groups][:, None]
        return head.run(feed, LOG_PROBABILITIES)["log_probabilities"].astype(np.float64)

    return of
