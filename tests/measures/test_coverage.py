"""What prediction sets hold, counted as a head answers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.calibration import conformal
from service.datasets.dataset import Chunk
from service.engine.signature import Signature
from service.heads.stages import Stages
from service.measures.coverage import observe_sets
from service.measures.scores import Answers, collect, from_logs
from tests.calibration.conftest import drawn

DATA = replace(drawn(6000), groups=np.arange(6000) % 2, group_names=("a", "b"))


def answer(chunk: Chunk) -> Answers:
    return from_logs(Stages(2.0).predict(chunk), chunk.labels)


def model(**options: Any) -> Signature:
    """A model with sets that were fitted on other rows; its groups are b and a, in this order."""
    rows = drawn(6000, seed=1)
    logs = np.concatenate([Stages(2.0).predict(chunk) for chunk in rows.chunks()])
    how = {"randomised": False, "by": "all", **options}
    fitted = conformal.fit(logs, rows.labels, "aps", groups=np.arange(6000) % 2, **how)
    return Signature(conformal=fitted, groups={"b": 1, "a": 2})


@pytest.mark.parametrize("options", [{}, {"randomised": True}, {"by": "class"}, {"by": "group"}], ids=str)
def test_the_share_of_rows_is_what_alpha_says(options: dict[str, Any]) -> None:
    sets = observe_sets(model(**options), DATA, answer, 0.1)
    assert sets is not None
    assert (collect(DATA, sets).nll == collect(DATA, answer).nll).all()
    assert sets.covered.shape == sets.sizes.shape == (6000,)
    assert 0.885 < sets.covered.mean() < (0.93 if options else 0.96)
    assert 1 <= sets.sizes.mean() < 5
    half = (np.arange(6000) < 3000).astype(float)
    assert sets.metrics(half) == {"coverage": sets.covered[:3000].mean(), "set_size": sets.sizes[:3000].mean()}


def test_groups_are_found_by_their_names() -> None:
    """The table of b is the first: with that of a, which is for surer rows, its sets would miss more labels."""
    by_group = model(by="group")
    assert by_group.conformal is not None
    first, second = by_group.conformal.tables
    assert first.threshold(0.1) != second.threshold(0.1)
    sets = observe_sets(by_group, DATA, answer, 0.1)
    assert sets is not None
    collect(DATA, sets)
    logs = np.log(answer(next(DATA.chunks(6000))).probabilities)
    assert DATA.groups is not None
    inside = by_group.conformal.sets(logs, 0.1, groups=1 - DATA.groups)
    assert (sets.sizes == inside.sum(axis=1)).all()


def test_without_sets_or_without_the_groups_nothing_is_counted() -> None:
    by_group = model(by="group")
    assert observe_sets(Signature(), DATA, answer, 0.1) is None
    assert observe_sets(by_group, replace(DATA, groups=None, group_names=()), answer, 0.1) is None
    assert observe_sets(by_group, replace(DATA, group_names=("a", "new")), answer, 0.1) is None
