"""When labels count."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from service.errors import UsedWrongly


@dataclass(frozen=True)
class Policy:
    """When labels count.

    Attributes:
        after_ns: how old an answer must be; none counts labels as they come.
        default: the label, by index or name, of an answer that has got none by then; none leaves it out.
    """

    after_ns: int | None = None
    default: int | str | None = None

    @property
    def name(self) -> Literal["arrival", "matured"]:
        """As monitors have it."""
        return "arrival" if self.after_ns is None else "matured"


ARRIVAL: Final = Policy()
HOURS: Final = re.compile(r"matured:(\d+(?:\.\d+)?)h(?::default=(.+))?")


def parse_policy(text: str) -> Policy:
    """`arrival`, or `matured:72h`, or `matured:72h:default=LABEL`.

    Raises:
        UsedWrongly: it is none of them.
    """
    if text == "arrival":
        return ARRIVAL
    found = HOURS.fullmatch(text)
    if found is None:
        raise UsedWrongly(
            f"--label-policy (CALIBRANT_LABEL_POLICY) is {text!r}; expected arrival, matured:72h or "
            "matured:72h:default=LABEL, with any number of hours"
        )
    hours, default = found.groups()
    label = int(default) if default is not None and default.isdecimal() else default
    return Policy(round(float(hours) * 3600e9), label)
