"""The fast way in takes a body only where the careful way would read the very same."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.codec.errors import encode_error
from service.codec.predict.careful import decode_careful
from service.codec.predict.usual import usual_query
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW
from service.errors import AnsweredError
from tests.codec.predict.bodies import same
from tests.codec.predict.test_usual import FORMS
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, THREE

pytest.importorskip("simdjson", reason="it has no wheel for this Python")

from service.codec import simd
from service.codec.predict import fast


class Token(str):
    """A number as it stands in the body."""

    __slots__ = ()


class Pairs(tuple[Any, ...]):
    """An object with keys that may repeat."""

    __slots__ = ()


TOKENS = [
    *("0", "-0", "-0.0", "1", "0.1", "1E2", "1e-400", "5e-324", "3.4028235e38", "3.4028236e38", "1e39", "1e308"),
    *("1e400", "-1e400", "9007199254740993", "18446744073709551615", "18446744073709551616", "-9223372036854775809"),
    *("1" * 400, "-" + "1" * 400, "0.1234567890123456789", "2.2250738585072011e-308", "NaN", "Infinity", "-Infinity"),
]
NASTY = [
    "mask",
    '"mask"',
    '"mask',
    'mask":[[true]]',
    "[",
    "]",
    "[[",
    ":[t]",
    "logits",
    "\\",
    '\\"',
    "é",
    "\x00",
    "true",
    "",
]
KEYS = ["logits", "mask", "temperature", "outputs", "top_k", "timeout_ms", "id", "allowed", "axis", "inputs", "other"]
OUTPUTS = ["probabilities", "log_probabilities", "prediction", "confidence", "margin", "entropy", "logsumexp"]

numbers = st.one_of(
    st.floats(-50, 50),
    st.integers(-100, 100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(TOKENS).map(Token),
)
strings = st.one_of(st.sampled_from(NASTY), st.text(max_size=5))
odd = st.one_of(st.none(), st.booleans(), strings, numbers, st.just([]), st.just({}))


def written(value: Any, draw: Any) -> str:
    """JSON with white space and escapes here and there."""
    gap: str = draw(st.sampled_from(["", "", "", " ", "\n", "\t\r "]))
    if isinstance(value, Token):
        said = str(value)
    elif isinstance(value, Pairs):
        said = "{" + ",".join(f"{written(k, draw)}{gap}:{written(v, draw)}" for k, v in value) + "}"
    elif isinstance(value, list):
        said = "[" + ",".join(written(v, draw) for v in value) + "]"
    elif isinstance(value, str) and value and draw(st.integers(0, 9)) == 0:
        i = draw(st.integers(0, len(value) - 1))
        if ord(value[i]) > 0xFFFF:
            return json.dumps(value)
        said = json.dumps(value[:i])[:-1] + f"\\u{ord(value[i]):04x}" + json.dumps(value[i + 1 :])[1:]
    else:
        said = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return gap + said + gap


@st.composite
def requests(draw: Any) -> bytes:
    """A request that is right, with up to two things that may be wrong with it."""
    n, k = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    single = draw(st.booleans())

    def filled(leaf: Any) -> Any:
        row = st.lists(leaf, min_size=k, max_size=k)
        return draw(row if single else st.lists(row, min_size=n, max_size=n))

    rows = 1 if single else n
    parts: dict[str, Any] = {"logits": filled(draw(st.sampled_from([st.integers(-9, 9), st.floats(-9, 9), numbers])))}
    if draw(st.booleans()):
        parts["mask"] = filled(st.booleans())
    if draw(st.booleans()):
        one = st.one_of(st.floats(0.1, 9), numbers)
        parts["temperature"] = draw(st.one_of(one, st.lists(one, min_size=rows, max_size=rows)))
    if draw(st.booleans()):
        parts["outputs"] = draw(st.lists(st.sampled_from(OUTPUTS), min_size=1, max_size=3))
    for key, value in (("top_k", st.integers(0, 5)), ("timeout_ms", numbers), ("id", strings), ("axis", st.just(-1))):
        if draw(st.integers(0, 3)) == 0:
            parts[key] = draw(value)
    for _ in range(draw(st.integers(0, 2))):
        spoil(parts, draw)
    pairs = draw(st.permutations(list(parts.items())))
    if draw(st.integers(0, 9)) == 0:
        pairs = [*pairs, draw(st.sampled_from(pairs))]
    return written(Pairs(pairs), draw).encode("utf-8", "surrogatepass")


def spoil(parts: dict[str, Any], draw: Any) -> None:
    """Put something odd anywhere."""
    key = draw(st.sampled_from(KEYS))
    place: Any = parts
    at: Any = key
    while isinstance(place[at] if at in place or isinstance(place, list) else None, list) and place[at]:
        if draw(st.integers(0, 2)) == 0:
            break
        place, at = place[at], draw(st.integers(0, len(place[at]) - 1))
    old = place[at] if isinstance(place, list) or at in place else None
    place[at] = draw(
        st.one_of(odd, st.just([old]), st.just([[old]]), st.just([old, old]), st.just(Pairs([("a", old)])))
    )


def agree(body: bytes, model: Signature) -> bool:
    """Assert that both ways agree on a body; whether the fast one took it."""
    for read in FORMS.values():
        if (found := read(body)) and (shortest := usual_query(found, model)):
            same(shortest, decode_careful(body, model))
    try:
        quick = fast.decode_fast(body, model)
    except AnsweredError as error:
        refused = error
    else:
        if quick is not None:
            same(quick, decode_careful(body, model))
        return quick is not None
    with pytest.raises(type(refused)) as careful:
        decode_careful(body, model)
    assert encode_error(careful.value) == encode_error(refused)
    return True


@settings(max_examples=500)
@given(requests(), st.sampled_from([ANY, LATE_MASK, THREE]))
@example(b'{"logits":[[]]}', ANY)
@example(b'{"logits":[[1,2],{"a":3,"b":4}],"id":"["}', ANY)
@example(b'{"logits":[1,2],"mask":[true,false],"id":"\\"mask"}', ANY)
@example(b'{"logits":[1,2],"m\\u0061sk":[true,false],"id":"\\\\\\"mask"}', ANY)
@example(b'{"logits":[[1],[2]],"mask":[[true],[[true]]]}', ANY)
@example(b'{"logits":[18446744073709551616]}', ANY)
@example(b'{"logits":[1,2],"logits" :[3,4]}', ANY)
@example(b'{"logits":[[1,2,3.5]],"mask":[[true,false,false]],"temperature":[2]}', ANY)
@example(b'{"logits":[0.5,0.4995]}', ANY)
@example(b'{"logits":[1.0004,0]}', ANY)
@example(b'{"logits":[true,2]}', ANY)
@example(b'{"logits":[1,2],"mask":[false,false]}', ANY)
@example(b'{"logits":[1,2],"temperature":true}', ANY)
@example(b'\xef\xbb\xbf{"logits":[1,2]}', ANY)
def test_the_fast_way_reads_what_the_careful_way_reads_or_nothing(body: bytes, model: Signature) -> None:
    agree(body, model)


@settings(max_examples=300)
@given(requests(), st.data())
def test_no_damage_to_a_body_makes_the_two_ways_differ(body: bytes, data: st.DataObject) -> None:
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        j = data.draw(st.integers(i, min(len(damaged), i + 4)))
        damaged[i:j] = data.draw(
            st.sampled_from([b"", b"[", b"]", b'"', b",", b"1", b"true", b"null", b"\xff", b"mask", b"}", b"e9"])
        )
    agree(bytes(damaged), ANY)


@pytest.mark.parametrize(
    "body",
    [
        {"logits": [1.0, 2.5, -3]},
        {"logits": [[1, 2], [3, 4]], "mask": [[True, False], [True, True]]},
        {"logits": [0.5, 1.5], "mask": [True, False], "temperature": 2, "id": "a"},
        {"logits": [[1, 2], [3, 4]], "temperature": [1, 2.5], "outputs": ["entropy"], "top_k": 1, "timeout_ms": 5},
    ],
)
def test_the_usual_body_goes_the_fast_way(body: Any) -> None:
    assert agree(json.dumps(body).encode(), ANY)


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("k", [1, 1000, WIDE_ROW, WIDE_ROW + 1])
def test_a_row_goes_the_fast_way_however_wide(k: int, flat: bool) -> None:
    logits = [2.0 - i for i in range(k)]
    for mask in ([True] * k, [False] * k, [i % 3 == 0 for i in range(k)]):
        both = (logits, mask) if flat else ([logits], [mask])
        assert agree(json.dumps(dict(zip(("logits", "mask"), both, strict=True))).encode(), ANY)
        for wrong in (1, None, [True], [], "t"):
            held = [*mask[:-1], wrong]
            body = {"logits": both[0], "mask": held if flat else [held]}
            assert not agree(json.dumps(body).encode(), ANY)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"logits":[1,null]}',
        b'{"logits":[true]}',
        b'{"logits":["1"]}',
        b'{"logits":[1e400]}',
        b'{"logits":[NaN]}',
        b'{"logits":[[[1]]]}',
        b'{"logits":[[1],[1,2]]}',
        b'{"logits":[1],"logits":[2]}',
        b'{"logits":[1],"temperature":0}',
        b'{"logits":[1],"temperature":true}',
        b'{"logits":[1],"top_k":1.0}',
        b'{"logits":[1],"id":7}',
        b'{"logits":[1],"outputs":[]}',
        b'{"logits":[1,2],"mask":[1,0]}',
        b'{"logits":[[1,2],[3,4]],"mask":[true,false]}',
        b'{"logits":[1,2],"axis":-1}',
        b'{"logits":[1,2],"allowed":[0]}',
    ],
)
def test_the_unusual_body_is_left_to_the_careful_way(body: bytes) -> None:
    assert fast.decode_fast(body, ANY) is None


def test_a_classifier_of_ones_own_is_left_to_the_careful_way() -> None:
    assert fast.decode_fast(b'{"logits":[1,2]}', CLASSIFIER) is None


def test_a_wrong_number_of_classes_is_left_to_the_careful_way() -> None:
    assert fast.decode_fast(b'{"logits":[1,2]}', THREE) is None


def test_a_query_keeps_its_numbers_when_the_parser_reads_the_next_body() -> None:
    first = fast.decode_fast(b'{"logits":[1,2]}', ANY)
    fast.decode_fast(b'{"logits":[3,4]}', ANY)
    assert first is not None
    assert first.rows.inputs["logits"].tolist() == [[1, 2]]


def test_only_usual_keys_are_remembered() -> None:
    fast.PLAIN_KEYS.clear()
    for body in (b'{"logits":[1],"id":"a"}', b'{"id":"a","logits":[1]}', b'{"a":1}', b'{"id":"a","id":"b"}'):
        fast.decode_fast(body, ANY)
    assert {("logits", "id"), ("id", "logits")} == fast.PLAIN_KEYS


def test_a_document_that_is_still_held_does_not_stop_the_next_one() -> None:
    held = simd.PARSERS.parse(b'{"logits":[1,2]}')["logits"]
    assert agree(b'{"logits":[3,4]}', ANY)
    assert held[0] == 1


def test_a_large_body_leaves_no_memory_in_the_parser() -> None:
    usual = simd.PARSERS.usual
    body = json.dumps({"logits": [0.25] * 400_000}).encode()
    assert len(body) > simd.OWN_PARSER_FROM
    assert agree(body, ANY)
    assert simd.PARSERS.usual is usual


@pytest.mark.parametrize("n_spaces", [0, 5000])
def test_brackets_in_an_id_cost_only_the_detour(n_spaces: int) -> None:
    assert not agree(b'{"logits":[1,2],"id":"[["' + b" " * n_spaces + b"}", ANY)
    assert agree(b'{"logits":[1,2],"id":"]]"' + b" " * n_spaces + b"}", ANY)
