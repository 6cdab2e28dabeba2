"""A pruned head answers to the bit what the whole one answers, with fewer nodes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.head import JUST, MASKING, WIDENING, Head
from service.engine.pruning import encoded, fields, pruned, varint
from service.heads.softmax import build
from service.heads.stages import Stages
from service.kinds.outputs import GRAPH_OUTPUTS, graph_bits
from service.metadata import Metadata
from tests.conftest import ROOT
from tests.heads_made import head

STAGES = [Stages(1.7), Stages(1.7, np.arange(5.0)), Stages(0.3, matrix=np.eye(5) * 0.1)]


@pytest.mark.parametrize("stages", STAGES, ids=["plain", "bias", "matrix"])
@pytest.mark.parametrize("output", GRAPH_OUTPUTS)
def test_a_pruned_graph_is_whole_and_answers_the_same_bits(stages: Stages, output: str) -> None:
    whole = build(stages, 5, Metadata()).SerializeToString()
    cut = pruned(whole, (output,))
    model = onnx.load_from_string(cut)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == [output]
    assert len(model.graph.node) < len(onnx.load_from_string(whole).graph.node)
    assert list(model.metadata_props) == list(onnx.load_from_string(whole).metadata_props)
    logits = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    answers = [
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run([output], {"logits": logits})[0]
        for data in (whole, cut)
    ]
    assert answers[0].tobytes() == answers[1].tobytes()


@pytest.mark.parametrize("k", [1, 2, 7, 10, 101, 1000])
def test_probabilities_alone_are_the_probabilities_among_others(k: int) -> None:
    shipped = Head(ROOT / "models/softmax/1/model.onnx")
    random = np.random.default_rng(k)
    feed = {
        "logits": (4 * random.standard_normal((5, k))).astype(np.float32),
        "mask": random.random((5, k)) < 0.7,
        "temperature": random.uniform(0.2, 5, (5, 1)),
    }
    alone = shipped.run(feed, graph_bits(("probabilities",)))["probabilities"]
    among = shipped.run(feed, graph_bits(("probabilities", "entropy", "prediction")))["probabilities"]
    assert alone.tobytes() == among.tobytes()


@pytest.mark.parametrize(
    ("stages", "k"),
    [
        *((stages, 5) for stages in [*STAGES, Stages(0.3, matrix=np.eye(5) * 0.1, masks_first=True)]),
        *((stages, k) for stages in [Stages(1.7), Stages(1.7, laplace=0.1)] for k in (6, None)),
    ],
)
def test_nodes_that_pass_their_input_on_are_taken_out_and_the_bits_stay(stages: Stages, k: int | None) -> None:
    model = build(stages, k, Metadata())
    masks_first = stages.masks_first or not stages.changes_logits
    passing = (MASKING if masks_first else {}) | (WIDENING if k is None else {})
    cut = pruned(model.SerializeToString(), JUST, passing)
    onnx.checker.check_model(onnx.load_from_string(cut), full_check=True)
    left = {(node.op_type, node.output[0]) for node in onnx.load_from_string(cut).graph.node}
    assert not left & passing.keys()
    assert {op for op, _ in left} & {"Pad", "Slice", "Shape"} == ({"Pad", "Slice"} if k == 5 else set())
    logits = np.random.default_rng(0).standard_normal((7, k or 8)).astype(np.float32)
    logits[3] = -np.inf
    logits[4, 2:4] = -np.inf
    answers = [
        ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(JUST, {"logits": logits})[0]
        for data in (model.SerializeToString(), cut)
    ]
    assert answers[0].tobytes() == answers[1].tobytes()


def test_who_reads_what_a_passing_node_made_reads_what_it_read() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float[N] x, float[N] unread) => (float[N] y, float[N] other) {
            a = Identity(x)
            b = Identity(a)
            c = Add(a, b)
            d = Neg(c)
            e = Identity(d)
            y = Identity(e)
            other = Add(e, unread)
        }"""
    )
    passing = {("Identity", name): 0 for name in "abey"}
    cut = onnx.load_from_string(pruned(model.SerializeToString(), ("y", "other"), passing))
    onnx.checker.check_model(cut, full_check=True)
    assert [(node.op_type, *node.input, *node.output) for node in cut.graph.node] == [
        ("Add", "x", "x", "c"),
        ("Neg", "c", "y"),
        ("Add", "y", "unread", "other"),
    ]


def test_all_outputs_leave_all_nodes(tmp_path: Path) -> None:
    whole = head(tmp_path / "model.onnx").read_bytes()
    assert onnx.load_from_string(pruned(whole, GRAPH_OUTPUTS)) == onnx.load_from_string(whole)


@given(st.integers(0, 2**40))
def test_a_number_reads_back(value: int) -> None:
    assert varint(encoded(value), 0) == (value, len(encoded(value)))


@pytest.mark.parametrize("data", [b"\x0a\x05abc", b"\x0a", b"\x80", b"\x0b", b"\x09\x01"])
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is"):
        list(fields(data))
