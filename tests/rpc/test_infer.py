"""ModelInfer: whatever comes gets the answer of the same request over HTTP, bit for bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.codec.infer.tensors import DTYPES, to_bytes
from service.families import SOFTMAX
from service.families.outputs import outputs_of
from service.heads.attach import attach
from service.heads.publish import write
from service.heads.stages import Stages
from service.metadata import Metadata
from service.rpc.infer import decode_message, open_message
from service.rpc.messages import ModelInferRequest
from tests.codec.served import TEXTS
from tests.heads.classifiers import linear, made
from tests.rpc.calls import Caller, Given, arrays, bfloats, calling, request
from tests.transports.infer import binary, outputs, post, wanted

OUTPUTS = outputs_of(SOFTMAX, False)

RANDOM = np.random.default_rng(4)
ROWS = (3 * RANDOM.standard_normal((3, 5))).astype(np.float32)
MASK = np.array([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
COLUMN = np.array([0.5, 1.5, 1.0])
LOGITS: Given = ("logits", "FP32", ROWS)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    """The shipped models."""
    with calling(max_body_bytes=2**26) as found:
        yield found


def over_http(caller: Caller, *inputs: Given, model: str = "softmax", **more: Any) -> dict[str, Any]:
    """The same tensors, as binary data over HTTP, and all outputs as binary data back."""
    heads, data = [], []
    for name, datatype, values in inputs:
        given = bfloats(values) if datatype == "BF16" else np.asarray(values).astype(DTYPES[datatype]).tobytes()
        heads.append(binary(name, datatype, list(np.shape(values)), len(given)))
        data.append(given)
    header = {"outputs": wanted(*OUTPUTS, binary_data=True), **more, "inputs": heads}
    assert caller.running
    return outputs(post(caller.running, header, *data, path=f"/v2/models/{model}/infer"))


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """To the last bit, dtype and shape included."""
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape), name
        if values.dtype == object:
            assert found[name].tolist() == values.tolist()
        else:
            assert found[name].tobytes() == values.tobytes(), name


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
@pytest.mark.parametrize(
    "more",
    [
        (),
        (("mask", "BOOL", MASK),),
        (("temperature", "FP64", COLUMN),),
        (("mask", "BOOL", MASK), ("temperature", "FP32", COLUMN.reshape(3, 1))),
        (("temperature", "FP64", COLUMN[:1]),),
    ],
    ids=["logits", "mask", "temperatures", "mask and temperatures", "one temperature"],
)
def test_the_answer_is_that_over_http_to_the_last_bit(caller: Caller, more: tuple[Given, ...], typed: bool) -> None:
    found = caller.infer(request(LOGITS, *more, typed=typed)).message
    assert (found.model_name, found.model_version, found.id) == ("softmax", "1", "")
    assert_same(arrays(found), over_http(caller, LOGITS, *more))


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP64"])
def test_other_floats_come_raw(caller: Caller, datatype: str) -> None:
    logits: Given = ("logits", datatype, ROWS)
    assert_same(arrays(caller.infer(request(logits)).message), over_http(caller, logits))


def test_fp64_comes_typed_too(caller: Caller) -> None:
    logits: Given = ("logits", "FP64", ROWS.astype(np.float64) / 3)
    assert_same(arrays(caller.infer(request(logits, typed=True)).message), over_http(caller, logits))


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_a_class_without_a_score_is_minus_infinity(caller: Caller, typed: bool) -> None:
    logits: Given = ("logits", "FP32", np.array([[0, -np.inf, 1]], np.float32))
    found = arrays(caller.infer(request(logits, typed=typed)).message)
    assert found["probabilities"][0, 1] == 0
    assert_same(found, over_http(caller, logits))


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.lists(FLOATS, min_size=3, max_size=3), max_size=4),
    st.none() | st.floats(0.01, 100),
    st.lists(st.sampled_from(OUTPUTS), max_size=3, unique=True),
    st.booleans(),
)
def test_random_requests_get_the_same_bits(
    caller: Caller, rows: list[list[float]], temperature: float | None, names: list[str], typed: bool
) -> None:
    logits: Given = ("logits", "FP32", np.array(rows, np.float32).reshape(-1, 3))
    parameters = {} if temperature is None else {"temperature": temperature}
    fields = {key: {"double_param": value} for key, value in parameters.items()}
    found = caller.infer(request(logits, typed=typed, outputs=names, parameters=fields)).message
    asks = wanted(*(names or OUTPUTS), binary_data=True)
    assert_same(arrays(found), over_http(caller, logits, parameters=parameters, outputs=asks))


@pytest.mark.parametrize(
    "parameter", [{"double_param": 2.0}, {"int64_param": 2}, {"uint64_param": 2}, {"string_param": "2e0"}], ids=str
)
def test_a_temperature_may_be_a_parameter_of_any_kind(caller: Caller, parameter: dict[str, Any]) -> None:
    message = request(LOGITS, parameters={"temperature": parameter, "priority": {"int64_param": 1}})
    found = caller.infer(message).message
    assert found.parameters["temperature"].double_param == 2.0
    assert_same(arrays(found), over_http(caller, LOGITS, parameters={"temperature": 2}))


def test_what_the_calibration_has_to_say_stands_in_the_parameters(caller: Caller) -> None:
    logits: Given = ("logits", "FP32", [[0.25, 0.75], [1, 0]])
    found = caller.infer(request(logits, ("mask", "BOOL", [[True, True], [False, False]]))).message.parameters
    said = {key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in found.items()}
    assert said == {"method": "none", "temperature": 1.0, "no_class_allowed": "1", "looks_like_probabilities": True}


def test_the_id_comes_back(caller: Caller) -> None:
    assert caller.infer(request(LOGITS, id="forty-two")).message.id == "forty-two"


def test_outputs_come_in_the_order_asked_for(caller: Caller) -> None:
    found = caller.infer(request(LOGITS, outputs=("entropy", "probabilities"))).message
    assert [output.name for output in found.outputs] == ["entropy", "probabilities"]


def test_one_row_needs_no_batch_axis_and_no_rows_get_no_rows(caller: Caller) -> None:
    one: Given = ("logits", "FP32", ROWS[0])
    assert_same(arrays(caller.infer(request(one)).message), over_http(caller, one))
    for typed in (False, True):
        none = arrays(caller.infer(request(("logits", "FP32", np.zeros((0, 5))), typed=typed)).message)
        assert none["probabilities"].shape == (0, 5)


@pytest.mark.parametrize("rows", [ROWS, np.zeros((0, 5), np.float32)], ids=["some", "none"])
def test_classification_gives_value_and_index(caller: Caller, rows: Any) -> None:
    asked = {"name": "probabilities", "parameters": {"classification": {"int64_param": 2}}}
    found = arrays(caller.infer(request(("logits", "FP32", rows), outputs=[asked])).message)
    assert found["probabilities"].shape == (len(rows), 2)
    asks = wanted("probabilities", classification=2, binary_data=True)
    assert_same(found, over_http(caller, ("logits", "FP32", rows), outputs=asks))


def test_the_labels_of_a_model_are_in_its_classes(caller: Caller) -> None:
    asked = {"name": "probabilities", "parameters": {"classification": {"int64_param": 1}}}
    logits: Given = ("logits", "FP32", np.eye(10)[[3]])
    found = arrays(caller.infer(request(logits, outputs=[asked], model_name="digits")).message)
    assert found["probabilities"][0, 0].endswith(":3:three")


@pytest.mark.parametrize("coding", list(grpc.Compression), ids=lambda coding: coding.name)
def test_messages_may_be_packed(caller: Caller, coding: grpc.Compression) -> None:
    found = caller.infer(request(LOGITS), compression=coding).message
    assert_same(arrays(found), over_http(caller, LOGITS))


def test_a_really_large_message_is_answered(caller: Caller) -> None:
    large: Given = ("logits", "FP32", RANDOM.standard_normal((5000, 3000)).astype(np.float32))
    found = arrays(caller.infer(request(large, outputs=["probabilities"])).message)
    asks = wanted("probabilities", binary_data=True)
    assert_same(found, over_http(caller, large, outputs=asks))
    assert found["probabilities"].nbytes == 60_000_000


def whole_numbers() -> Any:
    """A classifier of small integers: x uint8 [batch, 6], flags bool [batch, 3] to logits [batch, 3]."""
    model = linear(x="wide")
    nodes = [("Cast", ["x"], ["wide"]), ("Cast", ["flags"], ["bonus"])]
    graph = made([], [("x", 2, ["batch", 6]), ("flags", 9, ["batch", 3])], [("logits", 1, ["batch", 3])])
    for op, taken, given_ in nodes:
        node = graph.graph.node.add(op_type=op, input=taken, output=given_)
        node.attribute.add(name="to", type=2, i=1)
    gemm = graph.graph.node.add()
    gemm.CopyFrom(model.graph.node[0])
    gemm.output[0] = "plain"
    graph.graph.node.add(op_type="Add", input=["plain", "bonus"], output=["logits"])
    graph.graph.initializer.extend(model.graph.initializer)
    return graph


@pytest.mark.parametrize("typed", [False, True], ids=["raw", "typed"])
def test_strings_come_in_both_forms(typed: bool) -> None:
    words = ["a", "Zürich"]
    text: dict[str, Any] = {"name": "text", "datatype": "BYTES", "shape": [2, 1]}
    age: dict[str, Any] = {"name": "age", "datatype": "FP32", "shape": [2, 1]}
    ages = np.array([1, 2], np.float32)
    if typed:
        text["contents"] = {"bytes_contents": [word.encode() for word in words]}
        age["contents"] = {"fp32_contents": ages.tolist()}
    raw = [] if typed else [to_bytes(words), ages.tobytes()]
    message = ModelInferRequest(model_name="stub", inputs=[text, age], raw_input_contents=raw)
    rows = decode_message(open_message(message.SerializeToString()), None, TEXTS).rows
    assert rows.inputs["text"].tolist() == [[word] for word in words]


def test_a_classifier_takes_its_own_inputs_in_every_form(tmp_path: Path) -> None:
    place = tmp_path / "own" / "1" / "model.onnx"
    place.parent.mkdir(parents=True)
    write(attach(whole_numbers(), "logits", Stages(1.7), Metadata()), place)
    x: Given = ("x", "UINT8", RANDOM.integers(0, 256, (4, 6)))
    flags: Given = ("flags", "BOOL", RANDOM.random((4, 3)) < 0.5)
    with calling(models=tmp_path) as caller:
        expected = over_http(caller, x, flags, model="own")
        for typed in (False, True):
            assert_same(arrays(caller.infer(request(x, flags, typed=typed, model_name="own")).message), expected)
        with pytest.raises(grpc.RpcError, match="x has a number beyond UINT8"):
            caller.infer(
                request(("x", "UINT8", [[300] * 6]), ("flags", "BOOL", [[True] * 3]), typed=True, model_name="own")
            )
