"""A refit from its proposal to its end: a fold of labels and of deeds."""

import json
from typing import Any

import numpy as np
import pytest

from service.live.monitor import Monitor
from service.live.proposal import MOST_EVENTS, Refit, describe, state_of, tag_of, unfit, why_not
from service.live.records import RECORD, Records
from service.live.refit import Labelled, Shadow
from service.metadata import Metadata
from tests.live.made import FITTED, SECOND, drawn
from tests.live.test_refit import labelled

HEAD = Metadata(classes=10, calibrator={"method": "temperature", "temperature": 2.0})
CALM = Monitor(FITTED)


def records(n: int, start: int = 0) -> Records:
    rows = np.zeros(n, RECORD)
    rows["index"] = np.arange(start, start + n)
    rows["predicted_ns"] = (1 + rows["index"]) * SECOND
    rows["labelled_ns"] = rows["predicted_ns"] + SECOND
    return rows


def proposed(n: int = 0, sharper: float = 1.6) -> Refit:
    """One that was proposed at the label 0, after n labels."""
    refit = Refit()
    refit.propose("request", "ann", 0, 0, 5 * SECOND)
    if n:
        refit.update(records(n), labelled(2000, sharper).part(0, n))
    return refit


def test_it_is_proposed_at_the_alarm_of_an_epoch_once() -> None:
    monitor, refit = Monitor(FITTED), Refit()
    refit.see_alarm(monitor)
    assert state_of(refit, "propose") == "none"
    monitor.update(drawn(1000, 0, sharper=1.8))
    assert monitor.evidence is not None
    refit.see_alarm(monitor)
    at = min(one.latch.alarm_at for one in (monitor.evidence, monitor.absolute) if one.latch.alarm_at is not None)
    assert (refit.because, refit.start, state_of(refit, "propose")) == ("alarm", at + 1, "collecting")
    refit.dismiss("ann", 9)
    refit.see_alarm(monitor)
    assert state_of(refit, "propose") == "dismissed"
    monitor.acknowledge("ann", 10)
    monitor.update(drawn(2000, 1, sharper=1.8)[1000:])
    refit.see_alarm(monitor)
    assert state_of(refit, "propose") == "collecting"


@pytest.mark.parametrize("end", ["promote", "put back"])
def test_a_version_that_was_replaced_proposes_nothing_by_itself(end: str) -> None:
    monitor, refit = Monitor(FITTED), Refit(back=0.7)
    refit.propose("request", "ann", 0, 0, 5)
    refit.put_back("3", 9) if end == "put back" else refit.promote("2", "ann", 9)
    monitor.acknowledge("ann", 9)
    monitor.update(drawn(1000, 0, sharper=1.8))
    refit.see_alarm(monitor)
    assert not refit.is_running


def test_it_collects_shadows_and_earns_its_place() -> None:
    assert [state_of(proposed(n), "propose") for n in (0, 99, 100, 2000)] == [
        "collecting", "collecting", "shadowing", "earned",
    ]  # fmt: skip
    assert state_of(proposed(2000), "off") == "off"
    refit = proposed(2000)
    refit.promote("2", "ann", 9 * SECOND)
    assert state_of(refit, "propose") == "promoted"
    told = describe(refit, 2.0, "propose")
    assert [one["what"] for one in told["history"]] == ["proposed"] + ["fitted"] * 5 + ["promoted"]
    last = told["history"][-1]
    assert (last["to_version"], last["by"], last["at"], last["labels"]) == ("2", "ann", 9.0, 2000)
    assert last["e"] > 100
    assert last["difference"] < 0
    assert [one["labels"] for one in told["history"][1:6]] == [100, 200, 400, 800, 1600]
    assert [one["at"] for one in told["history"][1:6]] == [101, 201, 401, 801, 1601]


def test_only_labels_after_the_proposal_count() -> None:
    refit = Refit()
    refit.propose("request", "ann", 0, 250, 5)
    refit.update(records(600), labelled(600, 1.6))
    assert refit.shadow is not None
    expected = Shadow()
    some = labelled(600, 1.6)
    expected.update(some.part(250, 600))
    assert refit.shadow.state() == expected.state()
    assert refit.answered_ns == [251 * SECOND, 600 * SECOND]


def test_the_state_does_not_depend_on_how_labels_are_cut_and_goes_on_from_json() -> None:
    whole, cut, some, rows = proposed(1700), proposed(), labelled(2000, 1.6).part(0, 1700), records(1700)
    whole.back, cut.back = Shadow(0.7), Shadow(0.7)
    whole.back.update(some)
    for start in range(0, 1700, 230):
        part = slice(start, start + 230)
        cut.update(rows[part], Labelled(some.log_p[part], some.sizes, some.columns[part]))
        cut = Refit.restore(json.loads(json.dumps(cut.state())))
    assert json.dumps(cut.state()) == json.dumps(whole.state())


def test_the_version_before_may_win_its_place_back_once() -> None:
    refit = Refit(back=0.7)
    assert refit.wants_labels
    refit.update(records(3000), labelled(3000, 0.7))
    assert refit.back is not None
    assert refit.back.has_earned
    assert describe(refit, 2.0, "propose")["back"]["max_e"] > 100
    refit.put_back("3", 9 * SECOND)
    assert not refit.wants_labels
    (event,) = refit.history
    assert (event["what"], event["to_version"]) == ("put back", "3")
    assert event["e"] > 100


def test_a_refit_that_runs_ends_when_the_version_before_is_put_back() -> None:
    refit = Refit(back=0.7)
    refit.propose("request", "ann", 0, 0, 5)
    refit.put_back("3", 9)
    assert state_of(refit, "propose") == "dismissed"


def test_the_tag_changes_with_the_proposal_the_temperature_and_the_end() -> None:
    tags = [tag_of(one) for one in (Refit(), proposed(), proposed(100), proposed(150), proposed(200))]
    assert tags[2] == tags[3]
    ended = proposed(200)
    ended.dismiss("ann", 5)
    assert len({*tags, tag_of(ended)}) == 5


def test_history_is_bounded() -> None:
    refit = Refit()
    for i in range(MOST_EVENTS):
        refit.propose("request", "ann", 0, 0, i)
        refit.dismiss("ann", i)
    assert len(refit.history) == MOST_EVENTS
    assert refit.history[-1]["at"] == pytest.approx((MOST_EVENTS - 1) / 1e9)


@pytest.mark.parametrize(
    ("about", "sentence"),
    [
        (None, "the file of the head was not there when its answers were read; expected it in the models folder"),
        ({"family": "sparsemax"}, "the head is of the family sparsemax; expected softmax"),
        ({"classes": None}, "the head serves any number of classes; expected one of a fixed number"),
        (
            {"calibrator": {"temperature": 2.0, "laplace": 0.1}},
            "the head mixes in the uniform distribution behind its temperature; expected one without --laplace",
        ),
    ],
)
def test_heads_that_end_in_something_else_are_told(about: dict[str, Any] | None, sentence: str) -> None:
    head = None if about is None else HEAD.model_copy(update=about)
    assert sentence in str(unfit(head))
    assert why_not(proposed(400), head, CALM, 1.0, sampled=False) == unfit(head)


def test_a_stage_for_the_best_class_is_no_hindrance() -> None:
    calibrator = {"temperature": 2.0, "laplace": 0.1, "top": {"offset": 1.0}}
    assert unfit(HEAD.model_copy(update={"calibrator": calibrator})) is None


def test_what_must_not_be_promoted_is_said_whatever_the_evidence() -> None:
    assert why_not(proposed(400), HEAD, CALM, 1.0, sampled=False) is None
    assert "fitted on 100 labels; expected at least 200" in str(why_not(proposed(199), HEAD, CALM, 1.0, sampled=False))
    assert "fitted on 0 labels; expected at least 200" in str(why_not(proposed(), HEAD, CALM, 1.0, sampled=False))
    assert "49 % of the answers" in str(why_not(proposed(400), HEAD, CALM, 0.49, sampled=False))
    assert why_not(proposed(400), HEAD, CALM, 0.49, sampled=True) is None
    assert "expected between 1/4 and 4 times" in str(why_not(proposed(400, 6.0), HEAD, CALM, 1.0, sampled=False))
    blind = proposed()
    blind.left_out = 3
    assert "expected --journal-what logits" in str(why_not(blind, HEAD, CALM, 1.0, sampled=False))
    warned = Monitor(FITTED)
    warned.disagreement.at = 7
    assert "expected a delay that does not" in str(why_not(proposed(400), HEAD, warned, 1.0, sampled=False))
