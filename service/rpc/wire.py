"""ModelInferRequests as the bytes that they are: what is in one, and what reading it takes, before protobuf reads it.

A message of 1 MB can be half a million empty tensors, which as objects take 280 MB and hold the loop for two seconds:
here its fields are counted, and no more of it is copied than its names. What the fields say is read in `infer`.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from service.errors import InvalidValue
from service.rpc.messages import ModelInferRequest, not_a_message
from service.transports.budget import NUMBER_COST

# tags: the number of a field, and 2 where its length stands before it
MODEL_NAME: Final = 1 << 3 | 2
MODEL_VERSION: Final = 2 << 3 | 2
ID: Final = 3 << 3 | 2
INPUT: Final = 5 << 3 | 2
OUTPUT: Final = 6 << 3 | 2
RAW_CONTENTS: Final = 7 << 3 | 2
CONTENTS: Final = 5 << 3 | 2  # of an input
VARINTS: Final = frozenset({number << 3 | 2 for number in range(1, 6)})  # of contents, as are the next
FLOATS: Final = {6 << 3 | 2: 4, 7 << 3 | 2: 8}  # and the bytes of each number
BYTES_CONTENTS: Final = 8 << 3 | 2
LENGTHS: Final = {1: 8, 5: 4}  # bytes of a value without a length, by how it is written
MAX_VARINT: Final = 10  # bytes

MAX_FIELDS: Final = 1024  # of a message: a table may have an input a column
MAX_INNER: Final = 8 * MAX_FIELDS  # of all its inputs and outputs
MAX_INNER_BYTES: Final = 2**20  # of all its inputs and outputs, but for contents

# Measured as peaks of a process over the worst of each kind, beside what the message takes when it arrives. Elements
# are counted by their first byte, without reading them, so that text counts as more than it is.
ELEMENT_COST: Final = 192  # bytes an element of bytes_contents
BYTE_COST: Final = 40  # bytes a byte of what is no packed number: elements, shapes, parameters
FIRST_BYTES: Final = (bytes([BYTES_CONTENTS]), bytes([BYTES_CONTENTS | 0x80]))  # 0x80: of a tag longer than it need be

Field = tuple[int, int, int, int]  # its tag, where it begins, where its value begins, and where both end


class Message:
    """A ModelInferRequest, of which the names alone are read."""

    __slots__ = ("body", "id", "model_name", "model_version", "raw")

    def __init__(self, body: bytes) -> None:
        """Find what is in it.

        Raises:
            Malformed: a field breaks off, or is written as none is.
            InvalidValue: there are more fields than any request has.
        """
        self.body = body
        self.raw: list[Field] = []
        names = {MODEL_NAME: b"", MODEL_VERSION: b"", ID: b""}
        for n, field in enumerate(fields(body, 0, len(body))):
            tag = field[0]
            if tag == RAW_CONTENTS:
                self.raw.append(field)
            elif tag in names:  # the last one counts
                names[tag] = body[field[2] : field[3]]
            if n == MAX_FIELDS:
                raise too_many_fields()
        try:
            self.model_name, self.model_version, self.id = [name.decode() for name in names.values()]
        except UnicodeDecodeError:
            raise not_a_message(ModelInferRequest) from None

    def header(self) -> bytes:
        """The message without its raw contents."""
        at, parts = 0, []
        for _, start, _, end in self.raw:
            parts.append(self.body[at:start])
            at = end
        return b"".join(parts) + self.body[at:]

    def sizes(self) -> tuple[int, ...]:
        """The bytes of each of the raw contents."""
        return tuple([end - at for _, _, at, end in self.raw])

    def data(self) -> bytes:
        """The raw contents, one behind the other."""
        if len(self.raw) == 1:
            ((_, _, at, end),) = self.raw
            return self.body[at:end]
        view = memoryview(self.body)
        return b"".join([view[at:end] for _, _, at, end in self.raw])

    def reading_cost(self) -> int:
        """The bytes that reading it takes at most, beside those for the message and for its raw contents.

        Raises:
            Malformed: as at first, of what is in its inputs and outputs.
            InvalidValue: these have more fields, or more bytes beside their contents, than any request.
        """
        body, cost = self.body, 0
        n = n_bytes = 0
        for tag, start, at, end in fields(body, 0, len(body)):
            if tag not in (INPUT, OUTPUT):
                cost += 0 if tag == RAW_CONTENTS else BYTE_COST * (end - start)
                continue
            for inner, begin, value, last in fields(body, at, end):
                n += 1
                if tag == INPUT and inner == CONTENTS:
                    cost += contents_cost(body, value, last)
                else:
                    n_bytes += last - begin
                if n > MAX_INNER or n_bytes > MAX_INNER_BYTES:
                    raise InvalidValue(
                        f"the inputs and outputs have more than {MAX_INNER} fields, or {MAX_INNER_BYTES} bytes beside "
                        "their contents; expected a name, a datatype, a shape and few parameters of each",
                        code="wrong_request",
                    )
        return cost + BYTE_COST * n_bytes


def contents_cost(body: bytes, at: int, end: int) -> int:
    """The bytes that reading typed contents takes at most."""
    n_numbers = 0
    for n, (tag, start, value, last) in enumerate(fields(body, at, end)):
        if n == len(FLOATS) + len(VARINTS):  # no client writes it so
            return NUMBER_COST * (n_numbers + end - start)
        if tag in FLOATS:
            n_numbers += (last - value) // FLOATS[tag]
        elif tag in VARINTS:  # the last byte of each is below 128
            n_numbers += int(np.count_nonzero(np.frombuffer(body, np.int8, last - value, value) >= 0))
        else:
            n_elements = sum([body.count(first, start, end) for first in FIRST_BYTES])
            return NUMBER_COST * n_numbers + ELEMENT_COST * n_elements + BYTE_COST * (end - start)
    return NUMBER_COST * n_numbers


def fields(body: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields between two places of a message.

    Raises:
        Malformed: one goes beyond the end, or is written as none is.
    """
    while at < end:
        start = at
        try:
            tag, size = body[at], body[at + 1]
            at += 2
            if tag & 0x87 != 2 or size & 0x80:  # else each is one byte, as usual
                tag, size, at = read_tag(body, start)
        except (IndexError, KeyError):
            raise not_a_message(ModelInferRequest) from None
        if at + size > end:
            raise not_a_message(ModelInferRequest)
        yield tag, start, at, at + size
        at += size


def read_tag(body: bytes, at: int) -> tuple[int, int, int]:
    """A tag, the bytes of its value, and where that begins; raises IndexError or KeyError for what is none."""
    tag, at = read_varint(body, at)
    kind = tag & 7
    if kind == 2:
        size, at = read_varint(body, at)
        return tag, size, at
    return tag, read_varint(body, at)[1] - at if kind == 0 else LENGTHS[kind], at


def read_varint(body: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for i in range(MAX_VARINT):
        byte = body[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    raise KeyError(at)


def too_many_fields() -> InvalidValue:
    return InvalidValue(
        f"the message has more than {MAX_FIELDS} inputs, outputs, parameters and raw_input_contents; expected fewer",
        code="wrong_request",
    )
