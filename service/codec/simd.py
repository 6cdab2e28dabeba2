"""What the fast decoders of both protocols share: the parser, and masks read by one translation of their bytes."""

from typing import Any, Final

import numpy as np
import simdjson
from numpy.typing import NDArray

from service.engine.single import WIDE_ROW

# A parser keeps the memory of the largest body that it has read; large ones get one of their own.
OWN_PARSER_FROM: Final = 2**21


SPARSE: Final = 512  # bytes a list; from there on, finding each takes a fifth of the time of looking at each byte


SHORT_ROW: Final = 25  # classes; looking for the end of each row takes longer than looking at each byte


# All bytes of true, false and the space between them, but those that tell them apart: t, f, [ and ].
NOISE: Final = b"rueals, \t\r\n"


BOOLEANS: Final = bytes.maketrans(b"tf", b"\1\0")


class Parsers:
    """One parser that is used again and again, until something still refers to what it read last."""

    def __init__(self) -> None:
        self.usual = simdjson.Parser()

    def parse(self, body: bytes) -> Any:
        """The document; raises ValueError or RuntimeError where simdjson does not read it."""
        if len(body) > OWN_PARSER_FROM:
            return simdjson.Parser().parse(body)
        try:
            return self.usual.parse(body)
        except RuntimeError:
            self.usual = simdjson.Parser()
            return self.usual.parse(body)


PARSERS: Final = Parsers()


def booleans_fast(body: bytes, start: int, n: int, k: int, rank: int) -> NDArray[np.bool_]:
    """bool `[N, K]` out of the bytes of the body behind a key; raises ValueError if there is anything else.

    Without the noise, `: [[true, false], [true, true]]` is `:[[tf][tt]]`, where t and f are the bytes 1 and 0 of
    numpy's booleans, and anything else shows; valid JSON has no byte 0 or 1. A `rank` of 0 is one list in no other.
    """
    if n == 1:
        return np.frombuffer(row_fast(body, start, k, rank), np.bool_).reshape(1, k)
    end = start
    if k < SHORT_ROW:
        end = body.index(b"]]", end) + 2
    else:
        for _ in range(n + 1):
            end = body.index(b"]", end) + 1
    left = body[start:end].translate(BOOLEANS, NOISE)
    width = k + 2
    framed = left[:2] == b":[" and left[2:-1:width] == b"[" * n and left[1 + width :: width] == b"]" * n
    if not framed or len(left) != n * width + 3:
        raise ValueError
    mask = np.frombuffer(left, np.uint8, n * width, 2).reshape(n, width)[:, 1:-1]
    if mask.max() > 1:
        raise ValueError
    return mask.view(np.bool_)


def row_fast(body: bytes, start: int, k: int, rank: int) -> bytes:
    """As `booleans_fast` for one row: a byte 0 or 1 for each class."""
    end = body.index(b"]", start) + 1
    if rank:
        end = body.index(b"]", end) + 1
    left = body[start:end].translate(BOOLEANS, NOISE)
    above, below = (b":[[", b"]]") if rank else (b":[", b"]")
    allowed = left[len(above) : -len(below)]
    if not left.startswith(above) or not left.endswith(below) or len(allowed) != k:
        raise ValueError
    # counting is faster than an array, up to there
    if k <= WIDE_ROW and allowed.count(0) + allowed.count(1) == k:
        return allowed
    if np.frombuffer(allowed, np.uint8).max() > 1:
        raise ValueError
    return allowed


def has_lists(body: bytes, n: int) -> bool:
    """Whether the body has so many opening brackets, those in strings included."""
    if len(body) > SPARSE * n:
        at = -1
        for _ in range(n):
            at = body.find(b"[", at + 1)
            if at < 0:
                return False
        return body.find(b"[", at + 1) < 0
    if len(body) < 4096:
        return body.count(b"[") == n
    return bool(np.count_nonzero(np.frombuffer(body, np.uint8) == ord("[")) == n)  # twice as fast from here on
