"""Messages before protobuf reads them: nothing is lost, and what reading one takes is known before it is taken."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidValue, Malformed
from service.rpc.infer import decode_message, open_message
from service.rpc.messages import INFERENCE, ModelInferRequest
from service.rpc.wire import BYTE_COST, ELEMENT_COST, MAX_FIELDS, MAX_INNER, MAX_INNER_BYTES, Message
from service.transports.budget import ARRIVAL_COST, METERED_FROM, NUMBER_COST
from tests.api.bodies import held, until
from tests.codec.served import ANY
from tests.processes import serve
from tests.rpc.calls import Caller, calling, request
from tests.rpc.test_life import address, failing

Code = grpc.StatusCode
MB = 2**20
ONE = request(("logits", "FP32", [[1, 2]]))
LARGE = request(("logits", "FP32", np.zeros((1, 300_000))), id="large")  # 1.2 MB
NAME = b"\x0a\x07softmax"
INPUT = b"\x0a\x06logits\x12\x04FP32\x1a\x02\x01\x02"


def varint(n: int) -> bytes:
    """A number as protobuf writes it."""
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def field(number: int, value: bytes) -> bytes:
    """A field with its length."""
    return varint(number << 3 | 2) + varint(len(value)) + value


def typed(contents: bytes) -> bytes:
    """A message of one input with these contents."""
    return NAME + field(5, INPUT + field(5, contents))


# --- nothing is lost

TENSORS = st.fixed_dictionaries(
    {"name": st.text(max_size=200), "datatype": st.text(max_size=5), "shape": st.lists(st.integers(0, 2**62))}
)


@given(
    st.fixed_dictionaries({"model_name": st.text(), "model_version": st.text(), "id": st.text(max_size=200)}),
    st.lists(TENSORS, max_size=3),
    st.lists(st.binary(max_size=200), max_size=3),
)
def test_what_is_found_is_what_protobuf_finds(names: dict[str, str], inputs: Any, raw: list[bytes]) -> None:
    given_ = ModelInferRequest(**names, inputs=inputs, raw_input_contents=raw)
    found = Message(given_.SerializeToString())
    assert {name: getattr(found, name) for name in names} == names
    assert (found.data(), found.sizes()) == (b"".join(raw), tuple(map(len, raw)))
    given_.ClearField("raw_input_contents")
    assert ModelInferRequest.FromString(found.header()) == given_


def test_fields_may_come_in_any_order_and_twice_and_unknown_ones_are_passed_over() -> None:
    unknown = b"\x78\x80\x01" + b"\x79" + bytes(8) + b"\x7d" + bytes(4)  # a number of two bytes, one of 8 and one of 4
    found = Message(
        field(7, b"ab") + field(1, b"first") + unknown + field(7, b"c") + b"\xba\x00\x01d" + field(1, b"last")
    )
    assert (found.model_name, found.data(), found.sizes()) == ("last", b"abcd", (2, 1, 1))
    assert ModelInferRequest.FromString(found.header()).model_name == "last"


@pytest.mark.parametrize(
    "body",
    [b"\x0a", b"\x0a\x05x", b"\x3a\x80", b"\x0b\x00", b"\x78\x80", b"\x79\x00", b"\x80" * 11, b"\x0a\x01\xff"],
    ids=["no length", "short", "half a length", "a group", "half a number", "short of 8", "no tag", "not UTF-8"],
)
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match=r"not a message inference\.ModelInferRequest"):
        Message(body)


def test_an_inner_field_that_breaks_off_is_refused() -> None:
    with pytest.raises(Malformed, match="not a message"):
        Message(NAME + field(5, b"\x0a\x05x")).reading_cost()


@pytest.mark.parametrize("is_typed", [False, True], ids=["raw", "typed"])
def test_a_message_that_is_counted_means_what_a_small_one_means(is_typed: bool) -> None:
    rows = np.arange(2400, dtype=np.float32).reshape(2, 1200)
    mask = rows % 7 > 0
    message = request(("logits", "FP32", rows), ("mask", "BOOL", mask), typed=is_typed).SerializeToString()
    assert isinstance(open_message(message), Message)
    query = decode_message(open_message(message), None, ANY)
    expected = decode_message(ModelInferRequest.FromString(message), None, ANY)
    assert query.rows.inputs["logits"].tobytes() == expected.rows.inputs["logits"].tobytes()


# --- what it takes


@pytest.mark.parametrize(
    ("contents", "cost"),
    [
        (field(6, bytes(400)), 100 * NUMBER_COST),
        (field(7, bytes(400)), 50 * NUMBER_COST),
        (field(3, b"\x80\x01\x05" * 100), 200 * NUMBER_COST),
        (field(1, b"\x01" * 50), 50 * NUMBER_COST),
        (b"\x42\x00" * 100, 100 * ELEMENT_COST + 200 * BYTE_COST),
        (b"\xc2\x00\x00" * 100, 100 * ELEMENT_COST + 300 * BYTE_COST),
        (b"\x18\x01" * 100, 200 * BYTE_COST),
        (b"\x1a\x00" * 7 + field(3, bytes(200)), 203 * NUMBER_COST),
    ],
    ids=["FP32", "FP64", "numbers", "booleans", "elements", "long tags", "not packed", "many fields"],
)
def test_the_elements_of_contents_are_counted(contents: bytes, cost: int) -> None:
    beside = Message(typed(b"")).reading_cost()
    assert beside < BYTE_COST * 64
    assert Message(typed(contents)).reading_cost() == beside + cost


def test_raw_contents_take_no_more_than_their_arrival() -> None:
    assert Message(LARGE.SerializeToString()).reading_cost() < BYTE_COST * 100


@pytest.mark.parametrize("tag", [b"\x22", b"\x2a", b"\x32", b"\x3a"], ids=["parameters", "inputs", "outputs", "raw"])
def test_more_fields_than_any_request_has_are_refused(tag: bytes) -> None:
    Message((tag + b"\x00") * MAX_FIELDS)
    with pytest.raises(InvalidValue, match=r"the message has more than 1024 inputs, outputs, .*; expected fewer"):
        Message((tag + b"\x00") * (MAX_FIELDS + 1))


def test_a_small_message_of_empty_inputs_is_refused_by_the_same_rule() -> None:
    body = NAME + b"\x2a\x00" * (MAX_FIELDS + 1)
    assert len(body) < METERED_FROM
    with pytest.raises(InvalidValue, match="more than 1024 inputs"):
        decode_message(open_message(body), None, ANY)


@pytest.mark.parametrize("number", [5, 6], ids=["input", "output"])
@pytest.mark.parametrize(
    "inner", [b"\x22\x00" * (MAX_INNER + 1), field(3, b"\x01" * MAX_INNER_BYTES)], ids=["fields", "bytes"]
)
def test_more_within_the_tensors_than_any_request_has_is_refused(number: int, inner: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"more than 8192 fields, or 1048576 bytes beside their contents; expected"):
        Message(NAME + field(number, inner)).reading_cost()


def test_a_question_of_a_megabyte_is_refused_unread() -> None:
    with calling() as caller:
        call = caller.channel.unary_unary(f"/{INFERENCE}/ModelMetadata")
        error = failing(lambda: call(NAME + b"\x7a\x00" * MB, timeout=30))
        assert (error.code(), error.details()) == (
            Code.RESOURCE_EXHAUSTED,
            "the message has 2097161 bytes; expected at most 65536 of inference.ModelMetadataRequest",
        )


# --- the budget

WORST = {
    "inputs": (NAME + b"\x2a\x00" * MB, Code.INVALID_ARGUMENT),
    "outputs": (NAME + b"\x32\x00" * MB, Code.INVALID_ARGUMENT),
    "empty elements": (typed(b"\x42\x00" * (2 * MB)), Code.RESOURCE_EXHAUSTED),
    "numbers": (typed(field(3, b"\x01" * (4 * MB))), Code.RESOURCE_EXHAUSTED),
}


def test_the_worst_messages_take_little_before_they_are_refused() -> None:
    with serve("--grpc", 0, "--max-request-memory-mb", 64) as process:
        caller = Caller(None, address(process))
        call = caller.channel.unary_unary(f"/{INFERENCE}/ModelInfer")
        with caller.channel:
            caller.infer(ONE)
            before = process.resident_bytes
            for body, code in WORST.values():
                error = failing(lambda body=body: call(body, timeout=30))
                assert error.code() == code
                if code == Code.RESOURCE_EXHAUSTED:
                    assert "of memory, of 48 MB that one may take; expected a smaller one" in error.details()
            assert process.resident_peak_bytes - before < 48 * MB  # one took 280 to 560
            assert caller.infer(ONE)


@pytest.fixture
def caller() -> Iterator[Caller]:
    """A service with room for three large messages that arrive, and their numbers."""
    with calling(max_request_memory_mb=256) as found:
        yield found


def test_a_message_counts_from_its_arrival_to_its_answer(caller: Caller) -> None:
    assert caller.running
    budget = caller.running.service.budget
    with held(caller.running) as hold:
        first = caller.method("ModelInfer").future(ONE, timeout=30)
        hold.wait()
        second = caller.method("ModelInfer").future(LARGE, timeout=30)
        until(lambda: budget.taken > 300_000 * NUMBER_COST)
        assert budget.arriving == ARRIVAL_COST * LARGE.ByteSize()
        budget.take(budget.total // 4 * 3 - budget.taken)  # as others would
        error = failing(lambda: caller.infer(LARGE))
        assert error.code() == Code.RESOURCE_EXHAUSTED
        assert error.details().startswith("the memory for requests is taken, 192 MB of 256 MB; try again in a moment")
        assert dict(error.trailing_metadata())["error-code"] == "memory_full"
        answer = next(caller.stream()(iter([LARGE]), timeout=30))
        assert answer.error_message.startswith("the memory for requests is taken")
        assert answer.infer_response.id == "large"
    assert first.result()
    assert second.result()


def test_nothing_is_held_after_the_answers(caller: Caller) -> None:
    assert caller.running
    budget = caller.running.service.budget
    wrong = request(("logits", "INT8", np.zeros((1, 300_000))))
    assert caller.infer(LARGE)
    assert failing(lambda: caller.infer(wrong)).code() == Code.INVALID_ARGUMENT
    assert [bool(answer.error_message) for answer in caller.stream()(iter([LARGE, wrong, LARGE]), timeout=30)] == [
        False,
        True,
        False,
    ]
    until(lambda: (budget.taken, budget.arriving) == (0, 0))


def test_nothing_is_held_for_who_has_gone(caller: Caller) -> None:
    assert caller.running
    budget = caller.running.service.budget
    with held(caller.running) as hold:
        first = caller.method("ModelInfer").future(ONE, timeout=30)
        hold.wait()
        gone = caller.method("ModelInfer").future(LARGE, timeout=30)
        stream = caller.stream()(iter([LARGE] * 2), timeout=30)
        until(lambda: budget.arriving == 3 * ARRIVAL_COST * LARGE.ByteSize())
        gone.cancel()
        stream.cancel()
        until(lambda: budget.arriving == 0)
    assert first.result()
    until(lambda: budget.taken == 0)
