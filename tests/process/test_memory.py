"""What a large request took is given back: the memory of a serving process, measured from outside."""

import ctypes
import platform
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import ROOT
from tests.processes import Process, serve

MB = 2**20
# Allocators and ONNX Runtime keep some tens of MB; what is made of these bodies is hundreds, each time.
SLACK = 128 * MB

BODIES = {
    "too large": b" " * (100 * MB),
    "not json": b"x" * (30 * MB),
    "truncated": b'{"logits":[' + b"1.5," * (7 * MB),
    "strings": b'{"logits":[' + b'"a",' * (7 * MB) + b'"b"]}',
    "brackets": b"[" * (30 * MB),
    "duplicate keys": b'{"logits":[1],' + b'"id":"a",' * (2 * MB) + b'"id":"b"}',
    "unknown keys": b"{" + b",".join(b'"k%d":1' % i for i in range(MB)) + b"}",
    "a long key": b'{"' + b"k" * (30 * MB) + b'":1}',
    "many outputs": b'{"logits":[1],"outputs":["entropy"' + b',"entropy"' * MB + b"]}",
    "many rows": b'{"logits":[[1,2]' + b",[1,2]" * (2 * MB) + b"]}",
    "nulls": b'{"logits":[' + b"null," * (2 * MB) + b"1]}",
    "a row of millions": b'{"logits":[' + b"0.5," * (4 * MB) + b"1]}",
}
STATUS = {
    "too large": 413,
    "not json": 400,
    "truncated": 400,
    "brackets": 400,
    "many rows": 413,
    "nulls": 200,
    "a row of millions": 200,
}


@pytest.fixture(scope="module", params=["--fast-http", "--no-fast-http"])
def warm(request: pytest.FixtureRequest) -> Iterator[tuple[Process, int]]:
    """A process that has answered small requests, and the memory that it holds then."""
    with serve(request.param, "--log-level", "error") as process:
        for n in range(1, 30):
            assert process.client.post("/v1/predict", json={"logits": [[1, 2]] * n}).status_code == 200
        yield process, process.resident_bytes


@pytest.mark.parametrize("what", BODIES)
def test_memory_is_back_where_it_was_after_a_large_body(warm: tuple[Process, int], what: str) -> None:
    process, before = warm
    for _ in range(2):
        response = process.client.post("/v1/predict", content=BODIES[what])
        assert response.status_code == STATUS.get(what, 422), response.text[:200]
    # the connection of those requests rests; a request on another one comes after what they left to do
    assert httpx.get(process.url + "/readyz").status_code == 200
    assert process.resident_bytes - before < SLACK


HEAPS = """
import ctypes, sys
from service.memory import resident_bytes
from service.process.memory import return_large_blocks
if sys.argv[1] == "return":
    return_large_blocks(2**17, 2**20)
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.free(libc.malloc(24 * 2**20))  # glibc learns from it
before, blocks = resident_bytes(), []
for _ in range(200):
    blocks.append(libc.malloc(200_000))
    ctypes.memset(blocks[-1], 1, 200_000)
    libc.malloc(64)
for block in blocks:
    libc.free(block)
print(resident_bytes() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries learn nothing")
def test_large_blocks_are_given_back_although_small_ones_lie_between_them() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, check=True, cwd=ROOT).stdout)
        for how in ("keep", "return")
    )
    assert kept > 30 * MB
    assert returned < 5 * MB


CACHE = """
import ctypes, sys
import numpy as np
from service.process.memory import fill_array_cache

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena ordblks smblks hblks hblkhd usmblks fsmblks used "
                                                     "free keepcost").split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
if sys.argv[1] == "fill":
    fill_array_cache()
before = libc.mallinfo2().used
for n in range(1, 1024):
    arrays = [np.empty(n, np.uint8) for _ in range(9)]
    del arrays
print(libc.mallinfo2().used - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="other C libraries do not say what is in use")
def test_small_arrays_take_nothing_for_good_once_the_cache_of_numpy_is_full() -> None:
    taken, filled = (
        int(subprocess.run([sys.executable, "-c", CACHE, how], capture_output=True, check=True, cwd=ROOT).stdout)
        for how in ("do not", "fill")
    )
    assert taken > 3 * MB
    assert filled < taken / 8  # the C library keeps a few as well
