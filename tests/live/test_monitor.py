"""The monitor: a fold that no division of the labels changes, and what it says of groups, sets and epochs."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from service.live.monitor import LIVE_ROWS, MOST_GROUPS, Monitor
from service.live.records import Records
from service.live.reference import ClassReference, Reference
from service.live.report import monitors, report, warnings
from tests.live.made import EXACT, FITTED, SECOND, drawn, path, records

BIASED = Reference(
    EXACT,
    "fit",
    ClassReference(np.zeros(2), np.zeros(2), np.array([True, False]), np.zeros(2), np.zeros(2), bias_armed=True),
)


def with_groups(rows: Records, names: list[str], seed: int = 0) -> Records:
    rows["group"] = np.random.default_rng(seed).choice(np.array(names, object), len(rows))
    return rows


def probabilities(rows: Records) -> Any:
    """Of two classes, the first of which was answered."""
    return np.stack([rows["confidence"], 1 - rows["confidence"]], axis=1)


def whole(rows: Records, reference: Reference = FITTED) -> Monitor:
    monitor = Monitor(reference)
    monitor.update(rows, probabilities(rows))
    return monitor


def scope(monitor: Monitor, name: str, null: str = "as fitted") -> dict[str, Any]:
    return next(one for one in monitors(monitor) if (one["scope"], one["null"]) == (name, null))


@pytest.mark.parametrize("reference", [FITTED, BIASED, Reference()])
def test_the_state_is_the_same_to_the_bit_however_the_labels_were_cut(reference: Reference) -> None:
    rows = with_groups(drawn(2750, 0, sharper=1.3), ["a", "b", "c", "d"])
    rows["alpha"], rows["in_set"], rows["apart"][::7] = 0.1, rows["confidence"] > 0.2, True
    once, random, monitor = whole(rows, reference), np.random.default_rng(1), Monitor(reference)
    cuts = np.unique([0, 2750, *random.integers(0, 2750, 120).tolist()])
    for start, stop in pairwise(cuts):
        part = rows[start:stop]
        monitor.update(part, probabilities(part))
        monitor = Monitor.restore(reference, json.loads(json.dumps(monitor.state())))
    assert json.dumps(monitor.state()) == json.dumps(once.state())
    assert report(monitor) == report(once)


def test_the_order_inside_a_block_changes_no_evidence() -> None:
    rows = with_groups(drawn(1050, 0, sharper=1.3), ["b", "a"])
    other, random = rows.copy(), np.random.default_rng(0)
    for start in range(0, 1050, 100):
        random.shuffle(other[start : start + 100])
    other["index"] = rows["index"]
    one, two = monitors(whole(rows, BIASED)), monitors(whole(other, BIASED))
    assert [x["e"] for x in one] == [x["e"] for x in two]
    assert len(one) == 7


def test_four_workers_give_the_evidence_of_one() -> None:
    rows = with_groups(drawn(1200, 0, sharper=1.3), ["a", "b"])
    one, four = Monitor(BIASED), Monitor(BIASED)
    for start in range(0, 1200, 60):
        stop = min(start + 60, start // 100 * 100 + 100)
        for low, high in ((start, stop), (stop, start + 60)):
            part = rows[low:high]
            one.update(part, probabilities(part))
            shares = [four.share() for _ in range(4)]
            for i, share in enumerate(shares):
                share.fold(part[i::4], probabilities(part[i::4]))
            for share in shares:
                four.merge(share)
    assert four.n == 1200
    assert [x["e"] for x in monitors(one)] == [x["e"] for x in monitors(four)]
    assert [x["alarm"] for x in monitors(one)] == [x["alarm"] for x in monitors(four)]
    assert report(one)["ece"] == report(four)["ece"]
    assert report(one, "a")["bins"] == report(four, "a")["bins"]


def test_a_share_that_is_larger_than_the_rest_of_the_block_is_refused() -> None:
    monitor = whole(drawn(50, 0))
    share = monitor.share()
    share.fold(drawn(51, 1))
    with pytest.raises(ValueError, match=r"the share has 51 labels; expected at most 50"):
        monitor.merge(share)


def test_its_evidence_is_that_of_the_stream() -> None:
    rows = drawn(2000, 5, sharper=1.4)
    monitor = whole(rows)
    e = path(rows["confidence"], rows["predicted"] == rows["label"])
    found = scope(monitor, "all")
    assert found["e"] == pytest.approx(e[-1], rel=1e-9)
    assert found["max_e"] == pytest.approx(e.max(), rel=1e-9)
    assert scope(monitor, "model")["alarm_at"] == (2 / 3 * e + 1 / 3 >= 100).argmax()


@pytest.mark.parametrize("armed", [[True, True], [True, False], [False, False]])
@pytest.mark.parametrize("bias_armed", [True, False])
def test_whichever_classes_are_armed_all_evidence_together_begins_at_1(armed: list[bool], bias_armed: bool) -> None:
    none = np.zeros(2)
    classes = ClassReference(none, none, np.array(armed), none, none, bias_armed=bias_armed)
    monitor = Monitor(Reference(EXACT, "fit", classes))
    assert monitor.evidence is not None
    assert monitor.evidence.e == pytest.approx(1.0, rel=1e-12)
    assert len(report(monitor)["unarmed"]) == 3 - sum(armed) - bias_armed


def test_an_alarm_stays_when_its_evidence_falls() -> None:
    monitor = whole(records([0.9] * 8, [0] * 8))
    at = scope(monitor, "model")["alarm_at"]
    monitor.update(records([0.9] * 3000, np.arange(3000) % 10 != 0, start=8))
    found = scope(monitor, "model")
    assert found["e"] < 20
    assert found["alarm"]
    assert found["warning"]
    assert found["alarm_at"] == at
    assert found["alarm_ns"] == (at + 1 + 10) * SECOND
    assert found["p"] == 1 / found["max_e"] <= 0.01


def test_labels_that_were_counted_or_have_a_gap_are_refused() -> None:
    monitor = whole(drawn(150, 0))
    for start in (149, 151, 0):
        with pytest.raises(ValueError, match="out of order; expected those from number 150 on"):
            monitor.update(records([0.9], [1], start=start))
    assert monitor.n == 150


def test_the_guilty_group_is_named_and_no_other() -> None:
    names = [f"tenant {i}" for i in range(10)]
    rows = with_groups(drawn(6000, 0), names)
    guilty = rows["group"] == "tenant 3"
    wrong = guilty & (np.random.default_rng(1).random(6000) < 0.4)
    rows["label"][wrong] = 1
    monitor = whole(rows)
    named = {one["scope"] for one in monitors(monitor) if one["alarm"] and one["null"] == "as fitted"}
    assert named >= {"model", "group tenant 3"}
    assert not named & {f"group {name}" for name in names if name != "tenant 3"}
    only = report(monitor, "tenant 3")
    assert [one["scope"] for one in only["monitors"]] == ["group tenant 3"]
    assert only["labels"] == guilty.sum()
    assert only["accuracy"] < report(monitor)["accuracy"]


def test_more_groups_than_can_be_told_apart_are_counted_together_and_said() -> None:
    rows = drawn(400, 0)
    rows["group"] = [f"g{i:03}" for i in range(400)]
    monitor = whole(rows)
    assert len(monitor.groups) == MOST_GROUPS
    assert [one["code"] for one in warnings(monitor)] == ["too_many_groups"]
    assert monitor.summary.rows == 400


def test_a_class_that_is_answered_too_often_is_seen_where_it_is_armed() -> None:
    random = np.random.default_rng(0)
    p = random.uniform(0.3, 0.9, 4000)
    rows = records(p, random.random(4000) < p * 0.9)
    monitor = whole(rows, BIASED)
    assert scope(monitor, "class bias")["alarm"]
    assert scope(monitor, "class 0")["alarm"]
    blind = Monitor(BIASED)
    blind.update(rows)
    assert scope(blind, "class bias")["e"] == 1
    assert "class 1" not in {one["scope"] for one in monitors(monitor)}


def test_a_head_without_a_curve_gets_one_from_its_first_labels() -> None:
    rows = drawn(9000, 0, sharper=1.3)
    monitor = whole(rows[:LIVE_ROWS], Reference())
    assert report(monitor)["reference"] == "live"
    monitor.update(rows[LIVE_ROWS:])
    found = scope(monitor, "model")
    assert found["n"] == 8000
    assert not found["alarm"]
    assert report(whole(rows[:900], Reference()))["reference"] == "none"


def test_rows_apart_are_measured_and_bet_on_under_the_absolute_null_alone() -> None:
    rows = drawn(500, 0)
    rows["apart"][100:] = True
    monitor = whole(rows)
    assert scope(monitor, "all")["n"] == 100
    assert scope(monitor, "all", "ece<=0.02")["n"] == 500
    assert report(monitor)["labels"] == 500


def test_an_error_above_the_bound_alarms_under_the_absolute_null_and_one_below_does_not() -> None:
    random = np.random.default_rng(0)
    for off, alarms in ((0.015, False), (0.1, True)):
        p = random.uniform(0.5, 0.9, 10_000)
        monitor = whole(records(p, random.random(10_000) < p - off))
        assert scope(monitor, "all", "ece<=0.02")["alarm"] is alarms


def test_sets_that_hold_too_few_labels_alarm() -> None:
    random = np.random.default_rng(0)
    for share, alarms in ((0.9, False), (0.8, True)):
        rows = drawn(3000, 1)
        rows["alpha"], rows["in_set"] = 0.1, random.random(3000) < share
        assert scope(whole(rows), "prediction sets", "coverage>=1-alpha")["alarm"] is alarms


def test_an_acknowledged_alarm_begins_a_new_epoch_with_evidence_of_1() -> None:
    monitor = whole(with_groups(drawn(1050, 0, sharper=1.6), ["a", "b"]))
    assert scope(monitor, "model")["alarm"]
    monitor.acknowledge("anna@example.org", 5)
    found = report(monitor)
    assert found["epoch"] == 1
    assert {k: found["epochs"][0][k] for k in ("until", "by", "at_ns")} == {
        "until": 1050,
        "by": "anna@example.org",
        "at_ns": 5,
    }
    assert found["labels"] == 1050
    assert all(one["e"] == pytest.approx(1) and not one["alarm"] for one in found["monitors"])
    assert {one["scope"] for one in found["monitors"]} >= {"group a", "group b"}
    assert {one["since"] for one in found["monitors"]} == {1050}
    monitor.update(drawn(2000, 1)[1050:])
    assert not scope(monitor, "model")["alarm"]


def test_a_replaced_label_changes_the_measures_and_not_the_evidence() -> None:
    rows = with_groups(drawn(500, 0), ["a"])
    monitor = whole(rows)
    e, before = scope(monitor, "all")["e"], report(monitor)["accuracy"]
    after = rows[10:11].copy()
    after["label"] = 1 - after["label"]
    monitor.replace(rows[10:11], after)
    assert scope(monitor, "all")["e"] == e
    assert abs(report(monitor)["accuracy"] - before) == pytest.approx(1 / 500)
    assert report(monitor, "a")["accuracy"] == report(monitor)["accuracy"]
