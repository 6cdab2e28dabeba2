"""Groups, priors, sets by group and members: what is asked of a request can be asked of a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.cli import main
from tests import heads_made
from tests.calibration.conftest import drawn
from tests.commands.test_fit import fitted, saved
from tests.conftest import serving
from tests.scoring.files import NAMES, logits, read, save, score, table

ROWS = logits(200, 5)
TENANTS = np.where(np.arange(200) % 3 == 0, "x", "y")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a head that has groups, and sets for each of them."""
    folder = tmp_path_factory.mktemp("grouped")
    data = drawn(1200)
    path = saved(folder / "rows.npz", data, tenant=np.repeat(["x", "y"], 600))
    options = ("--group", "tenant", "--sets", "group", "--method", "temperature", "--no-report")
    fitted(folder, "--data", str(path), *options)
    return folder / "models"


def answers(models: Path, **asked: Any) -> dict[str, Any]:
    with serving(models=models) as running:
        found: dict[str, Any] = running.predict({"logits": ROWS.tolist(), **asked}, "own").json()
        return found


def test_groups_a_prior_and_sets_are_those_of_a_request(tmp_path: Path, models: Path) -> None:
    np.savez(tmp_path / "rows.npz", logits=ROWS, tenant=TENANTS)
    (tmp_path / "prior.json").write_text(json.dumps({"new": [1, 2, 3, 4, 5]}))
    head = str(models / "own" / "1" / "model.onnx")
    for name, options, asked in (
        ("sets", ("--alpha", "0.2"), {"alpha": 0.2}),
        ("prior", ("--prior", str(tmp_path / "prior.json")), {"prior": {"new": [1, 2, 3, 4, 5]}}),
    ):
        output = tmp_path / f"{name}.parquet"
        assert score(tmp_path / "rows.npz", output, "--group", "tenant", *options, model=head) == 0
        found, answer = read(output), answers(models, group=TENANTS.tolist(), **asked)
        expected = np.array(answer["probabilities"], np.float32)
        assert np.array(found["probabilities"], np.float32).tobytes() == expected.tobytes()
        assert found["tenant"] == TENANTS.tolist()
        if "alpha" in asked:
            assert found["prediction_set"] == answer["prediction_set"]["classes"]


def test_a_group_that_the_head_does_not_know_is_counted_or_refused(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "rows.npz", logits=ROWS, tenant=np.where(np.arange(200) < 7, "new", TENANTS))
    head = str(models / "own" / "1" / "model.onnx")
    assert score(tmp_path / "rows.npz", tmp_path / "a.parquet", "--group", "tenant", model=head) == 0
    assert "warning: 7 rows: the head does not know the group" in capsys.readouterr().err
    assert score(tmp_path / "rows.npz", tmp_path / "b.parquet", "--group", "tenant", "--alpha", "0.1", model=head) == 2
    assert "rows.npz: the model" in (told := capsys.readouterr().err)
    assert "expected a group that it knows" in told


@pytest.mark.parametrize(
    ("text", "sentence"),
    [('{"new": [1, 2]}', "prior.new has 2 values; expected one for each of 5 classes"), ("{", "is not JSON")],
)
def test_a_prior_that_cannot_be_meant_is_refused(
    tmp_path: Path, models: Path, text: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "rows.npz", logits=ROWS)
    (tmp_path / "prior.json").write_text(text)
    head = str(models / "own" / "1" / "model.onnx")
    options = ("--prior", str(tmp_path / "prior.json"))
    assert score(tmp_path / "rows.npz", tmp_path / "out.parquet", *options, model=head) == 2
    assert sentence in capsys.readouterr().err


def test_rows_of_another_number_of_members_are_refused(
    tmp_path: Path, family_models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "rows.npz", logits=ROWS.reshape(20, 10, 5))
    command = ["score", "--model", "ensemble-logits-weighted-a", "--models", str(family_models)]
    assert main([*command, "--data", str(tmp_path / "rows.npz"), "--output", str(tmp_path / "out.parquet")]) == 2
    assert "a row of logits is [10, 5]; expected [3, classes]" in capsys.readouterr().err


def test_files_of_other_columns_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = heads_made.head(tmp_path / "model.onnx", labels=NAMES)
    (tmp_path / "in").mkdir()
    save(tmp_path / "in" / "a.parquet", table(logits(5), NAMES, id=[1, 2, 3, 4, 5]))
    save(tmp_path / "in" / "b.parquet", table(logits(5), NAMES))
    assert score(tmp_path / "in", tmp_path / "out", model=str(head)) == 2
    assert "b.parquet has the columns none, a.parquet has id (int64); expected the same" in capsys.readouterr().err
