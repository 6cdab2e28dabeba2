"""What the server writes of its answers: blocks of rows that one head answered, as bytes.

Little-endian. A block is a header, the name of the head as `MODEL/VERSION`, and then, of m requests of n rows together
and k classes, in this order:

    rows         m uint32, of each request
    lengths      m uint16, of each id in bytes
    ids          UTF-8, one behind the other
    apart        m uint8, 1 where a request had a mask or a temperature of its own; of LOGITS 0 may be that, too
    temperatures n float64, where the block has them; NaN where the head's own was taken
    groups       n uint16, where the block has them; 0 for none that the head knows
    mask         n k uint8, where the block has it; 1 where the class may be chosen
    values       LOGITS and PROBABILITIES n k float32; BEST n int32, the classes, and n float32, their probabilities

Behind them, where a block of one request has them; who does not know these passes over them:

    group        uint32, a length, and so many bytes of JSON: the group of all rows, or a list of one a row
    sets         float64, the alpha of prediction sets; n (k + 7) / 8 uint8, a bit a class, the lowest first
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LABELS: Final = 0  # not rows: labels as JSON, which are behind the header alone
LOGITS: Final = 1
PROBABILITIES: Final = 2  # of heads whose logits do not come with the request
BEST: Final = 3  # the predicted class and its probability, and nothing else
LOST: Final = 4  # not rows: so many were dropped, or not kept; n counts them

HAS_TEMPERATURES: Final = 1
HAS_GROUPS: Final = 2
HAS_MASK: Final = 4
HAS_GROUP: Final = 8
HAS_SETS: Final = 16

HEADER: Final = Struct("<BBHIIIQ")  # kind, has, length of the name, m, n, k, bytes behind the header
LENGTH: Final = Struct("<I")
ALPHA: Final = Struct("<d")
ONE: Final = array("I", [1])
MAX_ID: Final = 1024  # bytes


@dataclass(slots=True)
class Block:
    """Rows that one head answered, as they came.

    Attributes:
        kind: `LOGITS`, `PROBABILITIES` or `BEST`.
        model: `MODEL/VERSION`.
        ids: of the m requests.
        rows: how many rows each request had, `[m]`.
        apart: bool `[m]`, where a request had a mask or a temperature of its own.
        values: float32 `[n, k]`; of `BEST` `[n, 1]`.
        classes: int32 `[n]`, of `BEST` alone.
        temperatures: float64 `[n]`, or none; groups: int `[n]`, or none; mask: bool `[n, k]`, or none.
        group: the name for all rows, or one a row, as JSON, or none.
        alpha: of the prediction sets; sets: uint8 `[n, (k + 7) / 8]`, a bit a class; or none.
    """

    kind: int
    model: str
    ids: Sequence[bytes]
    rows: NDArray[np.int64]
    apart: NDArray[np.bool_]
    values: NDArray[np.float32]
    classes: NDArray[np.int32] | None = None
    temperatures: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    mask: NDArray[np.bool_] | None = None
    group: bytes | None = None
    alpha: float | None = None
    sets: NDArray[np.uint8] | None = None


@dataclass(slots=True)
class Lost:
    """Rows that the server answered and did not keep."""

    n: int


@dataclass(slots=True)
class Labels:
    """Labels that came while the live process did not answer: a JSON document, as `labels.Label` reads it."""

    body: bytes


def pack_block(
    kind: int,
    model: bytes,
    ids: Sequence[bytes],
    rows: Sequence[int],
    k: int,
    apart: bytes,
    values: Sequence[Any],
    *,
    temperatures: bytes = b"",
    groups: bytes = b"",
    mask: bytes = b"",
    group: bytes = b"",
    sets: bytes = b"",
) -> list[Any]:
    """The parts of a block: bytes, and `values`, which may be anything that has a buffer and are not copied.

    `rows` are those of each request, or nothing where it is one of each. `group` is JSON, `sets` as `pack_sets` makes
    them.
    """
    if group or sets:
        values = [*values, LENGTH.pack(len(group)) + group if group else b"", sets]
    packed = pack_lengths(ids), b"".join(ids), apart
    has = HAS_GROUPS * bool(groups) | HAS_MASK * bool(mask) | HAS_GROUP * bool(group) | HAS_SETS * bool(sets)
    return pack_joined(
        kind, model, len(ids), k, packed, values, rows=rows, temperatures=temperatures, has=has, others=groups + mask
    )


def pack_joined(
    kind: int,
    model: bytes,
    m: int,
    k: int,
    packed: tuple[bytes, bytes, bytes],
    values: Sequence[Any],
    *,
    rows: Sequence[int] = (),
    temperatures: bytes = b"",
    has: int = 0,
    others: bytes = b"",
) -> list[Any]:
    """The same of what is `packed` already: lengths, ids, `apart`; `others` stand before the values, as `has` says."""
    has |= HAS_TEMPERATURES * bool(temperatures)
    before = b"".join((model, (array("I", rows) if rows else ONE * m).tobytes(), *packed, temperatures, others))
    n_bytes = len(before) + sum(memoryview(part).nbytes for part in values)
    return [HEADER.pack(kind, has, len(model), m, sum(rows) if rows else m, k, n_bytes) + before, *values]


def pack_lengths(ids: Sequence[bytes]) -> bytes:
    """The length of each id, uint16; those that the server has made are of one length, which is told sooner."""
    lengths = {*map(len, ids)}
    return (array("H", lengths) * len(ids) if len(lengths) == 1 else array("H", map(len, ids))).tobytes()


def pack_sets(alpha: float, sets: NDArray[np.bool_]) -> bytes:
    """Prediction sets, bool `[n, k]`, and their alpha."""
    return ALPHA.pack(alpha) + np.packbits(sets, axis=1, bitorder="little").tobytes()


def pack_labels(body: bytes) -> bytes:
    """Labels as a block."""
    return HEADER.pack(LABELS, 0, 0, 0, 0, 0, len(body)) + body


def pack_lost(n: int) -> bytes:
    """So many rows that were not kept, as a block."""
    return HEADER.pack(LOST, 0, 0, 0, n, 0, 0)


def read_blocks(data: bytes) -> Iterator[Block | Labels | Lost]:
    """The blocks in `data`, whose bytes they share.

    Raises:
        ValueError: these are no blocks.
    """
    at = 0
    while at < len(data):
        if len(data) - at < HEADER.size:
            raise ValueError("a block is cut off")
        kind, has, n_name, m, n, k, n_bytes = HEADER.unpack_from(data, at)
        at += HEADER.size
        if at + n_bytes > len(data) or kind > LOST:
            raise ValueError("a block is longer than what there is, or of no kind that is known")
        body = memoryview(data)[at : at + n_bytes]
        at += n_bytes
        if kind == LABELS:
            yield Labels(bytes(body))
        elif kind == LOST:
            yield Lost(n)
        else:
            yield read_block(kind, has, n_name, (m, n, k), body)


def read_block(kind: int, has: int, n_name: int, sizes: tuple[int, int, int], body: memoryview) -> Block:
    m, n, k = sizes
    at = n_name

    def take(dtype: str, count: int) -> NDArray[Any]:
        nonlocal at
        found: NDArray[Any] = np.frombuffer(body, dtype, count, at)
        at += found.nbytes
        return found

    rows, lengths = take("<u4", m).astype(np.int64), take("<u2", m).astype(np.int64)
    ends = lengths.cumsum() + at
    ids = [bytes(body[end - length : end]) for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
    at += int(lengths.sum())
    apart = take("u1", m).astype(np.bool_)
    temperatures = take("<f8", n) if has & HAS_TEMPERATURES else None
    groups = take("<u2", n).astype(np.int64) if has & HAS_GROUPS else None
    mask = take("u1", n * k).astype(np.bool_).reshape(n, k) if has & HAS_MASK else None
    classes = take("<i4", n) if kind == BEST else None
    width = 1 if kind == BEST else k
    values = take("<f4", n * width).reshape(n, width)
    model = str(body[:n_name], "utf-8")
    group = bytes(take("u1", int(take("<u4", 1)[0]))) if has & HAS_GROUP else None
    alpha = float(take("<f8", 1)[0]) if has & HAS_SETS else None
    sets = take("u1", n * (k + 7 >> 3)).reshape(n, -1) if has & HAS_SETS else None
    return Block(kind, model, ids, rows, apart, values, classes, temperatures, groups, mask, group, alpha, sets)
