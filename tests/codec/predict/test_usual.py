"""The shortest way in takes what is usual, in both forms, and leaves the rest."""

import json
import os
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.codec.predict import usual
from service.codec.predict.careful import decode_careful
from service.codec.predict.usual import Usual, usual_query
from tests.codec.predict.bodies import same, spoiled, usual_body
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, THREE

Read = Callable[[bytes], Usual | None]
FORMS: dict[str, Read] = {"Python": usual.read_usual}
try:
    from service.codec.predict import speedups
except ImportError:
    pass
else:
    FORMS["C"] = speedups.read_usual

USUAL = [
    b'{"logits":[2.0,1.0,0.1]}',
    b'{"logits":[[2,1,0.1]],"mask":[[true,true,false]],"temperature":[1.5]}',
    b'{"temperature":2,"logits":[-1e30,1e30,0.0]}',
    b' {\n"logits" : [ 2.0 ,\t1e1,-0.1 ] , "mask": [true , false,true]\r\n} ',
    b'{"logits":[0,-0,-0.0,-0e1,5E-1,17]}',
    b'{"logits":[0.1234567890123456789,-1234567890123456789012345678901234567,1e-400,-1e-50]}',
    b'{"logits":[3,16777217,16777219.000000001,9007199254740993,1.00000017881393432617187499]}',
]
MANY = [
    b'{"logits":[[2,1],[0,3]]}',
    b'{"logits":[[2,-1],[0,0]],"mask":[[true,false],[false,true]],"temperature":0.5}',
    b'{"logits":[[2,1],[0,3]],"temperature":[ 0.5 , 1.0000000000000000001]}',
    b'{"temperature":[1,2,3e-5],"logits":[[2],[0],[3]]}',
    b'{ "logits" : [ [ 2, 1 ] , [ 0, -3 ] ], "mask" : [ [ true, false ] , [ false, true ] ] }',
]
OTHER = [
    b'{"logits":[1,2],"id":"x"}',
    b'{"logits":[1,null]}',
    b'{"logits":[1e39,2]}',
    b'{"logits":[1,2' + b"0" * 50 + b"]}",
    b'{"logits":[1,2],"temperature":1e400}',
    b'{"logits":[[1,2],[3]]}',
    b'{"logits":[[1,2],3]}',
    b'{"logits":[]}',
    b'{"logits":[[]]}',
    b'{"logits":[[[1]]]}',
    b'{"logits":"12"}',
    b'{"logits":[0.5,0.5]}',
    b'{"logits":[1,2],"logits":[3,4]}',
    b'{"logits":[1,2],"mask":[1,0]}',
    b'{"logits":[1,2],"mask":[false,false]}',
    b'{"logits":[1,2],"mask":[true]}',
    b'{"logits":[1,2],"mask":[[true,true]]}',
    b'{"logits":[[1,2]],"mask":[true,true]}',
    b'{"logits":[[1,2],[3,4]],"mask":[[true,true]]}',
    b'{"logits":[[1,2]],"mask":[[true,true],[true,true]]}',
    b'{"logits":[1,2],"mask":[true,true,true]}',
    b'{"logits":[1,2],"mask":[true,falsy]}',
    b'{"logits":[1,2],"mask":[true,fals',
    b'{"logits":[[1,2]],"mask":[true,false]}',
    b'{"logits":[1,2],"mask":[[true,false]]}',
    b'{"mask":[true,true]}',
    b'{"logits":[1,2],"temperature":0}',
    b'{"logits":[1,2],"temperature":-1}',
    b'{"logits":[1,2],"temperature":null}',
    b'{"logits":[1,2],"temperature":[1,1]}',
    b'{"logits":[1,2],"temperature":[]}',
    b'{"logits":[1,2],"temperature":[1,',
    b'{"logits":[1,2],"temperature":[1,}',
    b'{"logits":[1,2],"temperature":[1 1]}',
    b'{"logits":[[1,2],[3,4]],"temperature":[1,0]}',
    b'{"logits":[[1,2],[3,4]],"temperature":[1,2,3]}',
    b'{"logits":[[1,2],[3,4]],"temperature":[1]}',
    b'{"logits":[01,2]}',
    b'{"logits":[1.,2]}',
    b'{"logits":[.5,2]}',
    b'{"logits":[+1,2]}',
    b'{"logits":[1e,2]}',
    b'{"logits":[1 2]}',
    b'{"logits":[1,2,]}',
    b'{"logits":[1,2]}}',
    b'{"logits":[1,2]}\x00',
    b'{"logits":[1,2]\x00}',
    b'{"logits":[1,2],}',
    b'{"logits" [1,2]}',
    b'{"logits":[NaN,2]}',
    b'{"logits":[Infinity,2]}',
    b'\xef\xbb\xbf{"logits":[1,2]}',
    b"[1]",
    b"{",
    b"{}",
    b"",
]


@pytest.fixture(params=FORMS)
def read(request: pytest.FixtureRequest) -> Read:
    """One form after the other."""
    return FORMS[request.param]


def agrees(read: Read, body: bytes) -> bool:
    """Assert that what is read is what the careful way reads; whether it is read."""
    found = read(body)
    if found is None:
        return False
    query = usual_query(found, ANY)
    assert query is not None, body
    same(query, decode_careful(body, ANY))
    return True


@pytest.mark.parametrize("body", USUAL)
def test_what_is_usual_is_taken(read: Read, body: bytes) -> None:
    assert agrees(read, body)


@pytest.mark.skipif("C" not in FORMS, reason="not built: make test-compiled")
@pytest.mark.parametrize("body", MANY)
def test_many_rows_are_taken_in_c(body: bytes) -> None:
    assert agrees(FORMS["C"], body)


@pytest.mark.parametrize("body", OTHER)
def test_everything_else_is_left(read: Read, body: bytes) -> None:
    assert read(body) is None


def test_what_is_no_bytes_is_left(read: Read) -> None:
    """Over gRPC a body is a message."""
    assert read(object()) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("model", [CLASSIFIER, LATE_MASK])
def test_another_kind_of_head_is_left(model: Any) -> None:
    found = usual.read_usual(USUAL[0])
    assert found is not None
    assert usual_query(found, THREE) is not None
    assert usual_query(found, model) is None


def test_another_number_of_classes_is_left() -> None:
    found = usual.read_usual(b'{"logits":[2,1]}')
    assert found is not None
    assert usual_query(found, THREE) is None


def test_every_number_is_rounded_as_python_rounds_it(read: Read) -> None:
    """To float64, then to float32: neighbours of what lies in the middle between two float32, in 1 to 40 digits."""
    random_ = np.random.default_rng(21)
    bits = random_.integers(0, 2**31, 3000).astype(np.uint32)
    low = bits.view(np.float32)
    low = low[np.isfinite(low) & (low < 1e37)].astype(np.float64)
    middles = (low + np.nextafter(low.astype(np.float32), np.float32(np.inf)).astype(np.float64)) / 2
    for i, value in enumerate(middles.tolist()):
        for text in (f"{value:.{i % 40}e}", repr(value), repr(np.nextafter(value, 0.0).item()), f"{value:.17g}"):
            found = read(b'{"logits":[-5,%s]}' % text.encode())
            assert found is not None, text
            assert found[0][4:] == struct.pack("f", float(text)), text


@pytest.mark.parametrize("zeros", ["", "000", "000000000"])
@pytest.mark.parametrize("whole", ["0", "7", "12345678901"])
def test_digits_are_read_wherever_they_end_and_the_body_behind_them(read: Read, whole: str, zeros: str) -> None:
    """Eight of them are read at once where so many bytes are left."""
    for n in range(1, 41 - len(zeros)):
        text = f"{whole}.{zeros}{'98765432101234567890' * 2:.{n}}"
        for behind in range(10):
            found = read(b'{"logits":[-5,%s]%s}' % (text.encode(), b" " * behind))
            assert found is not None, text
            assert found[0][4:] == struct.pack("f", float(text)), text


def test_what_a_fuzzer_writes_is_read_as_the_careful_way_reads_it_or_left(read: Read) -> None:
    """Seeds 0 to 19, and 100 bodies each; with FUZZ=N, as `make fuzz` has it, seeds 0 to 1,000 N."""
    n_taken = 0
    n = 1000 * int(os.environ.get("FUZZ", "0")) or 20
    for seed in range(n):
        random_ = random.Random(seed)
        for _ in range(100):
            body = usual_body(random_)
            if random_.random() < 0.6:
                body = spoiled(body, random_)
            n_taken += agrees(read, body)
    assert n_taken > 20 * n  # of 100


def test_a_long_body_is_read(read: Read) -> None:
    row = np.random.default_rng(3).normal(size=3000).tolist()
    assert agrees(read, json.dumps({"logits": row}).encode())
