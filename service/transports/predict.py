"""POST /v1/predict and its longer forms: how their bodies are read, and how they are answered."""

import re
from typing import Final

from service.codec.predict.decode import decode
from service.codec.predict.encode import encode
from service.codec.query import Query, Served
from service.engine.rows import Arrays
from service.repository import Model
from service.transports.gate import JSON_TYPES, Answer, Face, Framing
from service.transports.notice import notice

PATH: Final = re.compile(r"/v1/(?:models/(?P<model>[^/]+)/(?:versions/(?P<version>[^/]+)/)?)?predict")


def read(body: bytes, _: Framing, model: Served) -> Query:
    """The query that a body is."""
    return decode(body, model)


def said(query: Query, arrays: Arrays, model: Model) -> Answer:
    """The answer to it."""
    notice(query, arrays, model.tally)
    return Answer(200, encode(query, arrays, model))


PREDICT: Final = Face("predict", JSON_TYPES, False, read, said)
