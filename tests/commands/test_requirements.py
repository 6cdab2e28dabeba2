"""Bounds, as somebody writes them for a CI."""

import pytest

from service.commands.requirements import Requirement, check, judge
from service.errors import RequirementFailed, UsedWrongly

METRICS = {"ece": 0.02, "nll": 0.5, "accuracy": 0.9}
BASELINE = {"ece": 0.03, "nll": 0.45, "accuracy": 0.9}


@pytest.mark.parametrize(
    ("text", "holds", "written"),
    [
        ("ece<0.03", True, "ece<0.03"),
        (" ece < .02 ", False, "ece<0.02"),
        ("ece<=2e-2", True, "ece<=0.02"),
        ("accuracy>=baseline", True, "accuracy>=baseline"),
        ("accuracy>baseline", False, "accuracy>baseline"),
        ("nll<=baseline", False, "nll<=baseline"),
        ("nll <= baseline + 0.1", True, "nll<=baseline+0.1"),
        ("nll>=baseline-1e-3", True, "nll>=baseline-0.001"),
        ("nll>-1", True, "nll>-1"),
        ("impossible<=0", True, "impossible<=0"),
    ],
)
def test_a_bound_is_kept_or_not(text: str, holds: bool, written: str) -> None:
    (verdict,) = judge([Requirement.parse(text)], METRICS, BASELINE)
    assert (verdict.holds, str(verdict.requirement)) == (holds, written)


@pytest.mark.parametrize("text", ["ece", "ece=0.1", "ece<", "<0.1", "ece<0.1x", "ece<baseline*2", "ece<nan", ""])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(UsedWrongly, match="expected a metric, <, <=, > or >=, and a number or baseline"):
        Requirement.parse(text)


def test_a_metric_that_is_not_there_and_a_baseline_that_is_not_are_refused() -> None:
    with pytest.raises(UsedWrongly, match="there is no metric 'mood'; expected one of ece, nll, accuracy"):
        judge([Requirement.parse("mood<1")], METRICS, BASELINE)
    with pytest.raises(UsedWrongly, match=r"ece<baseline: there is no baseline; expected --baseline MODEL"):
        judge([Requirement.parse("ece<baseline")], METRICS, None)


def test_an_infinite_likelihood_keeps_no_bound() -> None:
    (verdict,) = judge([Requirement.parse("nll<9")], {"impossible": 0.1}, None)
    assert not verdict.holds


def test_all_that_is_not_kept_is_said_in_one_sentence() -> None:
    verdicts = judge([*map(Requirement.parse, ("ece<0.01", "accuracy>0.8", "nll<=baseline"))], METRICS, BASELINE)
    sentence = "ece is 0.02; required ece<0.01; nll is 0.5; required nll<=baseline, which is 0.45"
    with pytest.raises(RequirementFailed) as error:
        check(verdicts)
    assert str(error.value) == sentence
    assert error.value.exit_code == 4
    check(verdicts[1:2])
