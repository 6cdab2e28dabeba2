"""Which average of an ensemble's members is taken, and what the head makes of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.calibration import ensemble
from service.calibration.methods import Plan
from service.cli import main
from service.datasets.dataset import Dataset
from service.engine.head import Head
from service.errors import DataError, UsedWrongly
from service.families import find_family
from service.heads.members import Members

PLAN = Plan("temperature")


def members(n: int = 900, k: int = 4, noise: tuple[float, ...] = (0.8, 0.8, 0.8), sharp: float = 2.0) -> Dataset:
    """Members that see the truth through noise of their own."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(n, k)) * 1.5
    labels = (z + draw.gumbel(size=z.shape)).argmax(axis=1)
    logits = np.stack([(z + draw.normal(size=z.shape) * s) * sharp for s in noise], axis=1)
    return Dataset.from_arrays(logits.astype(np.float32), labels)


def test_members_that_are_alike_do_better_together_than_the_best_alone() -> None:
    found = ensemble.compare(members(), PLAN, None, None)
    assert found.loss == min(found.losses["logits"], found.losses["probabilities"])
    assert found.loss < found.best_alone[1]
    assert set(found.losses) == {"logits", "probabilities", "member 0", "member 1", "member 2"}


def test_one_good_member_among_bad_ones_is_told() -> None:
    found = ensemble.compare(members(noise=(0.1, 9, 9)), PLAN, None, None)
    name, loss = found.best_alone
    assert name == "member 0"
    assert loss < found.loss


def test_an_average_that_is_asked_for_is_taken() -> None:
    found = [ensemble.compare(members(), PLAN, None, kind).members.average for kind in ("logits", "probabilities")]
    assert found == ["logits", "probabilities"]


def test_weights_take_part_and_must_be_as_many_as_members() -> None:
    data = members(noise=(0.1, 9, 9))
    assert ensemble.compare(data, PLAN, (1.0, 0.0, 0.0), "logits").loss == pytest.approx(
        ensemble.compare(data, PLAN, None, None).losses["member 0"], rel=1e-6
    )
    with pytest.raises(UsedWrongly, match="there are 2 weights, the logits have 3 members"):
        ensemble.compare(data, PLAN, (0.5, 0.5), None)


def test_a_sparse_family_is_compared_by_its_brier_score() -> None:
    found = ensemble.compare(members(), Plan("temperature", family=find_family("sparsemax")), None, None)
    assert found.criterion == "Brier score"
    assert all(0 < loss < 2 for loss in found.losses.values())


def test_a_mask_counts_before_the_average() -> None:
    data = members(k=5)
    mask = np.ones((900, 5), bool)
    mask[np.arange(900), (data.labels + 1) % 5] = False
    masked = Dataset.from_arrays(data.logits, data.labels, mask)
    rows = ensemble.average(masked, Members("probabilities"))
    assert np.isneginf(rows.logits[~mask]).all()
    assert np.isfinite(rows.logits[mask]).all()


def saved(folder: Path, data: Dataset, **more: Any) -> str:
    np.savez(folder / "rows.npz", logits=data.logits, labels=data.labels, **more)
    return str(folder / "rows.npz")


def test_the_head_averages_as_it_was_fitted_and_is_measured_on_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, head = members(), tmp_path / "head.onnx"
    path = saved(tmp_path, data)
    assert main(["fit", "--data", path, "--to", str(head), "--family", "ensemble", "--method", "vector"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("mean of logits: NLL ")
    assert "of probabilities" in told.out
    assert "member " in told.out
    assert told.err.count("alone does better") == 0
    mine = Head(head)
    assert mine.metadata.ensemble == {"average": "logits"}
    assert mine.signature.averages
    assert main(["evaluate", "--model", str(head), "--data", path, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["metrics"]["nll"]["value"]
    assert measured == pytest.approx(mine.metadata.metrics["after"]["nll"], abs=0.02)


def test_a_better_member_is_told_at_the_end_of_a_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, members(noise=(0.1, 9, 9)))
    options = ["--family", "ensemble", "--method", "temperature", "--no-report"]
    assert main(["fit", "--data", path, "--to", str(tmp_path / "head.onnx"), *options]) == 0
    assert "member 0 alone does better than all of them together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ("members", [], "the logits have 3 members; expected --family ensemble, which averages them"),
        ("plain", ["--family", "ensemble"], "expected [rows, members, classes] for an average of members"),
        (
            "members",
            ["--family", "ensemble", "--onto", "c.onnx", "--output", "z"],
            "--onto has one classifier, which has no members",
        ),
    ],
    ids=str,
)
def test_members_that_nobody_expects_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, options: list[str], said: str
) -> None:
    data = members(60)
    if rows == "plain":
        data = ensemble.average(data, Members())
    assert main(["fit", "--data", saved(tmp_path, data), "--to", str(tmp_path / "head.onnx"), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_plain_head_is_not_measured_on_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, members(60))
    assert main(["export", "--to", str(tmp_path / "head.onnx")]) == 0
    assert main(["evaluate", "--model", str(tmp_path / "head.onnx"), "--data", path]) == 2
    assert "the head averages no members; expected the same" in capsys.readouterr().err


def test_a_member_s_bad_logit_is_named_by_its_row() -> None:
    data = members(20)
    logits = data.logits.copy()
    logits[7, 1, 2] = np.nan
    with pytest.raises(DataError, match="row 7, class 2: the logit is missing or NaN"):
        Dataset.from_arrays(logits, data.labels)
    with pytest.raises(DataError, match="expected floats"):
        Dataset.from_arrays(np.zeros((3, 0, 4), np.float32), np.zeros(3, int))
