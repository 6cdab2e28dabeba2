"""A head file as something that can be measured: run as serving runs it, and read as `POST .../evaluate` reads it."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.datasets.dataset import Chunk
from service.datasets.inputs import batches
from service.datasets.multilabel import MultiLabel
from service.datasets.table_arrays import Arrays
from service.engine.head import Head
from service.errors import DataError, InvalidValue
from service.measures.multilabel import MultiScores
from service.measures.scores import Answers
from service.measures.targets import measure_rows

CHUNK_ROWS: Final = 4096


def answers(head: Head, group_names: tuple[str, ...] = (), *, scored: bool = False) -> Callable[[Chunk], Answers]:
    """Measure chunks by `head`, which chooses one class, at the temperature inside.

    A group that the head does not know counts as none. Where the head stands behind a classifier the chunks are
    `scored`: their logits are the scores that it gave to the rows.
    """
    model, family = head.signature, head.signature.family
    number = group_numbers(head, group_names)
    bits = model.bits(("scores",))

    def of(chunk: Chunk) -> Answers:
        feed = {} if scored else feed_of(chunk.logits, chunk.mask)
        temperature: Any = model.temperature
        if model.groups and chunk.groups is not None:
            feed["group"] = number[chunk.groups][:, None]
            temperature = np.asarray(model.group_temperatures)[feed["group"]]
        arrays = {"scores": np.asarray(chunk.logits)} if scored else head.run(feed, bits)
        x = model.mix(arrays["scores"] / temperature)
        targets = np.zeros(x.shape)
        targets[np.arange(len(x)), chunk.labels] = 1
        prediction = family.prediction(arrays)
        rows = measure_rows(family, x, targets, prediction)
        p, _ = family.distribution(x)
        return Answers(p, rows.confidence, rows.correct, rows.nll, rows.brier, prediction, family.losses(x, targets))

    return of


def label_scores(head: Head, data: MultiLabel, outputs: Arrays | None = None) -> MultiScores:
    """Measure `data` by `head`, which chooses any number of classes, at the temperature and thresholds inside.

    `outputs` are those of its graph, where it stands behind a classifier.
    """
    model = head.signature
    bits = model.bits(("scores", "prediction"))
    x = np.empty(data.logits.shape)
    predicted = np.empty(data.logits.shape, np.bool_)
    for start in range(0, data.n_rows, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        if outputs is None:
            arrays = head.run(feed_of(data.logits[rows], None if data.mask is None else data.mask[rows]), bits)
        else:
            arrays = {name: values[rows] for name, values in outputs.items()}
        x[rows] = arrays["scores"] / model.temperature
        predicted[rows] = model.family.prediction({**arrays, "thresholds": np.asarray(model.thresholds)})
    return MultiScores.from_scores(x, data.targets, predicted)


def feed_of(logits: NDArray[Any], mask: NDArray[np.bool_] | None) -> dict[str, NDArray[Any]]:
    """The inputs of a run."""
    feed: dict[str, NDArray[Any]] = {"logits": np.asarray(logits, np.float32)}
    if mask is not None:
        feed["mask"] = np.ascontiguousarray(mask)
    return feed


def group_numbers(head: Head, group_names: Iterable[str]) -> NDArray[np.int64]:
    """What the head calls each group, int64; 0 for one that it does not know."""
    return np.array([head.signature.groups.get(name, 0) for name in group_names], np.int64)


def run_inputs(
    head: Head, rows: Arrays, group: str | None, outputs: tuple[str, ...], progress: Callable[[str], None]
) -> dict[str, NDArray[Any]]:
    """Run a head behind a classifier on `rows` of its inputs, in batches, with the mask and groups beside them.

    Returns:
        The graph outputs that `outputs` are made of, each `[n, ...]`.

    Raises:
        DataError: rows that the classifier does not take.
    """
    feed = {name: rows[name] for name in head.signature.inputs}
    if "mask" in rows:
        mask = np.asarray(rows["mask"], bool)
        feed["mask"] = np.ascontiguousarray(np.broadcast_to(mask, (len(next(iter(feed.values()))), mask.shape[-1])))
    if head.signature.groups and group is not None:
        feed["group"] = group_numbers(head, np.asarray(rows[group]).astype(str))[:, None]
    bits, found = head.signature.bits(outputs), []
    for part, start in batches(feed):
        progress(f"the classifier, from row {start:,}")
        try:
            found.append(head.run(part, bits))
        except InvalidValue as error:
            raise DataError(f"rows from {start} on: {error}", row=start) from error
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}
