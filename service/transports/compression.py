"""gzip and deflate, of requests and of answers, with a bound on what a body unpacks to."""

import zlib
from functools import lru_cache
from typing import Final

from service.errors import BodyTooLarge, Malformed, UnsupportedMediaType

GZIP: Final = 31  # zlib's names for the three wrappers
ZLIB: Final = 15
BARE: Final = -15
CODINGS: Final = {b"gzip": GZIP, b"x-gzip": GZIP, b"deflate": ZLIB}
SMALL: Final = 2**16  # bytes; up to there a body may unpack as it likes
# Bytes of a member of gzip that are read first, then twice as many and so on: what it leaves over is copied.
FIRST_STEP: Final = 256
FAST: Final = 1  # floats hardly shrink further at the higher levels, which take three times as long


def find_coding(value: bytes) -> bytes | None:
    """The coding that a `Content-Encoding` names, or none for a plain body.

    Raises:
        UnsupportedMediaType: neither gzip nor deflate.
    """
    name = value.strip().lower()
    if name in (b"identity", b""):
        return None
    if name not in CODINGS:
        raise UnsupportedMediaType("the body is compressed in a way that is not known; expected gzip or deflate")
    return name


@lru_cache(maxsize=256)
def choose_coding(value: bytes) -> bytes | None:
    """The coding of the answer for an `Accept-Encoding`.

    Whoever wants a packed answer names one coding. Most HTTP libraries name several unasked: they get plain bytes,
    which floats are better off with, unless they refuse those.
    """
    named: dict[bytes, float] = {}
    for part in value.lower().split(b","):
        name, _, options = part.partition(b";")
        named[name.strip()] = weight(options)
    wanted = [name for name in (b"gzip", b"deflate") if named.get(name, 0.0) > 0]
    others = [name for name, q in named.items() if q > 0 and name not in (b"identity", *wanted)]
    plain = named.get(b"identity", named.get(b"*", 1.0)) > 0
    if wanted and (not plain or (len(wanted) == 1 and not others)):
        return max(wanted, key=lambda name: named[name])
    return None


def weight(options: bytes) -> float:
    """The q of a coding, 1 where none is given or it does not read."""
    key, _, value = options.strip().partition(b"=")
    try:
        return float(value) if key.strip() == b"q" else 1.0
    except ValueError:
        return 1.0


def unpacked_bound(n_bytes: int, max_bytes: int, max_ratio: int) -> int:
    """What a body of `n_bytes` may unpack to: `max_ratio` times as much, or a little; never more than `max_bytes`."""
    return min(max_bytes, max(SMALL, max_ratio * n_bytes))


def unpack(body: bytes, how: bytes, max_bytes: int) -> bytes:
    """A body unpacked.

    Raises:
        Malformed: it is not packed as `how` says, or breaks off.
        BodyTooLarge: it would be larger than `max_bytes`.
    """
    wrapper = CODINGS[how]
    if wrapper == ZLIB and not (len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0):
        wrapper = BARE  # some say deflate and leave the wrapper out
    parts = []
    left, at, given = max_bytes, 0, memoryview(body)
    while at < len(given):
        stream = zlib.decompressobj(wrapper)
        step = FIRST_STEP
        while not stream.eof:
            if at == len(given):
                raise Malformed(f"the {how.decode()} body breaks off", code="bad_encoding")
            piece = given[at : at + step]
            try:
                part = stream.decompress(piece, left + 1)
            except zlib.error:
                raise Malformed(
                    f"the body is not {how.decode()}, as its Content-Encoding says", code="bad_encoding"
                ) from None
            left -= len(part)
            if left < 0:
                raise BodyTooLarge(
                    f"the body unpacks to more than {max_bytes} bytes, the most that is read "
                    "(--max-unpacked-ratio, --max-body-bytes)"
                )
            parts.append(part)
            at += len(piece) - len(stream.unused_data)
            step *= 2
        if wrapper != GZIP:
            break
    return b"".join(parts)


def pack(body: bytes, how: bytes) -> bytes:
    stream = zlib.compressobj(FAST, wbits=CODINGS[how])
    return stream.compress(body) + stream.flush()
