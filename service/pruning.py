"""A head's file, cut down to what some of its outputs need: ONNX Runtime runs every node, whatever is fetched.

On the wire format of protobuf, field by field, since `onnx` is not there while serving. Knows just the numbers of five
fields of onnx.proto, and no graph inside a node.
"""

from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

MODEL_GRAPH: Final = 7
GRAPH_NODE: Final = 1
GRAPH_OUTPUT: Final = 12
NODE_INPUT: Final = 1
NODE_OUTPUT: Final = 2
VALUE_NAME: Final = 1

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types


class Field(NamedTuple):
    """One field of a message: its number, its payload, and the bytes that it takes with its key."""

    number: int
    payload: bytes
    whole: bytes


def pruned(model: bytes, outputs: Collection[str]) -> bytes:
    """The serialized model with `outputs` alone, and the nodes that they are made by.

    Raises:
        ValueError: these bytes are no model.
    """
    parts = [
        field.whole if field.number != MODEL_GRAPH else message(MODEL_GRAPH, pruned_graph(field.payload, outputs))
        for field in fields(model)
    ]
    return b"".join(parts)


def pruned_graph(graph: bytes, outputs: Collection[str]) -> bytes:
    """As `pruned`, for the graph in it. Its nodes stand in an order in which they can run."""
    needed = set(outputs)
    kept: list[bytes] = []
    for field in reversed(list(fields(graph))):
        if field.number == GRAPH_NODE:
            if needed.isdisjoint(names(field.payload, NODE_OUTPUT)):
                continue
            needed.update(names(field.payload, NODE_INPUT))
        elif field.number == GRAPH_OUTPUT and not set(names(field.payload, VALUE_NAME)) & set(outputs):
            continue
        kept.append(field.whole)
    return b"".join(reversed(kept))


def names(message: bytes, number: int) -> list[str]:
    """The strings in the fields of that number."""
    return [field.payload.decode() for field in fields(message) if field.number == number]


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message, in order."""
    at = 0
    while at < len(data):
        start = at
        key, at = varint(data, at)
        wire = key & 7
        begin = at
        if wire == VARINT:
            _, at = varint(data, at)
        elif wire == LENGTH:
            n, begin = varint(data, at)
            at = begin + n
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"there is no wire type {wire}")
        if at > len(data):
            raise ValueError("a field is longer than its message")
        yield Field(key >> 3, data[begin:at], data[start:at])


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("a number is cut off")


def message(number: int, payload: bytes) -> bytes:
    """A field that holds a message."""
    return encoded(number << 3 | LENGTH) + encoded(len(payload)) + payload


def encoded(value: int) -> bytes:
    """A number of variable length."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
