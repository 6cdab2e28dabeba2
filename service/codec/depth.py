"""How deep JSON may be nested: one bound for whatever this process reads, checked before a parser sees the bytes.

The fast ways in know but shapes of a few levels, and what is deeper than those comes here.
"""

from typing import Final

import numpy as np

from service.errors import NotJSON

SQUARE: Final = bytes.maketrans(b"{}", b"[]")
OTHERS: Final = bytes(set(range(256)) - set(b'[]{}"'))
STEPS: Final = np.zeros(256, np.int8)
STEPS[ord("[")], STEPS[ord("]")] = 1, -1
PIECE: Final = 2**16  # bytes at a time, for the arrays are larger than what they are made of


class Bound:
    """The bound of this process.

    Attributes:
        most: levels; `app.py` sets it.
    """

    most = 128


BOUND: Final = Bound()


def check_depth(body: bytes) -> None:
    """Raise NotJSON where arrays and objects lie within each other more than `BOUND.most` deep; linear in the body.

    Of bytes that are no JSON, those up to the first that is wrong are counted right: no parser goes on behind it.
    """
    if body.count(b"[") + body.count(b"{") <= BOUND.most:
        return
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
