"""Many rows to one feed for a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import PACKET, Runnable
from service.engine.single import all_single, join_logits


def build_feed(many: Sequence[Runnable], default_temperature: float) -> dict[str, NDArray[Any]]:
    """One feed for a run over all rows of `many`, in order: name to array.

    A row without a temperature gets `default_temperature`; a row without a mask may choose every class.
    """
    feed: dict[str, NDArray[Any]] = {}
    if any(rows.temperature is not None for rows in many):
        feed["temperature"] = build_temperatures(many, default_temperature)
    if all_single(many):
        feed["logits"] = join_logits(many)
        return feed
    for name, values in many[0].inputs.items():
        feed[name] = values if len(many) == 1 else np.concatenate([rows.inputs[name] for rows in many])
    masks = [rows.mask for rows in many if rows.mask is not None]
    if masks:
        k = masks[0].shape[1]
        feed["mask"] = np.concatenate(
            [np.ones((rows.n, k), np.bool_) if rows.mask is None else rows.mask for rows in many]
        )
    return feed


def build_temperatures(many: Sequence[Runnable], default: float) -> NDArray[np.float64]:
    """float64 `[N, 1]` over all rows of `many`."""
    if len(many) == 1 and isinstance(many[0].temperature, np.ndarray):
        return many[0].temperature
    column: list[float] = []
    for rows in many:
        given = rows.temperature
        if given is None:
            given = default
        if isinstance(given, np.ndarray):
            column += given[:, 0].tolist()
        elif rows.n == 1:
            column.append(given)
        else:
            column += [given] * rows.n
    return np.array(column, np.float64).reshape(-1, 1)


def pad_width(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """`logits` `[..., K]` with columns of -inf behind, up to a multiple of `PACKET`."""
    *lead, k = logits.shape
    wide = np.full((*lead, k + -k % PACKET), -np.inf, logits.dtype)
    wide[..., :k] = logits
    return wide
