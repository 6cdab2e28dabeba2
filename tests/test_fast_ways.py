"""Usual requests take the fast ways: one that is right and never taken would only be slow.

Each is seen by what it leaves behind or would do, never by a patch, so that it is the same in any form of the code.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import service
from service.codec.infer.decode import decode_infer, read_header_fast
from service.codec.infer.header import REMEMBERED_BYTES, read_header, remembered_header
from service.codec.infer.usual import read_usual
from service.codec.predict.decode import MAX_BODY, decode_fast, decode_predict, decode_usual
from service.engine.feed import build_feed
from service.engine.rows import Rows
from service.engine.single import Row, all_single
from service.engine.warm_up import JUST_BITS
from service.transports.endpoints import PREDICT, Target
from service.transports.fast_known import KnownProtocol
from service.transports.known import Known
from tests.codec.served import ANY, LATE_MASK
from tests.conftest import Running, serving
from tests.transports.infer import binary, tensor
from tests.transports.wire import wire

SEEN = {  # each of the README's table, and the test that sees it taken
    "transports/fast_known.py": "test_headers_that_come_again_are_known",
    "codec/predict/usual.py": "test_a_short_body_takes_the_shortest_way",
    "codec/predict/speedups.c": "test_a_usual_body_of_any_size_takes_the_shortest_way_where_it_is_built",
    "codec/predict/fast.py": "test_a_long_body_takes_the_fast_way",
    "codec/infer/fast.py": "test_a_long_header_of_infer_takes_the_fast_way",
    "codec/infer/usual.py": "test_a_binary_row_of_infer_takes_the_shortest_way",
    "engine/single.py": "test_one_row_stays_bytes_until_its_batch_is_joined",
    "engine/bound.py": "test_one_row_alone_runs_in_bound_buffers_of_the_short_graph",
}
needs_simdjson = pytest.mark.skipif(importlib.util.find_spec("simdjson") is None, reason="no wheel for this Python")
WRITERS: dict[str, Callable[[Any], str]] = {
    "spaced": json.dumps,
    "compact": partial(json.dumps, separators=(",", ":")),
}
T: dict[str, dict[str, Any]] = {"plain": {}, "T": {"temperature": 1.5}}


def numbers(n: int, k: int) -> list[list[float]]:
    """Logits as clients write them: a float32's digits, a float64's, or four."""
    random = np.random.default_rng(k)
    z = random.normal(size=(n, k)) * 5
    kinds: list[Any] = [z.astype(np.float32), z, np.round(z, 4)]
    return [list(map(float, row)) for row in kinds[k % 3]]


def masks(n: int, k: int) -> list[list[bool]]:
    return [list(map(bool, row)) for row in np.random.default_rng(n).random((n, k)) < 0.7]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("options", T)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("k", [2, 3, 10, 20])
def test_a_short_body_takes_the_shortest_way(k: int, masked: bool, options: str, write: str) -> None:
    [row], [mask] = numbers(1, k), masks(1, k)
    for lead in (False, True):
        body: dict[str, Any] = {"logits": [row] if lead else row, **T[options]}
        if masked:
            body["mask"] = [mask] if lead else mask
        text = WRITERS[write](body).encode()
        assert len(text) <= MAX_BODY
        assert decode_usual(text, ANY) is not None


@pytest.mark.skipif(importlib.util.find_spec("service.codec.predict.speedups") is None, reason="not built")
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("options", [*T, "list of T"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 2), (1, 10), (1, 1000), (1, 50_000), (2, 3), (64, 10), (64, 1000)])
def test_a_usual_body_of_any_size_takes_the_shortest_way_where_it_is_built(
    n: int, k: int, masked: bool, options: str, write: str
) -> None:
    body: dict[str, Any] = {"logits": numbers(n, k)}
    body |= {"temperature": [1.0 + i for i in range(n)]} if options == "list of T" else T[options]
    if masked:
        body["mask"] = [[True, *row[1:]] for row in masks(n, k)]
    assert decode_usual(WRITERS[write](body).encode(), ANY) is not None


@needs_simdjson
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("options", [*T, "list of T"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1000), (1, 50_000), (2, 3), (64, 10), (64, 1000)])
def test_a_long_body_takes_the_fast_way(n: int, k: int, masked: bool, options: str, write: str) -> None:
    body: dict[str, Any] = {"logits": numbers(n, k), "outputs": ["probabilities", "entropy"], "top_k": 5, "id": "a"}
    body |= {"temperature": [1.0 + i for i in range(n)]} if options == "list of T" else T[options]
    if masked:
        body["mask"] = masks(n, k)
    assert decode_fast(WRITERS[write](body).encode(), ANY) is not None


@needs_simdjson
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_long_header_of_infer_takes_the_fast_way(nested: bool, datatype: str, write: str) -> None:
    z, mask = numbers(4, 100), masks(4, 100)
    flat: tuple[list[Any], list[Any]] = ([x for row in z for x in row], [x for row in mask for x in row])
    data: tuple[list[Any], list[Any]] = (z, mask) if nested else flat
    inputs = [
        tensor("logits", datatype, [4, 100], data=data[0]),
        tensor("mask", "BOOL", [4, 100], data=data[1]),
        tensor("temperature", datatype, [4, 1], data=[1.5] * 4),
    ]
    text = WRITERS[write]({"id": "a", "inputs": inputs}).encode()
    assert len(text) > REMEMBERED_BYTES
    assert read_header_fast(text) is not None


@pytest.mark.parametrize("lead", [[], [1]])
def test_a_binary_row_of_infer_takes_the_shortest_way(lead: list[int]) -> None:
    inputs = [binary("logits", "FP32", [*lead, 3], 12), binary("mask", "BOOL", [*lead, 3], 3)]
    header = read_header(json.dumps({"inputs": inputs}).encode())
    assert header.layout is not None
    assert read_usual(header.layout, 1.5, np.array([2, 1, 0], np.float32).tobytes() + b"\1\0\1", 0, ANY) is not None


def test_a_short_header_of_infer_is_remembered(running: Running) -> None:
    body = {"inputs": [tensor("logits", "FP32", [1, 3], data=[3.25, 1.5, 0.75])]}
    before = remembered_header.cache_info()
    for _ in range(5):
        assert running.client.post("/v2/models/softmax/infer", json=body).status_code == 200
    after = remembered_header.cache_info()
    assert after.hits - before.hits >= 4


def test_headers_that_come_again_are_known(running: Running) -> None:
    if running.server.config.http_protocol_class is not KnownProtocol:
        pytest.skip("this transport has no memory")
    body = b'{"logits":[2.5,1,0.1]}'
    section = b"POST /v1/predict HTTP/1.1\r\nhost: fast-ways\r\ncontent-length: %d\r\n\r\n" % len(body)
    entries = running.service.known.entries
    with wire(running) as line:
        line.send(section + body)
        assert line.answer()[0] == 200
        known = entries[section]
        assert isinstance(known, Known)
        # were they read again, they would still mean the default model
        known.target = Target(PREDICT, "nobody", None)
        line.send(section + body)
        assert line.answer()[0] == 404
    del entries[section]


@pytest.mark.parametrize("k", [3, 20, pytest.param(1000, marks=needs_simdjson)])
def test_one_row_stays_bytes_until_its_batch_is_joined(k: int) -> None:
    many = []
    for more in ({}, {"mask": masks(1, k)[0]}, {"temperature": 2.0}):
        query = decode_predict(json.dumps({"logits": numbers(1, k)[0], **more}).encode(), None, ANY)
        assert isinstance(query.rows, Row)
        many.append(query.rows)
    inputs = [tensor("logits", "FP32", [1, k], data=numbers(1, k)), tensor("mask", "BOOL", [1, k], data=masks(1, k))]
    infer = decode_infer(json.dumps({"inputs": inputs}).encode(), None, ANY)
    assert isinstance(infer.rows, Row)
    assert all_single([*many, infer.rows])
    assert isinstance(decode_predict(b'{"logits":[2,1]}', None, LATE_MASK).rows, Rows)


def test_one_row_alone_runs_in_bound_buffers_of_the_short_graph() -> None:
    with serving(fast_http=True) as running:  # the only connection of a transport that counts them
        for name, versions in running.service.repository.models.items():
            head = versions[max(versions)].head
            k = head.signature.classes or 7
            for more in ({}, {"mask": [True] * k}, {"temperature": 2.0}):
                head.bound.clear()
                body = {"logits": [3.0 + i for i in range(k)], **more}
                assert running.predict(body, model=name).status_code == 200
                assert list(head.bound) == [k]
                assert head.short is not head.session
                assert head.bound[k].session is head.short._sess  # past the wrapper


def test_a_batch_that_wants_probabilities_alone_runs_the_short_graph(running: Running) -> None:
    for versions in running.service.repository.models.values():
        for model in versions.values():
            k = model.head.signature.classes or 6
            rows = [Rows.from_logits(np.array(numbers(n, k))) for n in (1, 3)]
            feed = build_feed(rows, model.head.temperature)
            assert model.head.short_for(feed, JUST_BITS) is model.head.short is not model.head.session
            assert (model.head.run(feed, JUST_BITS)["probabilities"] >= 0).all()


def test_every_fast_way_of_the_readme_is_seen_here() -> None:
    table = (
        (Path(service.__file__).parent / "README.md").read_text().partition("| fast | plain |")[2].partition("\n\n")[0]
    )
    named = {path for line in table.splitlines()[2:] for path in re.findall(r"`([^`]+)`", line.split("|")[1])}
    assert named == set(SEEN)
    assert set(SEEN.values()) <= globals().keys()
