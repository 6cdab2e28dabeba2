"""Compression: which coding an answer gets, and what weights mean."""

import gzip
import time
import zlib

import pytest

from service.errors import BodyTooLarge, Malformed
from service.transports.compression import choose_coding, pack, unpack, unpacked_bound


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"deflate", b"deflate"),
        (b"gzip;q=0.2", b"gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=high", b"gzip"),  # a weight that does not read is 1
        (b"gzip;level=0", b"gzip"),  # as one that is none
        (b"gzip, deflate", None),  # what HTTP libraries name unasked
        (b"gzip, deflate, identity;q=0", b"gzip"),
        (b"deflate;q=0.9, gzip;q=0.5, *;q=0", b"deflate"),
        (b"gzip;q=x, deflate;q=0.5, identity;q=0", b"gzip"),
        (b"br", None),
        (b"", None),
    ],
)
def test_an_answer_is_packed_for_whoever_wants_that(accepted: bytes, coding: bytes | None) -> None:
    assert choose_coding(accepted) == coding


@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_what_was_packed_unpacks_to_the_same(coding: bytes) -> None:
    body = b"0.25," * 1000
    packed = pack(body, coding)
    assert len(packed) < len(body)
    assert unpack(packed, coding, len(body)) == body


def test_a_body_that_unpacks_to_far_more_than_it_is_is_refused_long_before_it_is_whole() -> None:
    bomb = pack(b" " * 2**24, b"gzip")
    most = unpacked_bound(len(bomb), 2**25, 100)
    assert most == 100 * len(bomb) < 2**24
    with pytest.raises(BodyTooLarge, match=rf"more than {most} bytes, the most that is read \(--max-unpacked-ratio"):
        unpack(bomb, b"gzip", most)


def test_a_small_body_may_unpack_as_it_likes_and_none_to_more_than_is_read() -> None:
    assert unpacked_bound(10, 2**25, 1) == 2**16
    assert unpacked_bound(10, 1000, 200) == 1000


def test_a_body_may_have_many_members() -> None:
    """What was left of the body was once copied for each: 9 s for these, a quarter of a second now."""
    n = 200_000
    began = time.process_time()
    assert unpack(gzip.compress(b"", mtime=0) * n + gzip.compress(b"1"), b"gzip", 10) == b"1"
    assert time.process_time() - began < 3


@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 3000])
@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"bare"])
def test_members_of_any_length_are_read_to_their_end(n: int, coding: bytes) -> None:
    noise = b"".join(zlib.crc32(b"%d" % i).to_bytes(4, "big") for i in range(n))[:n]
    packed = zlib.compress(noise)[2:-4] if coding == b"bare" else pack(noise, coding)
    how = b"gzip" if coding == b"gzip" else b"deflate"
    assert unpack(packed, how, n) == noise
    assert unpack(packed + (packed if how == b"gzip" else b"x"), how, 2 * n) == noise * (1 + (how == b"gzip"))
    with pytest.raises(Malformed, match="breaks off"):
        unpack(packed[:-1], how, n)
    if n:
        with pytest.raises(BodyTooLarge):
            unpack(packed, how, n - 1)
