"""A body of /predict to a `Query`."""

import sys

from service.codec.predict.careful import decode_careful
from service.codec.predict.usual import usual_query
from service.codec.query import Query
from service.engine.signature import Signature

try:
    from service.codec.predict.speedups import read_usual

    MAX_BODY = sys.maxsize
except ImportError:  # it was not built with them
    from service.codec.predict.usual import read_usual

    MAX_BODY = 900  # bytes; measured: from about 50 classes on, the buffers of `fast.py` win

try:
    from service.codec.predict.fast import decode_fast as decode_fast  # also for the benchmarks, which time it
except ImportError:  # simdjson has no wheel for this Python: the careful way reads everything

    def decode_fast(body: bytes, model: Signature) -> Query | None:  # noqa: ARG001 - the signature of the fast way
        """Leave it to the careful way."""
        return None


def decode_predict(body: bytes, _: bytes | None, model: Signature) -> Query:
    """Read a request for `model`.

    Raises:
        NotJSON: the body is not JSON.
        InvalidValue: it is JSON, but not a request that can be answered.
    """
    return decode_usual(body, model) or decode_fast(body, model) or decode_careful(body, model)


def decode_usual(body: bytes, model: Signature) -> Query | None:
    """The query of a usual body, or None where another way must look."""
    if len(body) > MAX_BODY or (found := read_usual(body)) is None:
        return None
    return usual_query(found, model)
