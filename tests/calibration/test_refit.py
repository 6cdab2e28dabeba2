"""The story of a refit: of the new temperature, or not at all."""

import numpy as np
import pytest

from service.calibration.refit import story
from service.conformal import Conformal, Table
from service.live.reference import Reference
from service.live.refit import Labelled, temper
from service.measures.curve import ReferenceCurve
from service.metadata import Metadata
from tests.live.test_refit import labelled

OLD = Conformal("lac", 1.0, (Table.of(np.linspace(0, 1, 50)),))
WITH_SETS = Metadata(classes=10, conformal={"default": "aps", **{one: OLD.to_metadata() for one in ("lac", "aps")}})


def test_the_curve_and_the_sets_are_of_the_new_temperature() -> None:
    rows = labelled(3000, 1.5)
    found = story(rows, 1.5, WITH_SETS)
    r, _ = Reference(ReferenceCurve.from_metadata(found["reference_curve"])).expect(np.array([0.6, 0.9]))
    assert r == pytest.approx([0.6, 0.9], abs=0.03)
    assert set(found["conformal"]) == {"default", "lac", "aps"}
    assert found["conformal"]["default"] == "aps"
    later = labelled(4000, 1.5, seed=1)
    sets = Conformal.from_metadata(found["conformal"]["lac"]).sets(temper(later.log_p, later.sizes, 1.5), 0.1)
    assert sets[np.arange(4000), later.columns].mean() == pytest.approx(0.9, abs=0.02)
    assert len(found["class_reference"]["bias"]) == 10
    assert found["metrics"] == {}


def test_a_head_without_sets_gets_none() -> None:
    assert story(labelled(300, 1.5), 1.5, Metadata(classes=10))["conformal"] == {}


def test_where_not_all_classes_were_kept_there_is_a_curve_alone() -> None:
    some = labelled(400, 1.5)
    found = story(Labelled(some.log_p, np.array([1.0] * 9 + [20.0]), some.columns), 1.5, WITH_SETS)
    assert found["reference_curve"] is not None
    assert (found["class_reference"], found["conformal"]) == (None, {})


@pytest.mark.parametrize("n", [None, 199])
def test_without_enough_rows_nothing_is_left_of_the_old_temperature(n: int | None) -> None:
    found = story(None if n is None else labelled(n, 1.5), 1.5, WITH_SETS)
    assert found == {"reference_curve": None, "class_reference": None, "conformal": {}, "metrics": {}}


def test_sets_by_group_are_left_out() -> None:
    old = Conformal("lac", 1.0, (Table.of(np.linspace(0, 1, 50)),) * 2, by="group").to_metadata()
    assert story(labelled(300, 1.5), 1.5, Metadata(classes=10, conformal={"lac": old}))["conformal"] == {}
