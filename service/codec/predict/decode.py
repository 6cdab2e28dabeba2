"""A body of /predict to a `Query`."""

from service.codec.predict.careful import decode_careful
from service.codec.predict.small import MAX_BODY, decode_small
from service.codec.query import Query
from service.engine.signature import Signature

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
    if len(body) <= MAX_BODY and (query := decode_small(body, model)):
        return query
    return decode_fast(body, model) or decode_careful(body, model)
