"""How deep JSON may be nested: counted right, whatever stands between the brackets, and before anything is parsed."""

import gc
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.depth import BOUND, check_depth, lists_bound
from service.codec.infer.header import parse_header
from service.codec.objects import parse_object
from service.errors import BodyTooLarge, NotJSON
from tests.conftest import Running


@pytest.fixture(scope="module", autouse=True)
def _eight_levels() -> Iterator[None]:
    """A bound that examples reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BOUND, "most", 8)
        yield


def depth(value: Any) -> int:
    """Levels of a parsed value."""
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if within is None else 1 + max(map(depth, within), default=0)


def nested(n: int) -> bytes:
    """Arrays, n levels."""
    return b"[" * n + b"]" * n


VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\a'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=60,
)


@given(VALUES, st.integers(0, 9))
def test_what_passes_is_what_is_no_deeper(value: Any, around: int) -> None:
    for _ in range(around):
        value = [value]
    body = json.dumps(value).encode()
    if depth(value) > BOUND.most:
        with pytest.raises(NotJSON, match=r"expected at most 8 levels \(--max-json-depth\)"):
            check_depth(body)
    else:
        check_depth(body)


@pytest.mark.parametrize("body", [b"", b"]]]]]]]]]]", b"[]" * 100, b'"[[[[[[[[[[[[', b"[1" * 9 + b"]" * 8, b"][" * 20])
def test_what_is_no_json_is_left_to_the_parser_or_too_deep(body: bytes) -> None:
    try:
        check_depth(body)
    except NotJSON:
        assert body.count(b"[") > 8


@pytest.mark.parametrize("body", [b"[" * 2**22, b"[[]" * 2**21, nested(2**21), b"[{}" * 2**20 + b"]" * 2**20])
def test_millions_of_brackets_are_refused(body: bytes) -> None:
    with pytest.raises(NotJSON):
        check_depth(body)


@pytest.mark.parametrize(
    "part",
    [b'\\"', b"\\\\", b'"', b'"[', b"[" * 7 + b"]" * 7, b'{"":0},'],
    ids=["escaped quotes", "backslashes", "quotes", "brackets in strings", "levels", "objects"],
)
def test_the_time_goes_by_the_bytes(part: bytes) -> None:
    """A regular expression for strings once began anew at each escaped quote: 7 s for these, now a millisecond."""
    began = time.process_time()
    for end in (b"", b"\\"):
        try:
            check_depth(b"[]" * 9 + b'"' * (part[:1] == b"\\") + part * 32_000 + end)
        except NotJSON:
            assert part == b'"['
    assert time.process_time() - began < 1


def test_strings_may_lie_across_the_pieces_that_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = rb'[{},"[[[[\"[[[[\\",[{"[[[[[[[[[":[]}],[[[[[["]]"]]]]]],"]"]'
    for n in range(1, len(body)):
        monkeypatch.setattr("service.codec.depth.PIECE", n)
        check_depth(body)
        with pytest.raises(NotJSON):
            check_depth(b"[[" + body + b"]]")


@pytest.mark.parametrize("read", [parse_object, parse_header])
def test_a_body_of_too_many_lists_and_objects_is_not_parsed(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes], object]
) -> None:
    monkeypatch.setattr(BOUND, "lists", 20)
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("it was parsed"))
    monkeypatch.setattr("orjson.loads", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(BodyTooLarge, match=r"has 21 lists and objects; expected at most 20 \(--max-queue-rows\)"):
        read(b'{"logits":[%s]}' % b",".join([b"[]"] * 19))


def test_as_many_lists_as_rows_can_have_are_read(run: Callable[..., Running]) -> None:
    running = run()
    assert BOUND.lists == lists_bound(8192) == 2**20
    rows = ",".join(["[1,2]"] * 8192)
    body = f'{{"logits":[{rows}],"mask":[{rows.replace("1,2", "true,true")}],"prior":null}}'
    assert running.client.post("/v1/predict", content=body.encode()).status_code == 200
    assert lists_bound(10**6) == 128 * 10**6


def test_no_garbage_is_collected_while_a_large_body_is_parsed() -> None:
    """The collector would look at each list again and again: nine tenths of the time."""
    body = b'{"logits":[%s]}' % b",".join([b"[[[[1]]]]"] * 50_000)
    found: list[bool] = []

    def note(phase: str, _: dict[str, int]) -> None:
        found.append(phase == "start")

    gc.callbacks.append(note)
    try:
        parse_object(body)
        n_parsing = sum(found)
    finally:
        gc.callbacks.remove(note)
    assert n_parsing <= 3  # about 280, where it may collect
    assert gc.isenabled()
    gc.disable()
    try:
        parse_object(body)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("path", "method"),
    [("/v1/predict", "predict"), ("/v2/models/softmax/infer", "infer"), ("/v2/repository/index", "")],
)
def test_every_path_refuses_it_with_the_sentence(run: Callable[..., Running], path: str, method: str) -> None:
    running = run(max_json_depth=8)
    for n in (9, 5000):
        answer = running.client.post(path, content=b'{"x":%s}' % nested(n))
        assert answer.status_code == 400
        said = answer.json()["error"]
        assert re.search(r"nested too deeply; expected at most 8 levels \(--max-json-depth\)", said), (n, said)
    assert running.client.post(path, content=b'{"x":%s}' % nested(7)).status_code in (200, 422)
