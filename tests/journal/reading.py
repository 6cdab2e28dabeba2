"""What a folder of segments holds, read back."""

from pathlib import Path
from typing import Any

import numpy as np

from service.journal.record import Block, Labels, Lost, read_blocks
from service.journal.segments import find_segments, read_frames


def blocks(folder: Path) -> list[Block | Labels | Lost]:
    """Everything that was written, in order."""
    return [
        block
        for path in find_segments(folder)
        for frame in read_frames(path, 0)
        for block in read_blocks(frame.payload)
    ]


def rows(folder: Path) -> dict[str, list[Any]]:
    """The rows of every id: values as they are, with -inf where the mask says no."""
    found: dict[str, list[Any]] = {}
    for block in blocks(folder):
        if isinstance(block, Block):
            values = block.values if block.mask is None else np.where(block.mask, block.values, -np.inf)
            ends = block.rows.cumsum()
            for key, part in zip(block.ids, np.split(values, ends[:-1]), strict=True):
                found.setdefault(key.decode(), []).extend(part.tolist())
    return found
