"""Bounds that metrics must keep: `ece<0.03`, `nll<=baseline`, `brier<baseline+0.001`."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from service.errors import RequirementFailed, UsedWrongly

OPERATORS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
FORM: Final = re.compile(rf"\s*(\w+)\s*(<=|>=|<|>)\s*(?:(baseline)\s*([+-]\s*{NUMBER})?|([+-]?{NUMBER}))\s*")
BASELINE: Final = "baseline"
ABSENT: Final = {"nll": float("inf"), "impossible": 0.0}  # where labels got exactly 0, and where none did

Metrics = Mapping[str, float]


class Requirement(NamedTuple):
    """A metric, a comparison, and a bound: a number, which is added to the baseline's where it is relative."""

    metric: str
    sign: str
    bound: float
    relative: bool

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Read one.

        Raises:
            UsedWrongly: it is none.
        """
        found = FORM.fullmatch(text)
        if found is None:
            raise UsedWrongly(
                f"--require is {text!r}; expected a metric, <, <=, > or >=, and a number or baseline, as in 'ece<0.03'"
            )
        metric, sign, baseline, offset, number = found.groups()
        return cls(metric, sign, float((number or offset or "0").replace(" ", "")), baseline is not None)

    def __str__(self) -> str:
        """As it is written."""
        offset = f"{self.bound:+g}" if self.bound else ""
        return f"{self.metric}{self.sign}{f'{BASELINE}{offset}' if self.relative else f'{self.bound:g}'}"


class Verdict(NamedTuple):
    """A requirement, the metric that was measured, the bound as a number, and whether it is kept."""

    requirement: Requirement
    value: float
    bound: float
    holds: bool

    def __str__(self) -> str:
        """What is wrong, and what was required."""
        bound = f", which is {self.bound:.6g}" if self.requirement.relative else ""
        return f"{self.requirement.metric} is {self.value:.6g}; required {self.requirement}{bound}"


def judge(requirements: list[Requirement], metrics: Metrics, baseline: Metrics | None) -> list[Verdict]:
    """Hold metrics against requirements.

    Raises:
        UsedWrongly: a metric that there is not, or a baseline that was not given.
    """
    found = []
    for one in requirements:
        if one.relative and baseline is None:
            raise UsedWrongly(f"--require {one}: there is no baseline; expected --baseline MODEL")
        value = look_up(one.metric, metrics)
        bound = one.bound + (look_up(one.metric, baseline) if one.relative and baseline is not None else 0)
        found.append(Verdict(one, value, bound, OPERATORS[one.sign](value, bound)))
    return found


def look_up(name: str, metrics: Metrics) -> float:
    if name not in metrics and name not in ABSENT:
        raise UsedWrongly(f"--require: there is no metric {name!r}; expected one of {', '.join(metrics)}")
    return metrics.get(name, ABSENT.get(name, 0.0))


def check(verdicts: list[Verdict]) -> None:
    """Raise what is not kept.

    Raises:
        RequirementFailed: with all of them in one sentence.
    """
    if failed := [str(verdict) for verdict in verdicts if not verdict.holds]:
        raise RequirementFailed("; ".join(failed))
