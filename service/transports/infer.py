"""POST /v2/models/{model}[/versions/{version}]/infer: how its bodies are read, and how they are answered."""

import re
from typing import Final

from service.codec.infer.decode import Inference, decode_infer
from service.codec.infer.encode import encode_infer
from service.codec.query import Served
from service.engine.rows import Arrays
from service.repository import Model
from service.transports.gate import JSON_TYPES, OCTETS, Answer, Face, Framing
from service.transports.notice import notice

PATH: Final = re.compile(r"/v2/models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?infer")


def read(body: bytes, framing: Framing, model: Served) -> Inference:
    """The query that an unpacked body is."""
    return decode_infer(body, framing.header_length, model)


def said(query: Inference, arrays: Arrays, model: Model) -> Answer:
    """The answer to it."""
    notice(query, arrays, model.tally)
    body, n_header = encode_infer(query, arrays, model)
    if n_header is None:
        return Answer(200, body)
    length = (b"inference-header-content-length", b"%d" % n_header)
    return Answer(200, body, content_type=OCTETS, headers=(length,))


INFER: Final = Face("infer", JSON_TYPES | {OCTETS}, True, read, said)
