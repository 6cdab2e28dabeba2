"""From segments to the store: each frame once, whatever ends the process in between."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from service.journal.answers import Answers, Heads, answers_of, apart
from service.journal.ledger import Ledger, digest, from_json
from service.journal.newest import Newest
from service.journal.record import Block, Labels, read_blocks
from service.journal.requests import Values, date_at
from service.journal.rows import pack_log_p
from service.journal.segments import Frame, find_segments, read_frames, remove_finished
from service.journal.store import Store

logger = logging.getLogger(__name__)

MAX_FRAMES_S: Final = 0.05  # of frames that are stored in one transaction
MANY: Final = 10_000  # requests of a frame that are stored at once: after a disk has stood still one may have 300,000


class Ingest:
    """Reads the segments of a folder into a store."""

    def __init__(self, folder: Path, store: Store, heads: Heads, ledger: Ledger) -> None:
        self.folder = folder
        self.store = store
        self.heads = heads
        self.ledger = ledger
        self.newest: dict[int, Newest] = {}
        self.n_lost = 0  # rows that were not kept, as the server told, or as their head was not there

    def read(self) -> Iterator[None]:
        """Store what there is; a pause after every transaction, in which it may be called again."""
        paths = find_segments(self.folder)
        with self.ledger.transaction():
            positions = self.store.positions()
            if not self.store.db.shared:  # where others read segments, too, these may be theirs
                self.forget(positions.keys() - {path.name for path in paths})
        for path in paths:
            position, more = self.read_some(path)
            while more:
                yield
                position, more = self.read_some(path)
            with suppress(FileNotFoundError):  # read by another call meanwhile
                if remove_finished(path, position):
                    with self.ledger.transaction():
                        self.forget([path.name])

    def forget(self, names: Iterable[str]) -> None:
        """Forget how far segments were read that are gone."""
        for name in names:
            self.store.forget_segment(name)

    def read_some(self, path: Path) -> tuple[int, bool]:
        """Store the next frames of a segment in one transaction: how far it is read then, and if that is further."""
        end = time.monotonic() + MAX_FRAMES_S
        with self.ledger.transaction():
            start = position = self.store.position(path.name)
            try:
                for frame in read_frames(path, position):
                    self.store_frame(frame)
                    position = frame.end
                    if time.monotonic() > end:
                        break
            except FileNotFoundError as error:
                logger.debug("a segment is not read on: %s", error)
            if position > start:
                self.store.set_position(path.name, position)
        return position, position > start

    def store_frame(self, frame: Frame) -> None:
        """Store a frame inside the open transaction."""
        kept: list[Values] = []
        labels: list[bytes] = []
        try:
            blocks = list(read_blocks(frame.payload))
        except ValueError as error:
            logger.warning("a frame of a segment is lost: %s", error)
            return
        for block in blocks:
            if isinstance(block, Block):
                kept += self.keep(block, frame.at_ns)
                if len(kept) >= MANY:
                    self.add(kept, frame.at_ns)
                    kept = []
            elif isinstance(block, Labels):
                labels.append(block.body)
            else:
                self.n_lost += block.n
        if kept:
            self.add(kept, frame.at_ns)
        for body in labels:
            self.ledger.add([from_json(values) for values in orjson.loads(body)], frame.at_ns)

    def add(self, kept: list[Values], at_ns: int) -> None:
        """Store requests, and join the labels that waited for them."""
        self.store.add_requests(date_at(at_ns), kept)
        if self.store.n_pending():
            self.ledger.rejoin([key for key, *_ in kept], at_ns)

    def keep(self, block: Block, at_ns: int) -> list[Values]:
        """The requests of a block as the store keeps them."""
        head = self.heads.find(block.model)
        answers = None if head is None else answers_of(block, head)
        if head is None or answers is None:
            self.n_lost += len(block.values)
            return []
        block.apart = apart(block, head)
        if block.group is None and block.groups is not None:  # of a segment from before it had names
            block.group = name_groups(block.groups, head.signature.groups)
        model = self.store.model(block.model)
        if self.store.about(model) is None:
            self.store.describe(model, head.metadata.model_dump_json(exclude_none=True, exclude={"conformal"}))
        self.store.count(model, "predictions", len(block.values))
        if answers.log_p is not None:
            plain = np.repeat(~block.apart, block.rows)
            self.newest.setdefault(model, Newest()).add(np.exp(answers.log_p[plain]))
        return requests_of(block, answers, model, at_ns)


def requests_of(block: Block, answers: Answers, model: int, at_ns: int) -> list[Values]:
    """The requests of a block, each with its rows; column by column, as an object each took a tenth of all time."""
    m, ends = len(block.ids), block.rows.cumsum().tolist()
    spans = list(zip([0, *ends], ends, strict=False))
    log_p, width = (None, 0) if answers.log_p is None else pack_log_p(answers.log_p)
    group = None if block.group is None else block.group.decode()
    sets = None if block.sets is None else block.sets.tobytes()
    return list(
        zip(
            map(digest, block.ids),
            repeat(at_ns, m),
            repeat(model, m),
            block.rows.tolist(),
            block.apart.astype(int).tolist(),
            cut(answers.classes.astype("<i4"), spans, 4),
            cut(answers.confidences.astype("<f4"), spans, 4),
            repeat(None, m) if log_p is None else cut(log_p, spans, width),
            repeat(group, m),
            repeat(block.alpha, m),
            repeat(sets, m),
            strict=True,
        )
    )


def name_groups(groups: NDArray[np.int64], known: Mapping[str, int]) -> bytes:
    """The names behind the numbers that a head gives to groups, as JSON."""
    names = {number: name for name, number in known.items()}
    return orjson.dumps([names.get(number) for number in groups.tolist()])


def cut(values: NDArray[Any], spans: Iterable[tuple[int, int]], width: int) -> list[bytes]:
    """The bytes of some rows, `width` each, from one to another."""
    data = values.tobytes()
    return [data[width * start : width * stop] for start, stop in spans]
