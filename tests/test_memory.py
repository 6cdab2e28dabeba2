"""What a large request took is given back: the memory of a serving process, measured from outside."""

from collections.abc import Iterator

import pytest

from tests.processes import Process, serve

MB = 2**20
# The allocator keeps a little of everything; a body, or what was made of it, that stays behind is far more.
SLACK = 48 * MB

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
STATUS = {"too large": 413, "not json": 400, "truncated": 400, "brackets": 400, "nulls": 200, "a row of millions": 200}


@pytest.fixture(scope="module", params=["--fast-lane", "--no-fast-lane"])
def process(request: pytest.FixtureRequest) -> Iterator[Process]:
    """A process that has answered small requests."""
    with serve(request.param, "--log-level", "error") as process:
        for n in range(1, 30):
            assert process.client.post("/v1/predict", json={"logits": [[1, 2]] * n}).status_code == 200
        yield process


@pytest.mark.parametrize("what", BODIES)
def test_memory_is_back_where_it_was_after_a_large_body(process: Process, what: str) -> None:
    before = process.resident_bytes
    response = process.client.post("/v1/predict", content=BODIES[what])
    assert response.status_code == STATUS.get(what, 422), response.text[:200]
    # still on the connection of that request
    assert process.resident_bytes - before < SLACK
    assert process.client.get("/readyz").status_code == 200
