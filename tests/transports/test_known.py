"""Known headers: what is kept of them, and how much."""

import pytest

from service.transports.endpoints import PREDICT, Target
from service.transports.known import MAX_BYTES, MAX_ENTRIES, Known, KnownHeaders

TARGET = Target(PREDICT, None, None)


def known(*headers: tuple[bytes, bytes]) -> Known:
    """A request with these headers, and a body of two bytes."""
    return Known(TARGET, b"/v1/predict", list(headers), 2)


def test_a_section_is_known_by_its_bytes() -> None:
    memory, request = KnownHeaders(), known((b"host", b"x"))
    memory.remember(b"POST", request)
    assert memory.entries.get(b"POST") is request
    assert memory.entries.get(b"post") is None
    assert repr(memory) == "<KnownHeaders 1>"


@pytest.mark.parametrize("name", [b"x-request-id", b"traceparent"])
def test_a_section_with_an_id_of_its_own_is_not_kept(name: bytes) -> None:
    memory = KnownHeaders()
    memory.remember(b"POST", known((b"host", b"x"), (name, b"1")))
    assert memory.entries == {}


@pytest.mark.parametrize(("n_bytes", "kept"), [(MAX_BYTES, True), (MAX_BYTES + 1, False)])
def test_a_section_that_is_too_long_is_not_kept(n_bytes: int, kept: bool) -> None:
    memory = KnownHeaders()
    memory.remember(b"x" * n_bytes, known())
    assert len(memory.entries) == kept


def test_the_memory_begins_anew_when_it_is_full() -> None:
    memory = KnownHeaders()
    for i in range(MAX_ENTRIES):
        memory.remember(b"%d" % i, known())
    assert len(memory.entries) == MAX_ENTRIES
    memory.remember(b"another", known())
    assert list(memory.entries) == [b"another"]


def test_a_section_that_comes_with_a_body_of_another_length_replaces_what_was_known() -> None:
    memory = KnownHeaders()
    memory.remember(b"POST", known())
    memory.remember(b"POST", Known(TARGET, b"/v1/predict", [], 3))
    assert [kept.n_bytes for kept in memory.entries.values()] == [3]
