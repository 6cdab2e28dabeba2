"""The gate: what headers alone can say."""

import pytest

from service.errors import AnsweredError
from service.transports.endpoints import PREDICT
from service.transports.gate import Gate
from service.transports.keys import Key, Keys
from tests.transports.test_keys import digest

OPEN = Gate(Keys(), 100)
LOCKED = Gate(Keys([Key("first", digest("one"), ["predict"]), Key("second", digest("two"))]), 100)


def code(gate: Gate, scope: str | None = "predict", **headers: str) -> str | None:
    """The code of the error, if there is one."""
    _, _, error = gate.check(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()], PREDICT, scope
    )
    assert error is None or isinstance(error, AnsweredError)
    return None if error is None else error.code


@pytest.mark.parametrize(
    ("length", "expected"), [("100", None), ("101", "body_too_large"), ("9" * 50, "body_too_large")]
)
def test_a_length_is_judged_before_the_body_comes(length: str, expected: str | None) -> None:
    assert code(OPEN, content_length=length) == expected


def test_a_length_that_is_no_number_is_refused() -> None:
    assert code(OPEN, content_length="ten") == "invalid_value"


@pytest.mark.parametrize("key", ["Bearer one", "bearer two", "BEARER  two "])
def test_each_key_opens(key: str) -> None:
    assert code(LOCKED, authorization=key) is None


@pytest.mark.parametrize(
    "key", ["", "one", "Bearer", "Bearer ", "Bearer on", "Bearer onee", "Bearer one, two", "Basic one"]
)
def test_nothing_else_does(key: str) -> None:
    assert code(LOCKED, authorization=key) == "unauthorized"


@pytest.mark.parametrize(("scope", "expected"), [(None, None), ("predict", None), ("observe", "scope")])
def test_a_key_opens_what_it_is_for(scope: str | None, expected: str | None) -> None:
    assert code(LOCKED, scope, authorization="Bearer one") == expected
    assert code(LOCKED, scope, authorization="Bearer two") is None


def test_where_no_scope_is_needed_no_key_is() -> None:
    assert code(LOCKED, None) is None
    assert code(LOCKED, None, authorization="Bearer wrong") is None


def test_whoever_has_no_key_hears_of_nothing_else() -> None:
    assert code(LOCKED, content_length="1000", content_type="text/plain") == "unauthorized"


@pytest.mark.parametrize(("encoding", "expected"), [("identity", None), ("gzip", "unsupported_media_type")])
def test_a_compressed_body_is_refused(encoding: str, expected: str | None) -> None:
    assert code(OPEN, content_encoding=encoding) == expected


@pytest.mark.parametrize("bad", ["", " ", "a b", "é", "x" * 129, "a\r\nx: y"])
def test_a_request_id_that_could_do_harm_is_replaced(bad: str) -> None:
    made, *_ = OPEN.check([(b"x-request-id", bad.encode())], PREDICT, None)
    assert made != bad.encode()
    assert OPEN.check([], PREDICT, None)[0] != made
