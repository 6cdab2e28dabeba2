"""The shortest way in takes what is usual, and leaves the rest; that it reads the same is in `test_fast.py`."""

import pytest

from service.codec.predict.small import decode_small
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, THREE

USUAL = [
    b'{"logits":[2.0,1.0,0.1]}',
    b'{"logits":[[2,1,0.1]],"mask":[[true,true,false]],"temperature":[1.5]}',
    b'{"temperature":2,"logits":[-1e30,1e30,0.0]}',
]
OTHER = [
    b'{"logits":[1,2],"id":"x"}',
    b'{"logits":[1,null]}',
    b'{"logits":[1e39,2]}',
    b'{"logits":[[1,2],[3,4]]}',
    b'{"logits":[]}',
    b'{"logits":[[[1]]]}',
    b'{"logits":"12"}',
    b'{"logits":[0.5,0.5]}',
    b'{"logits":[1,2],"logits":[3,4]}',
    b'{"logits":[1,2],"mask":[1,0]}',
    b'{"logits":[[1,2]],"mask":[true,false]}',
    b'{"logits":[1,2],"temperature":0}',
    b'{"logits":[1,2],"temperature":null}',
    b'{"logits":[1,2],"temperature":[1,1]}',
    b"[1]",
    b"{",
]


@pytest.mark.parametrize("body", USUAL)
def test_what_is_usual_is_taken(body: bytes) -> None:
    assert decode_small(body, ANY) is not None
    assert decode_small(body, THREE) is not None


@pytest.mark.parametrize("body", OTHER)
def test_everything_else_is_left(body: bytes) -> None:
    assert decode_small(body, ANY) is None


def test_another_kind_of_head_is_left() -> None:
    assert decode_small(USUAL[0], CLASSIFIER) is None
    assert decode_small(USUAL[0], LATE_MASK) is None
