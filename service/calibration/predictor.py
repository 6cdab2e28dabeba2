"""A head file as something that can be measured: run as serving runs it, and read as `POST .../evaluate` reads it."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Chunk
from service.datasets.multilabel import MultiLabel
from service.engine.head import Head
from service.measures.multilabel import MultiScores
from service.measures.scores import Answers
from service.measures.targets import measure_rows

CHUNK_ROWS: Final = 4096


def answers(head: Head, group_names: tuple[str, ...] = ()) -> Callable[[Chunk], Answers]:
    """Measure chunks by `head`, which chooses one class, at the temperature inside.

    A group that the head does not know counts as none.
    """
    model, family = head.signature, head.signature.family
    number = np.array([model.groups.get(name, 0) for name in group_names], np.int64)
    bits = model.bits(("scores",))

    def of(chunk: Chunk) -> Answers:
        feed = feed_of(chunk.logits, chunk.mask)
        temperature: Any = model.temperature
        if model.groups and chunk.groups is not None:
            feed["group"] = number[chunk.groups][:, None]
            temperature = np.asarray(model.group_temperatures)[feed["group"]]
        arrays = head.run(feed, bits)
        x = model.mix(arrays["scores"] / temperature)
        targets = np.zeros(x.shape)
        targets[np.arange(len(x)), chunk.labels] = 1
        prediction = family.prediction(arrays)
        rows = measure_rows(family, x, targets, prediction)
        p, _ = family.distribution(x)
        return Answers(p, rows.confidence, rows.correct, rows.nll, rows.brier, prediction, family.losses(x, targets))

    return of


def label_scores(head: Head, data: MultiLabel) -> MultiScores:
    """Measure `data` by `head`, which chooses any number of classes, at the temperature and thresholds inside."""
    model = head.signature
    bits = model.bits(("scores", "prediction"))
    x = np.empty(data.logits.shape)
    predicted = np.empty(data.logits.shape, np.bool_)
    for start in range(0, data.n_rows, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        arrays = head.run(feed_of(data.logits[rows], None if data.mask is None else data.mask[rows]), bits)
        x[rows] = arrays["scores"] / model.temperature
        predicted[rows] = model.family.prediction({**arrays, "thresholds": np.asarray(model.thresholds)})
    return MultiScores.from_scores(x, data.targets, predicted)


def feed_of(logits: NDArray[Any], mask: NDArray[np.bool_] | None) -> dict[str, NDArray[Any]]:
    """The inputs of a run."""
    feed: dict[str, NDArray[Any]] = {"logits": np.asarray(logits, np.float32)}
    if mask is not None:
        feed["mask"] = np.ascontiguousarray(mask)
    return feed
