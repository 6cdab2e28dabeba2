"""Blocks: what is packed is read back, and what is no block is refused."""

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.journal.record import (
    BEST,
    HEADER,
    LOGITS,
    PROBABILITIES,
    Block,
    Labels,
    Lost,
    pack_block,
    pack_labels,
    pack_lost,
    pack_sets,
    read_blocks,
)


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(1, 3)), min_size=1, max_size=5), st.integers(1, 4))
def test_a_block_is_read_back_as_it_was_packed(requests: list[tuple[bytes, int]], k: int) -> None:
    ids, rows = [one for one, _ in requests], [n for _, n in requests]
    n = sum(rows)
    values = np.arange(n * k, dtype=np.float32)
    block = b"".join(
        pack_block(
            LOGITS,
            b"cats/12",
            ids,
            rows,
            k,
            bytes([1] * len(ids)),
            [array("f", values[:k]), values[k:]],
            temperatures=np.full(n, 2.0).tobytes(),
            groups=np.full(n, 300, "<u2").tobytes(),
            mask=bytes([1, *[0] * (n * k - 1)]),
        )
    )
    (found,) = read_blocks(block)
    assert isinstance(found, Block)
    assert (found.kind, found.model, list(found.ids), found.rows.tolist()) == (LOGITS, "cats/12", ids, rows)
    assert found.apart.all()
    assert found.values.tolist() == values.reshape(n, k).tolist()
    assert found.temperatures is not None
    assert found.temperatures.tolist() == [2.0] * n
    assert found.groups is not None
    assert found.groups.tolist() == [300] * n
    assert found.mask is not None
    assert found.mask.sum() == found.mask[0, 0] == 1


def test_what_a_block_does_not_have_is_none() -> None:
    values = [np.array([0.7, 0.3], np.float32)]
    (found,) = read_blocks(b"".join(pack_block(PROBABILITIES, b"m/1", [b"a"], [1], 2, bytes(1), values)))
    assert isinstance(found, Block)
    assert (found.temperatures, found.groups, found.mask, found.classes) == (None, None, None, None)
    assert (found.group, found.alpha, found.sets) == (None, None, None)


@pytest.mark.parametrize("kind", [LOGITS, BEST])
def test_the_name_of_a_group_and_prediction_sets_stand_behind_the_values(kind: int) -> None:
    sets = np.zeros((2, 10), np.bool_)
    sets[0, [0, 9]] = sets[1, 3] = True
    values = [np.arange(2 if kind == BEST else 20, dtype=np.float32)]
    plain = values if kind == LOGITS else [np.array([4, 2], "<i4").tobytes(), *values]
    block = b"".join(
        pack_block(kind, b"m/1", [b"a"], [2], 10, bytes(1), plain, group=b'"acme"', sets=pack_sets(0.1, sets))
    )
    (found,) = read_blocks(block)
    assert isinstance(found, Block)
    assert (found.group, found.alpha) == (b'"acme"', 0.1)
    assert found.sets is not None
    assert np.unpackbits(found.sets, axis=1, count=10, bitorder="little").tolist() == sets.astype(int).tolist()
    before = b"".join(pack_block(kind, b"m/1", [b"a"], [2], 10, bytes(1), plain))
    assert block[HEADER.size :].startswith(before[HEADER.size :])  # who knows no more reads what it always read


def test_the_best_class_alone_is_one_number_a_row() -> None:
    parts = [np.array([4, 2], "<i4").tobytes(), np.array([0.5, 0.25], "<f4").tobytes()]
    (found,) = read_blocks(b"".join(pack_block(BEST, b"m/1", [b"a"], [2], 10, bytes(1), parts)))
    assert isinstance(found, Block)
    assert found.classes is not None
    assert found.classes.tolist() == [4, 2]
    assert found.values.tolist() == [[0.5], [0.25]]


def test_blocks_stand_one_behind_the_other() -> None:
    assert list(read_blocks(pack_labels(b"[1]") + pack_lost(7))) == [Labels(b"[1]"), Lost(7)]


@pytest.mark.parametrize("data", [b"x", pack_labels(b"[1]")[:-1], b"\x09" + pack_lost(7)[1:]])
def test_what_is_no_block_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="a block is"):
        list(read_blocks(data))
