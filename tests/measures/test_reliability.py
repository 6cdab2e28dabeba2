"""The numbers of the reliability diagram."""

from itertools import pairwise

import numpy as np
import pytest

from service.heads.stages import Stages
from service.measures.metrics import measure
from service.measures.multilabel import MultiScores
from service.measures.reliability import Bin, mass_bins, to_json, width_bins, wilson
from service.measures.scores import score
from tests.calibration.conftest import drawn


def test_the_bins_hold_all_rows_in_equal_parts_and_give_the_equal_mass_ece() -> None:
    scores = score(drawn(1000), Stages().predict)
    found = mass_bins(scores)
    assert [one.rows for one in found] == [67] * 10 + [66] * 5
    assert all(a.stop <= b.start for a, b in pairwise(found))
    gap = sum(one.rows * abs(one.confidence - one.accuracy) for one in found) / 1000
    assert gap == pytest.approx(measure(scores)["ece_mass"], abs=1e-12)


def test_few_rows_have_fewer_bins() -> None:
    assert [one.rows for one in mass_bins(score(drawn(95), Stages().predict))] == [32, 32, 31]


def test_the_interval_is_wilsons() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    low, high = wilson(np.array([81 / 263, 15 / 148, 0, 1 / 29]), np.array([263.0, 148, 20, 29]))
    assert np.allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=1e-4)
    assert np.allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=1e-4)


def test_a_confidence_outside_the_interval_is_off() -> None:
    near, far = (Bin(0.5, 0.7, 100, confidence, 0.6, 0.5, 0.69) for confidence in (0.65, 0.7))
    assert (near.is_off, far.is_off) == (False, True)


def test_the_histogram_counts_rows_by_confidence() -> None:
    scores = score(drawn(500), Stages().predict)
    found = to_json(scores)
    assert found["bins"][0].keys() == {"from", "to", "rows", "confidence", "accuracy", "low", "high"}
    rows = found["histogram"]["rows"]
    assert (len(rows), sum(rows)) == (40, 500)
    assert rows[-1] == (scores.confidence >= 0.975).sum()


def test_bins_of_equal_width_hold_all_rows_give_the_ece_and_none_is_empty() -> None:
    scores = score(drawn(1000), Stages().predict)
    found = width_bins(scores)
    assert sum(one.rows for one in found) == 1000
    assert min(one.rows for one in found) > 0
    assert all(int(15 * one.start - 1e-9) == int(15 * one.stop - 1e-9) for one in found)
    gap = sum(one.rows * abs(one.confidence - one.accuracy) for one in found) / 1000
    assert gap == pytest.approx(measure(scores)["ece"], abs=1e-12)
    nothing = MultiScores.from_scores(np.full((2, 1), -np.inf), np.zeros((2, 1))).points()
    assert width_bins(nothing) == []
