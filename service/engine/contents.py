"""What an ONNX file holds, read from its bytes without the package onnx: references to files, domains, nodes, tensors.

ONNX Runtime would follow a reference to any file that the process can read. The wire format of protobuf is a sequence
of fields, each a tag (number and kind) and a value; what is skipped is not copied.
See https://protobuf.dev/programming-guides/encoding and onnx.proto for the numbers.
"""

from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Final

from service.errors import HeadError
from service.metadata import NO_LOGSUMEXP_KEY, SHORT_KEY

VARINT: Final = 0
BYTES: Final = 2
FIXED: Final = {1: 8, 5: 4}  # kind to bytes
MAX_DEPTH: Final = 16  # of graphs in the attributes of nodes in graphs, and of functions that call functions
EXTERNAL: Final = 1  # a tensor's data_location
DOMAINS: Final = frozenset({b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"})  # those that ONNX Runtime has built in
BUILT_IN: Final = "ai.onnx, ai.onnx.ml or com.microsoft"
RANDOM: Final = frozenset(  # a head answers the same bits to the same row; and what is random may pass a trial by luck
    {
        *(b"Bernoulli", b"Multinomial", b"RandomNormal", b"RandomNormalLike", b"RandomUniform", b"RandomUniformLike"),
        *(b"BiasDropout", b"BitmaskBiasDropout", b"BitmaskDropout", b"Sampling"),
    }
)
TRAINING_MODE: Final = 2  # the input of Dropout that makes it random
SHORT_GRAPHS: Final = frozenset({SHORT_KEY.encode(), NO_LOGSUMEXP_KEY.encode()})  # metadata that are models themselves
TAG_BITS: Final = 0xFFFFFFFF  # of a tag; protobuf drops those above, and so would see another field than we


class Contents:
    """Counts while it walks through a model, and through the short graphs in its metadata.

    A node that calls a function of the file stands for the nodes of that, which ONNX Runtime puts in its place.

    Raises:
        HeadError: when it finds what no served file may have; the sentence says what.
    """

    def __init__(self, model: memoryview, max_nodes: int) -> None:
        self.max_nodes = max_nodes
        self.n_nodes = self.n_tensors = 0
        self.read_model(model)
        for number, value in fields(model):
            if number == 14:
                self.read_property(value)

    def read_model(self, model: memoryview) -> None:
        """Its graph, and the functions that this calls and those that it does not."""
        self.functions: dict[bytes, list[memoryview]] = {}
        self.called: set[bytes] = set()
        parts = list(fields(model))
        for number, value in parts:
            if number == 25:
                self.functions.setdefault(operator_of(dict(fields(value)), 1, 10), []).append(value)
        for number, value in parts:
            if number == 7:
                self.read_graph(value, 0)
        for name in self.functions:
            if name not in self.called:
                self.read_functions(name, 0)

    def read_property(self, entry: memoryview) -> None:
        """A key and a value of the metadata; ONNX Runtime loads the value of some as a model."""
        found = dict(fields(entry))
        if bytes(found.get(1, b"")) not in SHORT_GRAPHS:
            return
        try:
            short = b64decode(bytes(found.get(2, b"")), validate=True)
        except ValueError:
            raise HeadError("has a short graph that is not base64; expected what `calibrant export` writes") from None
        self.read_model(memoryview(short))

    def read_graph(self, graph: memoryview, depth: int) -> None:
        """Nodes, initializers and sparse initializers."""
        check_depth(depth)
        for number, value in fields(graph):
            if number == 1:
                self.read_node(value, depth)
            elif number == 5:
                self.read_tensor(value)
            elif number == 15:
                self.read_sparse(value)

    def read_functions(self, name: bytes, depth: int) -> None:
        """The nodes of the functions of this name, and the attributes that a call may leave out."""
        self.called.add(name)
        check_depth(depth)
        for function in self.functions[name]:
            for number, value in fields(function):
                if number == 7:
                    self.read_node(value, depth)
                elif number == 11:
                    self.read_attribute(value, depth)

    def read_node(self, node: memoryview, depth: int) -> None:
        self.n_nodes += 1
        if self.n_nodes > self.max_nodes:
            raise HeadError(f"has more than {self.max_nodes} nodes, the most that are run (--max-model-nodes)")
        inputs, found = [], dict[int, memoryview]()
        for number, value in fields(node):
            if number == 7 and bytes(value) not in DOMAINS:
                raise HeadError(
                    f"has operators of the domain {str(value[:64], errors='replace')!r}; expected {BUILT_IN}"
                )
            if number == 1:
                inputs.append(value)
            elif number in (4, 7):
                found[number] = value
            elif number == 5:
                self.read_attribute(value, depth)
        name = operator_of(found, 4, 7)
        if name in self.functions:
            self.read_functions(name, depth + 1)
        operator = bytes(found.get(4, b""))
        if operator in RANDOM:
            raise HeadError(
                f"has the operator {operator.decode()}, which is random; expected the same answer each time"
            )
        if operator == b"Dropout" and any(inputs[TRAINING_MODE:]):
            raise HeadError(
                "has a Dropout with a training mode, which is random; expected a file exported for inference"
            )

    def read_attribute(self, attribute: memoryview, depth: int) -> None:
        for number, value in fields(attribute):
            if number in (5, 10):
                self.read_tensor(value)
            elif number in (6, 11):
                self.read_graph(value, depth + 1)
            elif number in (22, 23):
                self.read_sparse(value)

    def read_tensor(self, tensor: memoryview) -> None:
        """Refuse one whose data lie in another file."""
        self.n_tensors += 1
        if self.n_tensors > self.max_nodes:
            raise HeadError(
                f"has more than {self.max_nodes} constants, initializers and those of its nodes, the most that are "
                "loaded (--max-model-nodes)"
            )
        for number, value in fields(tensor, varints=True):
            if number == 13 or (number == 14 and bytes(value) == bytes([EXTERNAL])):
                raise HeadError("has data in another file; expected one file, as `calibrant export` makes it")

    def read_sparse(self, sparse: memoryview) -> None:
        for number, value in fields(sparse):
            if number in (1, 2):
                self.read_tensor(value)


def check_depth(depth: int) -> None:
    """Refuse what is nested further than anybody needs."""
    if depth > MAX_DEPTH:
        raise HeadError(f"has graphs within graphs, or functions that call functions, more than {MAX_DEPTH} deep")


def operator_of(found: Mapping[int, memoryview], name: int, domain: int) -> bytes:
    """What names a function, and who calls it: both domains that are the default one are the same."""
    of = bytes(found.get(domain, b""))
    return (b"" if of == b"ai.onnx" else of) + b":" + bytes(found.get(name, b""))


def fields(message: memoryview, *, varints: bool = False) -> Iterator[tuple[int, memoryview]]:
    """The fields of a message that are bytes, and its varints as their bytes if those are wanted.

    Raises:
        HeadError: it is not a message.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = read_varint(message, at)
        tag &= TAG_BITS
        kind = tag & 7
        start = at
        if kind == BYTES:
            length, start = read_varint(message, at)
            at = start + length
        elif kind == VARINT:
            _, at = read_varint(message, at)
        elif kind in FIXED:
            at += FIXED[kind]
        else:
            at = end + 1
        if at > end:
            raise HeadError("is not an ONNX model: it breaks off, or is no protobuf")
        if kind == BYTES or (kind == VARINT and varints):
            yield tag >> 3, message[start:at]


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise HeadError("is not an ONNX model: it breaks off, or is no protobuf")
