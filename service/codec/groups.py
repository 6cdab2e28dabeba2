"""Group names to indices."""

import numpy as np
from numpy.typing import NDArray

from service.engine.signature import Signature
from service.errors import InvalidValue


def group_indices(given: str | list[str] | None, n: int, model: Signature) -> NDArray[np.int64] | None:
    """The index of each row's group, int64 `[N, 1]`; 0, the common temperature, for one never seen.

    None where no group came, or where the head has one temperature for all and groups are names for labels alone.
    """
    if given is None:
        return None
    if not model.groups and not model.names_groups:
        raise InvalidValue(f"the model {model.name} has one temperature for all; expected no group", code="no_groups")
    names = [given] * n if isinstance(given, str) else given
    if len(names) != n:
        raise InvalidValue(f"group has {len(names)} values; expected one, or one for each of {n} rows")
    if not model.groups:
        return None
    return np.array([[model.groups.get(name, 0)] for name in names], np.int64)
