"""What metadata may say of a head that is served."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from service.engine.head import Head
from service.engine.numbers import check_conformal
from service.errors import HeadError
from service.metadata import KEY
from tests.heads_made import head

NAN, INF = float("nan"), float("inf")
FLOAT_LIST = [NAN, INF, -INF, "1", None]
TABLE = {"n": 3, "values": [0.1, 0.2, 0.3]}
SCORES = {"score": "lac", "temperature": 1.0, "randomised": False, "penalty": 0.0, "free_ranks": 0, "by": "all"}


def with_metadata(path: Path, **changes: Any) -> Path:
    """A head of three classes whose metadata say something else."""
    model = onnx.load(head(path, classes=3))
    stored = json.loads(next(prop.value for prop in model.metadata_props if prop.key == KEY))
    calibrator = {**stored["calibrator"], **changes.pop("calibrator", {})}
    helper.set_model_props(model, {KEY: json.dumps({**stored, **changes, "calibrator": calibrator})})
    onnx.save(model, path)
    return path


def with_scores(path: Path, tables: list[Any], **changes: Any) -> Path:
    """A head of three classes with these conformal scores."""
    return with_metadata(path, conformal={"default": "x", "x": {**SCORES, "tables": tables, **changes}})


@pytest.mark.parametrize("value", [0.0, -1.0, INF, NAN, "warm", None, 10**400])
@pytest.mark.parametrize("of_group", [False, True])
def test_a_temperature_that_is_none_is_refused(value: Any, of_group: bool, tmp_path: Path) -> None:
    calibrator = {"group_temperatures": {"a": value}} if of_group else {"temperature": value}
    path = with_metadata(tmp_path / "model.onnx", calibrator=calibrator)
    of = " of the group a" if of_group else ""
    with pytest.raises(HeadError, match=f"has the temperature .*{of} in its metadata; expected a finite number above"):
        Head(path)


@pytest.mark.parametrize("value", [NAN, INF, -0.1, 1.0, "much", [0.1]])
def test_a_laplace_weight_that_is_none_is_refused(value: Any, tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "model.onnx", calibrator={"laplace": value})
    with pytest.raises(HeadError, match=r"has the weight of the Laplace mix .*; expected a number from 0 to below 1"):
        Head(path)


@pytest.mark.parametrize("value", [*FLOAT_LIST, 1e39])
def test_a_slope_that_is_no_number_is_refused(value: Any, tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "model.onnx", calibrator={"slope": [1.0, 2.0, value]})
    with pytest.raises(HeadError, match=r"has the slope .* of class 2 in its metadata; expected a finite number"):
        Head(path)


@pytest.mark.parametrize("value", [NAN, -0.1, 1.1])
@pytest.mark.parametrize("name", ["thresholds", "prior"])
def test_a_share_that_is_none_is_refused(name: str, value: float, tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "model.onnx", **{name: [0.5, value, 0.5]})
    with pytest.raises(HeadError, match=f"has the {name} .* of class 1 in its metadata; expected a number from 0 to 1"):
        Head(path)


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("name", ["thresholds", "prior", "slope"])
def test_numbers_for_other_classes_are_refused(name: str, n: int, tmp_path: Path) -> None:
    changes: dict[str, Any] = {name: [0.5] * n}
    path = with_metadata(tmp_path / "model.onnx", **({"calibrator": changes} if name == "slope" else changes))
    with pytest.raises(HeadError, match=f"has {name} for {n} class.* and serves 3 classes; expected one number for"):
        Head(path)


@pytest.mark.parametrize("slope", [2.0, "2.0", {"a": 1}])
def test_a_slope_that_is_no_list_is_refused(slope: Any, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="has a slope in its metadata that is no list"):
        Head(with_metadata(tmp_path / "model.onnx", calibrator={"slope": slope}))


def test_groups_that_are_no_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="has group_temperatures in its metadata that are no object"):
        Head(with_metadata(tmp_path / "model.onnx", calibrator={"group_temperatures": [1.0]}))


def test_an_ensemble_without_members_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="has the metadata of an ensemble; expected the input logits of"):
        Head(with_metadata(tmp_path / "model.onnx", ensemble={"average": "logits"}))


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("label", {"labels": ["a", "b", "c" * 257]}),
        ("method", {"calibrator": {"method": "c" * 257}}),
        ("group", {"calibrator": {"group_temperatures": {"c" * 257: 1.0}}}),
    ],
)
def test_a_name_that_would_make_answers_long_is_refused(what: str, changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=f"has the {what} 'c+'... of 257 characters in its metadata; expected at most"):
        Head(with_metadata(tmp_path / "model.onnx", **changes))


@pytest.mark.parametrize(
    ("tables", "changes", "sentence"),
    [
        ([TABLE], {"score": "best"}, "of another kind; expected lac, aps or raps"),
        ([TABLE], {"by": "chance"}, "of another kind"),
        ([TABLE], {"temperature": NAN}, "has the temperature nan of its conformal scores"),
        ([TABLE], {"temperature": 0}, "has the temperature 0.* of its conformal scores"),
        ([TABLE], {"penalty": -1.0}, "has the penalty -1.0 of its conformal scores"),
        ([TABLE], {"free_ranks": "two"}, "has the free_ranks 'two' of its conformal scores"),
        ([], {}, "has 0 tables of conformal scores in its metadata; expected 1"),
        ([TABLE] * 2, {"by": "class"}, "has 2 tables of conformal scores in its metadata; expected 3"),
        ([TABLE] * 2, {"by": "group"}, "has 2 tables of conformal scores in its metadata; expected 0"),
        ([{"n": 2, "values": [0.1, NAN]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [-INF, 0.1]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [None, 0.1]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [0.2, 0.1]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [[0.1], [0.2]]}], {}, "no numbers or not in order"),
        ([{"n": 1, "values": [0.1, 0.2]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [0.1, 0.2], "ranks": [2, 1]}], {}, "no numbers or not in order"),
        ([{"n": 2, "values": [0.1, 0.2], "ranks": [2]}], {}, "no numbers or not in order"),
        ([{"n": 10**400, "values": [0.1]}], {}, "no numbers or not in order"),
        ([{"n": 1, "values": [10**400]}], {}, "that do not read: OverflowError"),
    ],
)
def test_conformal_scores_that_no_fit_writes_are_refused(
    tables: list[Any], changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(HeadError, match=sentence):
        Head(with_scores(tmp_path / "model.onnx", tables, **changes))


def test_a_class_or_a_group_without_a_score_has_a_set_that_is_full(tmp_path: Path) -> None:
    path = with_scores(tmp_path / "model.onnx", [TABLE, {"n": 0, "values": []}, TABLE], by="class")
    scores = Head(path).signature.conformal
    assert scores is not None
    assert scores.sets(np.log(np.full((1, 3), 1 / 3)), 0.5).tolist() == [[False, True, False]]
    by_group = check_conformal(replace(scores, by="group", tables=scores.tables[:1]), 3, n_groups=2)
    assert by_group.sets(np.log(np.full((1, 3), 1 / 3)), 0.5, groups=np.array([1])).all()


def test_a_score_that_is_infinite_makes_a_set_full(tmp_path: Path) -> None:
    """Where a family of sparse probabilities gave labels exactly 0, the file has null for their scores."""
    scores = Head(with_scores(tmp_path / "model.onnx", [{"n": 3, "values": [0.1, None, None]}])).signature.conformal
    assert scores is not None
    assert scores.sets(np.log(np.full((1, 3), 1 / 3)), 0.3).tolist() == [[True, True, True]]
