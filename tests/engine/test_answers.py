"""Answers: a request's share of a batch, and what is made once for all of it."""

import numpy as np
import pytest

from service.engine.answers import Batch, Share
from service.engine.rows import Arrays

ARRAYS: Arrays = {"probabilities": np.arange(8.0).reshape(4, 2), "logsumexp": np.arange(4.0).reshape(4, 1)}


def test_a_share_has_of_each_output_its_own_rows() -> None:
    share = Share(Batch(ARRAYS, of_single_rows=False), 1, 3)
    assert {name: rows.tolist() for name, rows in dict(share).items()} == {
        "probabilities": [[2, 3], [4, 5]],
        "logsumexp": [[1], [2]],
    }
    assert "logsumexp" in share
    assert "scores" not in share
    with pytest.raises(KeyError):
        share["scores"]


def test_the_shares_of_a_batch_are_views_that_cover_every_row_once() -> None:
    batch = Batch(ARRAYS, of_single_rows=False)
    shares = [Share(batch, start, stop)["probabilities"] for start, stop in ((0, 1), (1, 3), (3, 4))]
    assert (np.concatenate(shares) == ARRAYS["probabilities"]).all()
    assert all(np.shares_memory(share, ARRAYS["probabilities"]) for share in shares)


def test_what_is_made_of_a_batch_is_made_for_the_first_who_asks() -> None:
    made: list[Arrays] = []

    def rounded(arrays: Arrays) -> int:
        made.append(arrays)
        return len(made)

    batch = Batch(ARRAYS, of_single_rows=True)
    assert [batch.once(rounded), batch.once(rounded)] == [1, 1]
    assert made == [ARRAYS]


def test_what_a_batch_was_computed_from_is_kept_only_where_it_was_given() -> None:
    assert Batch(ARRAYS, of_single_rows=True).feed is None
    assert Batch(ARRAYS, of_single_rows=True, feed=ARRAYS).feed is ARRAYS
