"""The usual binary row: taken as its plain twin would read it, or left to that."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codec.infer.decode import Inference, build_inference
from service.codec.infer.header import check_header
from service.codec.infer.usual import layout_of, read_usual
from service.engine.signature import Signature
from service.engine.single import WIDE_ROW
from service.errors import InvalidValue
from tests.codec.served import ANY, CLASSIFIER, LATE_MASK, THREE
from tests.transports.infer import binary, tensor

AVERAGE = Signature("average", "1", averages=True)
FLAWS = ["", "number", "mask", "temperature", "two temperatures", "two rows", "empty", "probabilities"]
PLAIN = st.sampled_from([-3.5, -0.1, 0.0, 1.0, 2.25, 7.0])
ODD = st.sampled_from([3e38, -np.inf, np.inf, np.nan])
FORMATS = {"FP32": "<f", "FP64": "<d"}


def described(query: Inference) -> Any:
    """All that the rows say."""
    rows = query.rows
    values = {name: (array.shape, array.tobytes()) for name, array in rows.inputs.items()}
    mask = None if rows.mask is None else rows.mask.tolist()
    warned = list(rows.empty), rows.looks_like_probabilities
    return values, mask, rows.temperature, warned, query.lead, query.classes, rows.n, rows.n_numbers


def outcome(document: Any, data: bytes, model: Signature, *, usual: bool) -> Any:
    """What a request is, or why it is none, with and without the shortest way."""
    header = check_header(document)
    try:
        return described(build_inference(header if usual else header._replace(layout=None), data, 0, model))
    except InvalidValue as error:
        return str(error), error.code, error.row, error.class_


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    """A document of the inputs of one usual row and the data behind it, with a flaw or without."""
    flaw = draw(st.sampled_from(FLAWS))
    k = draw(st.sampled_from([1, 2, 3, 3]))
    shape = [2, k] if flaw == "two rows" else draw(st.sampled_from([[k], [1, k]]))
    n = int(np.prod(shape))
    logits = np.array(draw(st.lists(PLAIN, min_size=n, max_size=n)), np.float32)
    if flaw == "number":
        logits[-1] = draw(ODD)
    if flaw == "probabilities":
        logits[:] = 1 / k
    parts = [(binary("logits", "FP32", shape, 4 * n), logits.tobytes())]
    if flaw in {"mask", "empty"} or draw(st.booleans()):
        of = draw(st.sampled_from([shape, [k], [1, k]]))
        size = int(np.prod(of))
        booleans = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
        booleans = [2] * size if flaw == "mask" else [0] * size if flaw == "empty" else booleans
        parts.append((binary("mask", "BOOL", of, size), bytes(booleans)))
    parameters = {"temperature": 2.5} if flaw == "two temperatures" else {}
    if "temperature" in flaw or draw(st.booleans()):
        datatype = draw(st.sampled_from(list(FORMATS)))
        value = draw(st.sampled_from([0.0, -1.0, np.inf, np.nan] if flaw == "temperature" else [1.5, 1.1]))
        data = struct.pack(FORMATS[datatype], value)
        parts.append((binary("temperature", datatype, draw(st.sampled_from([[1], [1, 1]])), len(data)), data))
    elif draw(st.booleans()):
        parameters = {"temperature": 2.5}
    parts = draw(st.permutations(parts))
    return {"inputs": [one for one, _ in parts], "parameters": parameters}, b"".join(data for _, data in parts)


@settings(max_examples=1000)
@given(requests(), st.sampled_from([ANY, THREE, LATE_MASK, CLASSIFIER, AVERAGE]))
def test_a_row_is_read_as_the_plain_way_reads_it(request: tuple[dict[str, Any], bytes], model: Signature) -> None:
    document, data = request
    assert outcome(document, data, model, usual=True) == outcome(document, data, model, usual=False)


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("logits", "FP32", [2], data=[2, 1])],
        [binary("logits", "FP64", [2], 16)],
        [binary("logits", "FP32", [2, 2], 16)],
        [binary("logits", "FP32", [1, 1, 2], 8)],
        [binary("logits", "FP32", [0], 0)],
        [binary("logits", "FP32", [WIDE_ROW + 1], 4 * WIDE_ROW + 4)],
        [binary("mask", "BOOL", [2], 2)],
        [binary("logits", "FP32", [2], 8), binary("mask", "BOOL", [1, 2], 2)],
        [binary("logits", "FP32", [2], 8), binary("other", "BOOL", [2], 2)],
        [binary("logits", "FP32", [1, 2], 8), binary("temperature", "FP64", [1, 1, 1], 8)],
        [binary("logits", "FP32", [1, 2], 8), tensor("mask", "BOOL", [1, 2], data=[True, True])],
    ],
)
def test_what_is_not_the_usual_row_is_left_to_the_plain_way(inputs: list[dict[str, Any]]) -> None:
    assert layout_of(check_header({"inputs": inputs}).inputs) is None


@pytest.mark.parametrize("lead", [[], [1]])
def test_the_usual_row_takes_the_shortest_way(lead: list[int]) -> None:
    inputs = [
        binary("temperature", "FP64", [1], 8),
        binary("mask", "BOOL", [*lead, 3], 3),
        binary("logits", "FP32", [*lead, 3], 12),
    ]
    layout = layout_of(check_header({"inputs": inputs}).inputs)
    assert layout is not None
    data = struct.pack("<d3B3f", 1.5, 1, 0, 1, 3.0, 2.0, -1.0)
    found = read_usual(layout, None, b"header" + data, 6, ANY)
    assert found is not None
    row, row_lead, classes = found
    assert row.inputs["logits"].tolist() == [[3.0, -np.inf, -1.0]]
    assert (row.temperature, row_lead, classes) == (1.5, tuple(lead), (3,))
