"""How deep JSON may be nested, and how many lists and objects it may have: bounds for whatever this process reads.

They are checked before a parser sees the bytes: lists and objects cost it most, time as well as memory.

The fast ways in know but shapes of a few levels, and what is deeper than those comes here.
"""

from typing import Final

import numpy as np

from service.errors import BodyTooLarge, NotJSON

SQUARE: Final = bytes.maketrans(b"{}", b"[]")
OTHERS: Final = bytes(set(range(256)) - set(b'[]{}"'))
STEPS: Final = np.zeros(256, np.int8)
STEPS[ord("[")], STEPS[ord("]")] = 1, -1
PIECE: Final = 2**16  # bytes at a time, for the arrays are larger than what they are made of


class Bound:
    """The bounds of this process, which `app.py` sets.

    Attributes:
        most: levels.
        lists: lists and objects.
    """

    most = 128
    lists = 2**20


BOUND: Final = Bound()


def lists_bound(max_queue_rows: int) -> int:
    """How many lists and objects a body may have: more than any that has so many rows, several of a row included."""
    return max(2**20, 128 * max_queue_rows)


def check_depth(body: bytes) -> None:
    """Check a body by its brackets and braces; linear in the body.

    Of bytes that are no JSON, those up to the first that is wrong are counted right: no parser goes on behind it.

    Raises:
        NotJSON: arrays and objects lie within each other more than `BOUND.most` deep.
        BodyTooLarge: there are more of them than `BOUND.lists`; those in strings count.
    """
    n_lists = body.count(b"[") + body.count(b"{")
    if n_lists <= BOUND.most:
        return
    check_levels(body)
    if n_lists > BOUND.lists:
        raise BodyTooLarge(
            f"the body has {n_lists} lists and objects; expected at most {BOUND.lists} (--max-queue-rows)"
        )


def check_levels(body: bytes) -> None:
    """Raise NotJSON where a body is nested too deeply."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(body.translate(SQUARE, OTHERS), np.uint8)
    level, in_string = 0, False
    for at in range(0, len(marks), PIECE):
        piece = marks[at : at + PIECE]
        within = np.logical_xor.accumulate(piece == ord('"')) ^ in_string
        levels = np.cumsum(STEPS[piece] * ~within, dtype=np.int32)
        if level + int(levels.max()) > BOUND.most:
            raise NotJSON(f"the body is nested too deeply; expected at most {BOUND.most} levels (--max-json-depth)")
        level, in_string = level + int(levels[-1]), bool(within[-1])
