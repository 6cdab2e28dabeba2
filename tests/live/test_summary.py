"""The running measures, against the metrics of a fit and against numbers that were worked out apart."""

from dataclasses import asdict

import numpy as np
import pytest

from service.live.summary import STEPS, Summary
from service.measures.metrics import Ordered, ece
from tests.live.made import drawn, records

CONFIDENCE = [0.9, 0.8, 0.95, 0.6, 0.99, 0.7, 0.85, 0.55]
RIGHT = [1, 0, 1, 1, 0, 0, 1, 0]


def test_the_calibration_error_and_the_gap_of_eight_rows() -> None:
    found = Summary.of(records(CONFIDENCE, RIGHT)).measures()
    assert found["ece"]["value"] == pytest.approx(0.4175, abs=1e-8)
    assert found["gap"]["value"] == pytest.approx(0.2925, abs=1e-8)
    assert found["accuracy"] == 0.5


def test_they_are_the_metrics_of_a_fit() -> None:
    rows = drawn(5000, 1, sharper=1.4)
    found = Summary.of(rows).measures()
    hit = rows["predicted"] == rows["label"]
    assert found["ece"]["value"] == pytest.approx(ece(Ordered(rows["confidence"], hit, np.ones(5000))), abs=1e-8)
    assert found["nll"] == pytest.approx(-rows["log_p"].mean(), abs=1e-8)
    assert found["brier"] == pytest.approx(rows["brier"].mean(), abs=1e-8)
    assert found["gap"]["value"] == pytest.approx((rows["confidence"] - hit).mean(), abs=1e-8)
    assert sum(one["rows"] for one in found["bins"]) == 5000


def test_the_error_of_an_exact_head_is_nearly_0_without_its_bias_and_of_another_one_what_it_is() -> None:
    exact = [Summary.of(drawn(1000, seed)).ece() for seed in range(60)]
    assert np.mean([one["debiased"] for one in exact]) < 0.55 * np.mean([one["value"] for one in exact])
    assert np.mean([one["low"] == 0 for one in exact]) >= 0.95
    truth = Summary.of(drawn(400_000, 99, sharper=1.5)).ece()["value"]
    off = [Summary.of(drawn(1000, seed, sharper=1.5)).ece() for seed in range(60)]
    assert abs(np.mean([one["debiased"] for one in off]) - truth) < 0.006
    assert np.mean([one["low"] <= truth <= one["high"] for one in off]) >= 0.93


def test_the_confidence_sequence_holds_at_every_number_of_labels() -> None:
    missed = 0
    for seed in range(200):
        rows, sums = drawn(2000, seed), Summary()
        for start in range(0, 2000, 50):
            sums.add(Summary.of(rows[start : start + 50]))
            gap = sums.gap()
            if not gap["low"] <= 0 <= gap["high"]:
                missed += 1
                break
    assert missed <= 20  # 5 % are 10, with three standard errors


def test_a_few_labels_that_agree_say_next_to_nothing_of_the_gap() -> None:
    for n in (1, 2):
        gap = Summary.of(records([0.4] * n, [0] * n)).gap()
        assert gap["value"] == pytest.approx(0.4, abs=1e-8)
        assert (gap["low"], gap["high"]) == (-1.0, 1.0)
    for seed in range(200):
        rows = drawn(20, seed)
        gaps = [Summary.of(rows[: n + 1]).gap() for n in range(20)]
        assert all(gap["low"] <= 0 <= gap["high"] for gap in gaps)


def test_a_label_that_was_impossible_is_counted_and_leaves_the_likelihood_finite() -> None:
    rows = records([0.9, 0.8], [1, 0])
    rows["log_p"][1] = -np.inf
    found = Summary.of(rows).measures()
    assert found["impossible"] == 1
    assert found["nll"] == pytest.approx(-np.log(0.9), abs=1e-8)


def test_sets_tell_how_often_they_held_the_label_and_what_was_asked() -> None:
    rows = records([0.9] * 4, [1] * 4)
    rows["alpha"] = [0.1, 0.1, 0.2, np.nan]
    rows["in_set"] = [True, True, False, True]
    found = Summary.of(rows).measures()["coverage"]
    assert found["rows"] == 3
    assert found["value"] == pytest.approx(2 / 3)
    assert found["asked"] == pytest.approx((0.9 + 0.9 + 0.8) / 3, abs=1e-8)
    assert 0 < found["low"] < 2 / 3 < found["high"] < 1


def test_sums_are_taken_back_to_the_last_digit() -> None:
    rows = drawn(500, 4)
    whole, kept = Summary.of(rows), Summary.of(rows[:300])
    whole.add(Summary.of(rows[300:]), -1)
    assert asdict(whole) == asdict(kept)
    kept.add(Summary.of(rows[:300]), -1)
    assert asdict(kept) == asdict(Summary())


def test_without_rows_there_are_no_measures() -> None:
    found = Summary().measures()
    assert found["labels"] == 0
    assert found["bins"] == []
    assert all(found[name] is None for name in ("accuracy", "nll", "brier", "ece", "gap", "coverage"))


def test_a_confidence_of_0_and_of_1_has_a_bin() -> None:
    sums = Summary.of(records([0.0, 1.0], [0, 1]))
    assert sums.bins[0] == [1, 0, 0]
    assert sums.bins[-1] == [1, 1, STEPS]
