"""What the heads said of journaled rows: the live process runs them again, as the server has no time to keep it all.

A block becomes answers: predicted classes, confidences and log-probabilities, the same that were served.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from service.engine.feed import build_feed
from service.engine.head import Head
from service.engine.rows import Rows, with_minus_infinity
from service.errors import AnsweredError, CommandError
from service.families.outputs import graph_bits
from service.journal.record import BEST, LOGITS, Block
from service.model_files import model_files, stamp_of

logger = logging.getLogger(__name__)

NEEDS: Final = ("probabilities", "log_probabilities", "prediction")
MAX_NUMBERS: Final = 2**18  # of one run
MISSING_S: Final = 10.0  # after which a head that was not there is looked for again


@dataclass(slots=True)
class Answers:
    """What one head said of the n rows of a block.

    Attributes:
        classes: int32 `[n]`, the predicted class; -1 where no class was left.
        confidences: float32 `[n]`, their probabilities.
        log_p: float32 `[n, K]`, or none where no more than that was kept.
    """

    classes: NDArray[np.int32]
    confidences: NDArray[np.float32]
    log_p: NDArray[np.float32] | None


class Heads:
    """The heads of a models folder, loaded when the first row of theirs comes."""

    def __init__(self, root: Path, default_model: str) -> None:
        self.root = root
        self.default_model = default_model
        self.loaded: dict[str, tuple[Any, Head]] = {}  # by MODEL/VERSION, behind what changes with the file
        self.missing: dict[str, float] = {}  # until when they are not looked for again

    def find(self, model: str) -> Head | None:
        """The head of `MODEL/VERSION`; the last that was there where its file is gone by now."""
        if self.missing.get(model, 0.0) > time.monotonic():
            return None
        known = self.loaded.get(model)
        name, _, version = model.rpartition("/")
        path = model_files(self.root, self.default_model).get((name, int(version))) if known is None else known[1].path
        try:
            if path is None:
                raise FileNotFoundError
            stamp = stamp_of(path)
            if known is None or known[0] != stamp:
                known = self.loaded[model] = (stamp, Head(path))
        except (OSError, CommandError) as error:
            if known is None:
                logger.warning(
                    "rows of %s are not kept, its head does not load: %s", model, str(error) or "no such file"
                )
                self.missing[model] = time.monotonic() + MISSING_S
        return None if known is None else known[1]


def apart(block: Block, head: Head) -> NDArray[np.bool_]:
    """Which requests of a block had a mask or a temperature of their own, bool `[m]`."""
    if block.kind != LOGITS:
        return block.apart
    rows = np.isneginf(block.values).any(axis=1)
    if block.mask is not None:
        rows |= ~block.mask.all(axis=1)
    if block.temperatures is not None:
        rows |= ~np.isnan(block.temperatures) & (block.temperatures != head.temperature)
    starts = np.concatenate([[0], block.rows.cumsum()[:-1]]).astype(np.int64)
    return np.asarray(block.apart | np.logical_or.reduceat(rows, starts))


def answers_of(block: Block, head: Head) -> Answers | None:
    """The answers to a block; none where its rows do not fit the head, which has been replaced then."""
    if block.kind == BEST and block.classes is not None:
        return Answers(block.classes, block.values[:, 0], None)
    if block.kind != LOGITS:
        with np.errstate(divide="ignore"):
            log_p = np.log(block.values)
        return Answers(block.values.argmax(axis=1).astype(np.int32), block.values.max(axis=1), log_p)
    step = max(1, MAX_NUMBERS // block.values.shape[1])
    try:
        parts = [run(block, head, slice(at, at + step)) for at in range(0, len(block.values), step)]
    except (AnsweredError, ValueError) as error:
        logger.warning("rows of %s are not kept, they do not fit its head: %s", block.model, error)
        return None
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def run(block: Block, head: Head, part: slice) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Classes, confidences and log-probabilities of some rows."""
    signature = head.signature
    logits, mask = block.values[part], None if block.mask is None else block.mask[part]
    if mask is not None and signature.masks_first:
        logits, mask = with_minus_infinity(logits, mask), None
    inputs: dict[str, NDArray[Any]] = {"logits": logits}
    temperature = None
    if block.temperatures is not None:
        own = block.temperatures[part]
        temperature = np.where(np.isnan(own), head.temperature, own).reshape(-1, 1)
    elif block.groups is not None and signature.groups:
        inputs["group"] = block.groups[part].reshape(-1, 1)
    feed = build_feed([Rows(inputs, mask, temperature)], head.temperature)
    arrays = head.run(feed, graph_bits(NEEDS, signature.family))
    family = signature.family
    return family.prediction(arrays).astype(np.int32), family.confidence(arrays), arrays["log_probabilities"]
