"""Damage: bytes that were right, changed at random, mostly so that the readers still get some way into them."""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

MOST: Final = 4096  # bytes; what is longer says nothing that shorter ones do not
TOKENS: Final = (
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u0061", b"\\ud800", b"null", b"true", b"NaN", b"-Infinity"),
    *(
        b"1e400",
        b"-1e-400",
        b"18446744073709551616",
        b"-9223372036854775809",
        b"3.4028236e38",
        b"1" * 400,
        b"-0",
        b"[" * 99,
    ),
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\r\n",
        b"\n",
        b"\t",
        b" ",
        b"\r\n\r\n",
        b"0\r\n\r\n",
    ),
    *(
        b"logits",
        b"mask",
        b"temperature",
        b"inputs",
        b"data",
        b"shape",
        b"binary_data_size",
        b"FP32",
        b"BF16",
        b"BYTES",
    ),
    *(
        b"content-length: 5\r\n",
        b"transfer-encoding: chunked\r\n",
        b"expect: 100-continue\r\n",
        b"host: y\r\n",
        b"%2f%00",
    ),
    *(
        b"connection: close\r\n",
        b"upgrade: h2c\r\n",
        b"content-encoding: gzip\r\n",
        b"inference-header-content-length: 9\r\n",
    ),
)
VALUES: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        0.5,
        -0.0,
        1e-320,
        1e10,
        1e38,
        -1e39,
        1e308,
        10**400,
        2**31,
        2**53 + 1,
        2**63,
        2**64,
    ),
    *("", "a", "logits", "\ud800", "\x00", "9" * 300, [], {}, [[]], [0, 1], [[1, 2], [3]], [True, False], {"a": 1}),
    *(
        "FP64",
        "BYTES",
        "BOOL",
        "INT64",
        [1, 3],
        [0],
        [-1],
        [2**32, 2**32],
        float("inf"),
        float("nan"),
        ["probabilities"],
    ),
)


def flip(data: bytes, draw: random.Random) -> bytes:
    """Another byte somewhere."""
    if not data:
        return data
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def insert(data: bytes, draw: random.Random) -> bytes:
    """Something that a reader looks for, where it may not be."""
    at = draw.randint(0, len(data))
    return data[:at] + draw.choice(TOKENS) + data[at:]


def cut(data: bytes, draw: random.Random) -> bytes:
    """A piece less: in the middle, or all from there on."""
    at = draw.randint(0, len(data))
    return data[:at] + data[at + draw.choice((1, 2, 4, 16, len(data))) :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    """A piece twice."""
    at = draw.randint(0, len(data))
    return data[:at] + data[max(0, at - draw.choice((1, 4, 16, 64))) :]


def renumber(data: bytes, draw: random.Random) -> bytes:
    """Another digit, or sign, or point."""
    digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if not digits:
        return data
    at = draw.choice(digits)
    return data[:at] + draw.choice((b"0", b"1", b"9", b"-1", b".5", b"e9", b"00", b"99999999999", b"")) + data[at + 1 :]


def revalue(data: bytes, draw: random.Random) -> bytes:
    """JSON that is still JSON, with another value somewhere, a key less, or one that is not known."""
    start = data.find(b"{")
    try:
        document = json.loads(data[start:])
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    collect(document, places)
    if not places:
        return data
    inside, key = draw.choice(places)
    kind = draw.random()
    if kind < 0.1:
        del inside[key]
    elif kind < 0.2 and isinstance(inside, dict):
        inside[draw.choice(("other", "logits", "mask", "Logits", "data"))] = draw.choice(VALUES)
    else:
        inside[key] = (
            draw.choice(VALUES) if kind < 0.7 else draw.choice(([inside[key]], {"a": inside[key]}, [inside[key]] * 3))
        )
    text = json.dumps(document, ensure_ascii=draw.random() < 0.7)
    return data[:start] + text.encode("utf-8", "surrogatepass")


def collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """Every place in a document: what holds it, and its key there."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        places.append((value, key))
        collect(value[key], places)


DAMAGES: Final[tuple[Callable[[bytes, random.Random], bytes], ...]] = (flip, insert, cut, repeat, renumber)


def damaged(pool: Sequence[bytes], draw: random.Random) -> bytes:
    """One of the pool, changed in up to four ways, or joined with another."""
    data = draw.choice(pool)
    if draw.random() < 0.6:
        data = revalue(data, draw)
    if draw.random() < 0.1:
        other = draw.choice(pool)
        data = data[: draw.randint(0, len(data))] + other[draw.randint(0, len(other)) :]
    for _ in range(draw.choice((0, 1, 1, 2, 3))):
        data = draw.choice(DAMAGES)(data, draw)
    return data[:MOST]
