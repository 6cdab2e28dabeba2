"""When labels count, as it is written."""

import pytest

from service.errors import UsedWrongly
from service.journal.policy import ARRIVAL, Policy, parse_policy

HOUR_NS = 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("arrival", ARRIVAL),
        ("matured:72h", Policy(72 * HOUR_NS)),
        ("matured:0.5h", Policy(HOUR_NS // 2)),
        ("matured:72h:default=3", Policy(72 * HOUR_NS, 3)),
        ("matured:2160h:default=no fraud", Policy(2160 * HOUR_NS, "no fraud")),
    ],
)
def test_a_policy_is_read(text: str, policy: Policy) -> None:
    assert parse_policy(text) == policy
    assert policy.name == text.partition(":")[0]


@pytest.mark.parametrize("text", ["", "Arrival", "matured", "matured:72", "matured:-1h", "matured:72h:3"])
def test_what_is_none_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(UsedWrongly, match=r"--label-policy .* is .*; expected arrival, matured:72h or .* of hours"):
        parse_policy(text)
