"""What stands on simdjson: how many lists there are in a body."""

import pytest

pytest.importorskip("simdjson", reason="it has no wheel for this Python")
from service.codec.simd import has_lists


@pytest.mark.parametrize(("n", "n_bytes"), [(3, 100), (3, 5000), (20, 5000)])
def test_opening_brackets_are_counted_however_many_bytes_are_between_them(n: int, n_bytes: int) -> None:
    body = (b"[" * n).ljust(n_bytes)
    assert [has_lists(body, given) for given in (n - 1, n, n + 1)] == [False, True, False]
