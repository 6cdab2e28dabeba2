"""How deep JSON may be nested: one bound for whatever this process reads, checked before a parser sees the bytes.

The fast ways in know but shapes of a few levels, and what is deeper than those comes here.
"""

import re
from typing import Final

from service.errors import NotJSON

STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
SQUARE: Final = bytes.maketrans(b"{}", b"[]")
OTHERS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Bound:
    """The bound of this process.

    Attributes:
        most: levels; `app.py` sets it.
    """

    most = 128


BOUND: Final = Bound()


def check_depth(body: bytes) -> None:
    """Raise NotJSON where arrays and objects lie within each other more than `BOUND.most` deep."""
    if body.count(b"[") + body.count(b"{") <= BOUND.most:
        return
    left = STRINGS.sub(b"", body).translate(SQUARE, OTHERS)
    too_deep = b"[" * (BOUND.most + 1)
    for _ in range(BOUND.most):
        if too_deep in left:
            break
        before, left = len(left), left.replace(b"[]", b"")
        if len(left) == before:  # nothing is left, or brackets without their like, which the parser names
            return
    if b"[" in left:
        raise NotJSON(f"the body is nested too deeply; expected at most {BOUND.most} levels (--max-json-depth)")
