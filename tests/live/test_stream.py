"""The test martingale, against numbers that were worked out apart from it."""

import numpy as np
import pytest

from service.datasets.dataset import Floats, Ints
from service.live.bets import e_values, log_steps, slopes
from service.live.stream import BLOCK, MOST_CAPITAL, Stream, unstarted
from tests.live.made import path

CONFIDENCE = np.array([0.9, 0.8, 0.95, 0.6, 0.99, 0.7, 0.85, 0.55])
RIGHT = np.array([1, 0, 1, 1, 0, 0, 1, 0])


def close(found: Floats, expected: list[float]) -> bool:
    """To the six digits of the numbers."""
    return np.allclose(found, expected, rtol=0, atol=6e-7)


def test_the_weights_of_the_starts() -> None:
    weights = -np.diff([unstarted(m) for m in range(-1, 5)])
    assert close(weights, [0.369070, 0.130930, 0.069323, 0.043824, 0.030646])


@pytest.mark.parametrize(
    ("tau", "block", "expected"),
    [
        (0.0, 100, [0.985518, 1.015788, 0.991701, 0.963940, 2.111935, 2.705944, 2.307035, 2.654579]),
        (0.02, 100, [0.979512, 1.003462, 0.970149, 0.943436, 1.880537, 2.331814, 1.985733, 2.231549]),
        (0.0, 3, [0.985518, 1.015788, 0.991701, 0.960470, 2.453447, 3.230911, 2.703432, 3.158119]),
    ],
)
def test_the_evidence_after_each_of_eight_labels(tau: float, block: int, expected: list[float]) -> None:
    assert close(path(CONFIDENCE, RIGHT, tau, block), expected)


def test_the_same_eight_labels_over_and_over_alarm_at_the_21st() -> None:
    e = path(np.tile(CONFIDENCE, 40), np.tile(RIGHT, 40))
    assert close(e[[15, 23]], [42.986902, 1340.000002])
    assert (e >= 100).argmax() + 1 == 21


def test_a_confidence_that_is_exact_gathers_no_evidence() -> None:
    e = path(np.full(2000, 0.9), np.arange(1, 2001) % 10 != 0)
    assert close(e[[99, 999, 1999]], [0.747736, 0.327188, 0.251100])


def test_fifteen_wrong_in_a_hundred_where_ten_are_expected_alarm_at_the_610th() -> None:
    label = np.arange(1, 2001)
    e = path(np.full(2000, 0.9), (label % 10 != 0) & (label % 20 != 6))
    assert close(e[[99, 199, 499]], [1.063283, 1.761602, 30.059785])
    assert (e >= 100).argmax() + 1 == 610


def logs_of(n: int, seed: int = 0) -> Ints:
    random = np.random.default_rng(seed)
    r = random.uniform(0.5, 1, n)
    return log_steps(e_values(slopes(r), r, np.zeros(n), random.random(n) < r - 0.05))


def test_no_order_inside_a_block_changes_it_by_a_bit() -> None:
    logs = logs_of(BLOCK)
    one, other = Stream(16), Stream(16)
    one.add(logs)
    other.add(np.random.default_rng(1).permutation(logs))
    assert one.state() == other.state()


def test_shares_of_a_block_add_up_to_it() -> None:
    first, logs = logs_of(BLOCK), logs_of(BLOCK, 1)
    one = Stream(16)
    one.add(first)
    one.close(BLOCK, 0)
    other = Stream.restore(one.state())
    shares = [other.share() for _ in range(4)]
    for i, share in enumerate(shares):
        share.add(logs[i::4])
    one.add(logs)
    for share in shares:
        other.merge(share)
    assert one.state() == other.state()
    assert one.e == other.e


def test_what_was_written_reads_back_and_goes_on_alike() -> None:
    logs = logs_of(3 * BLOCK)
    whole, other = Stream(16), Stream(16)
    for start in range(0, 3 * BLOCK, 50):
        whole.add(logs[start : start + 50])
        whole.close(start + 50, 7)
        other = Stream.restore(other.state())
        other.add(logs[start : start + 50])
        other.close(start + 50, 7)
    assert whole.block == 3
    assert whole.state() == other.state()


def test_the_leading_bet_gains_since_the_block_in_which_it_broke() -> None:
    random, stream = np.random.default_rng(3), Stream(16)
    for block in range(40):
        r = np.full(BLOCK, 0.9)
        right = random.random(BLOCK) < (0.9 if block < 20 else 0.7)
        stream.add(log_steps(e_values(slopes(r), r, np.zeros(BLOCK), right)))
        stream.close((block + 1) * BLOCK, (block + 1) * 10)
    assert stream.e > 1e6
    assert 1900 <= stream.since[0] <= 2100
    assert stream.since[1] == stream.since[0] // 10


def test_labels_that_a_head_calls_impossible_keep_the_numbers_finite() -> None:
    r = np.full(BLOCK, 1.0)
    stream = Stream(16)
    for block in range(30):
        stream.add(log_steps(e_values(slopes(r), r, np.zeros(BLOCK), np.zeros(BLOCK, bool))))
        stream.close((block + 1) * BLOCK, 0)
    assert 1e100 < stream.e <= 16 * MOST_CAPITAL + 1
    right = log_steps(e_values(slopes(r), r, np.zeros(BLOCK), np.ones(BLOCK, bool)))
    assert np.isfinite(stream.add(right)).all()
