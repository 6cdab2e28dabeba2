"""Rows in the store: what is read back is what was answered, to half precision."""

import numpy as np
import pytest

from service.journal.rows import (
    LIKELIEST,
    MOST_CLASSES,
    column_of,
    n_classes,
    pack_log_p,
    row_of,
    sizes_of,
    unpack_columns,
    unpack_log_p,
)


@pytest.mark.parametrize("k", [1, 2, 10, MOST_CLASSES, MOST_CLASSES + 1, 1000, 100_000])
def test_the_likeliest_classes_come_back(k: int) -> None:
    logits = np.random.default_rng(k).standard_normal((3, k)) * 4
    log_p = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)
    values, width = pack_log_p(log_p)
    packed = values.tobytes()
    assert len(packed) == 3 * width <= 3 * 200
    for i in range(3):
        row = row_of(packed, 3, i)
        assert n_classes(row) == k
        found = unpack_log_p(row)
        best = np.argsort(-log_p[i])[:LIKELIEST]
        assert found[best] == pytest.approx(log_p[i][best], rel=1e-3, abs=1e-7)
        assert np.exp(found).sum() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("k", [3, 200])
def test_what_is_impossible_stays_so_and_what_is_only_unlikely_does_not_become_it(k: int) -> None:
    log_p = np.full((1, k), -1e6, np.float32)
    log_p[0, :3] = [0, -1e5, -np.inf]
    found = unpack_log_p(pack_log_p(log_p)[0].tobytes())
    assert found[0] == 0
    assert np.isfinite(found[1])
    if k == 3:
        assert found[2] == -np.inf


@pytest.mark.parametrize("k", [3, MOST_CLASSES, MOST_CLASSES + 1, 1000])
def test_columns_are_the_classes_and_one_for_those_that_were_not_kept(k: int) -> None:
    logits = np.random.default_rng(k).standard_normal((1, k)) * 4
    packed = pack_log_p((logits - np.logaddexp.reduce(logits, axis=1)).astype(np.float32))[0].tobytes()
    log_p, sizes, every = unpack_columns(packed), sizes_of(packed), unpack_log_p(packed)
    assert len(log_p) == len(sizes) == (k if k <= MOST_CLASSES else LIKELIEST + 1)
    assert sizes.sum() == k
    assert [log_p[column_of(packed, label)] for label in range(k)] == every.tolist()
    assert sizes @ np.exp(log_p) == pytest.approx(1, abs=2e-3)
