"""A head's file, cut down to what some of its outputs need: ONNX Runtime runs every node, whatever is fetched.

On the wire format of protobuf, field by field, since `onnx` is not there while serving. Knows just the numbers of six
fields of onnx.proto, and no graph inside a node.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

MODEL_GRAPH: Final = 7
GRAPH_NODE: Final = 1
GRAPH_OUTPUT: Final = 12
NODE_INPUT: Final = 1
NODE_OUTPUT: Final = 2
NODE_OPERATOR: Final = 4
VALUE_NAME: Final = 1

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types


class Field(NamedTuple):
    """One field of a message: its number, its payload, and the bytes that it takes with its key."""

    number: int
    payload: bytes
    whole: bytes


Passing = Mapping[tuple[str, str], int]  # operator and output of a node, and the input that it passes on as it is


def pruned(model: bytes, outputs: Collection[str], passing: Passing | None = None) -> bytes:
    """The serialized model with `outputs` alone, the nodes that they are made by, and none that is `passing`.

    Raises:
        ValueError: these bytes are no model.
    """
    parts = [
        field.whole
        if field.number != MODEL_GRAPH
        else message(MODEL_GRAPH, pruned_graph(field.payload, outputs, passing or {}))
        for field in fields(model)
    ]
    return b"".join(parts)


def pruned_graph(graph: bytes, outputs: Collection[str], passing: Passing) -> bytes:
    """As `pruned`, for the graph in it. Its nodes stand in an order in which they can run."""
    inside = list(fields(graph))
    called = other_names((field.payload for field in inside if field.number == GRAPH_NODE), outputs, passing)
    needed = set(outputs)
    kept: list[bytes] = []
    for field in reversed(inside):
        whole = field.whole
        if field.number == GRAPH_NODE:
            node = renamed(field.payload, called)
            made = names(node, NODE_OUTPUT)
            passes = not set(made).isdisjoint(names(node, NODE_INPUT))  # it reads by now what it makes
            if passes or needed.isdisjoint(made):
                continue
            needed.update(names(node, NODE_INPUT))
            whole = message(GRAPH_NODE, node)
        elif field.number == GRAPH_OUTPUT and not set(names(field.payload, VALUE_NAME)) & set(outputs):
            continue
        kept.append(whole)
    return b"".join(reversed(kept))


def other_names(nodes: Iterable[bytes], outputs: Collection[str], passing: Passing) -> dict[str, str]:
    """What tensors are called without the nodes that are passing: what such a node reads and makes is one tensor."""
    called: dict[str, str] = {}
    for node in nodes:
        made = names(node, NODE_OUTPUT)[0]
        passed = passing.get((names(node, NODE_OPERATOR)[0], made))
        if passed is not None:
            read = names(node, NODE_INPUT)[passed]
            read = called.get(read, read)
            if made in outputs:
                called = {name: made if other == read else other for name, other in called.items()} | {read: made}
            else:
                called[made] = read
    return called


def renamed(node: bytes, called: Mapping[str, str]) -> bytes:
    """A node with other names for what it reads and makes."""
    return b"".join(
        message(field.number, called.get(field.payload.decode(), field.payload.decode()).encode())
        if field.number in (NODE_INPUT, NODE_OUTPUT)
        else field.whole
        for field in fields(node)
    )


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
