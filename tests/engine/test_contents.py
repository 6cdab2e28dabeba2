"""What a file holds, read without onnx: as onnx reads it, and nothing but a sentence for whatever is no model."""

from base64 import b64decode
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from service.engine.contents import Contents, fields
from service.errors import HeadError
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY
from tests.conftest import ROOT
from tests.engine.hostile import nested_functions, poison

SHORT_KEYS = (SHORT_KEY, NO_LOGSUMEXP_KEY)
HEADS = sorted((ROOT / "models").glob("*/*/model.onnx"))


@pytest.mark.parametrize("path", HEADS, ids=lambda path: path.parents[1].name)
def test_nodes_are_counted_as_onnx_counts_them(path: Path) -> None:
    contents = Contents(memoryview(path.read_bytes()), 1000)
    model = onnx.load(path)
    shorts = [onnx.load_from_string(b64decode(prop.value)) for prop in model.metadata_props if prop.key in SHORT_KEYS]
    assert shorts
    assert contents.n_nodes == sum(len(each.graph.node) for each in (model, *shorts))
    with pytest.raises(HeadError, match=r"more than 3 nodes"):
        Contents(memoryview(path.read_bytes()), 3)


def test_the_nodes_of_a_function_count_for_each_of_its_calls(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    nested_functions(path, n=3, levels=3)
    model = onnx.load(path)
    assert Contents(memoryview(path.read_bytes()), 1000).n_nodes == 3 + 9 + 27 + 1
    model.functions[0].name = "nobody calls it"
    assert Contents(memoryview(model.SerializeToString()), 1000).n_nodes == 3 + 1 + 3 + 9


def test_constants_are_counted_wherever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    poison(path, [helper.make_node("Constant", [], ["poisoned"], value=numpy_helper.from_array(np.zeros(10)))], [])
    model = onnx.load(path)
    assert Contents(memoryview(path.read_bytes()), 1000).n_tensors == 1 + len(model.graph.initializer)


@given(st.binary(max_size=300))
def test_noise_is_no_model_or_has_nothing_in_it(noise: bytes) -> None:
    with suppress(HeadError):
        assert Contents(memoryview(noise), 10).n_nodes <= 10


@given(st.data())
def test_a_head_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(HEADS[0].read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(HeadError):
        assert Contents(memoryview(bytes(content)), 1000).n_nodes <= 1000


def test_every_kind_of_field_is_skipped() -> None:
    message = bytes([0x08, 0x96, 0x01]) + bytes([0x11]) + bytes(8) + bytes([0x1D]) + bytes(4) + bytes([0x22, 1, 7])
    assert [(number, bytes(value)) for number, value in fields(memoryview(message))] == [(4, b"\x07")]
    assert [number for number, _ in fields(memoryview(message), varints=True)] == [1, 4]


@pytest.mark.parametrize("message", [b"\x0b", b"\x22\x05ab", b"\x08", b"\xff" * 20, b"\x11\x00"])
def test_what_breaks_off_or_is_no_protobuf_is_refused(message: bytes) -> None:
    with pytest.raises(HeadError, match="is not an ONNX model: it breaks off, or is no protobuf"):
        list(fields(memoryview(message)))


def test_a_tag_is_read_as_protobuf_reads_it_without_the_bits_that_it_drops() -> None:
    graph = bytes([7 << 3 | 2 | 0x80, 0x80, 0x80, 0x80, 0x10, 1, 9])  # field 7, and the bit 2^32
    assert [(number, bytes(value)) for number, value in fields(memoryview(graph))] == [(7, b"\x09")]
