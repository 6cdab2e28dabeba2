"""A temperature for each group, on top of a calibrator, and fitted together with it."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from service.calibration import affine, folds, groups, methods
from service.calibration.group_table import group_rows, pulled_sentence
from service.calibration.methods import Plan
from service.calibration.proof import Proof, Wanted, prove
from service.calibration.select import AUTO
from service.datasets.dataset import Dataset
from service.errors import DataError
from service.heads.stages import Stages
from tests.calibration.conftest import drawn
from tests.commands.test_fit import fitted
from tests.heads.running import head, run


def test_groups_have_their_own_temperature() -> None:
    parts = [drawn(1500, temperature=t, seed=seed) for seed, t in enumerate((1.0, 2.0, 4.0))]
    names = np.repeat(["a", "b", "c"], 1500)
    data = Dataset.from_arrays(
        np.concatenate([part.logits for part in parts]), np.concatenate([part.labels for part in parts]), groups=names
    )
    fitted = groups.fit(data, methods.fit(data, Plan("temperature")))
    assert fitted.group_temperatures is not None
    assert np.allclose(fitted.temperature * fitted.group_temperatures, [1, 2, 4], rtol=0.1)
    assert data.groups is not None
    running = head(fitted, 5)
    found = run(running, logits=data.logits, group=data.groups[:, None] + 1)["log_probabilities"]
    wanted = fitted.log_probabilities(data.logits, None, data.groups)
    assert np.allclose(found, wanted, rtol=6e-8, atol=4e-6)


def test_a_group_of_few_rows_stays_near_the_common_temperature() -> None:
    logs = groups.shrink(np.array([1.0, 0.1, -0.1, 0.05]), np.array([1.0, 0.02, 0.02, 0.02]))
    assert abs(logs[0]) < 0.1
    assert logs[1] > 0.05


def test_groups_of_equal_temperature_are_pooled() -> None:
    data = drawn(3000)
    rows = Dataset.from_arrays(data.logits, data.labels, groups=np.arange(3000) % 5)
    factors = groups.fit(rows, methods.fit(rows, Plan("temperature"))).group_temperatures
    assert factors is not None
    assert np.abs(factors - 1).max() < 0.05


RATIO = 2.5


def tenants(n: int, seed: int = 0, bias: float = 0.0) -> Dataset:
    """Rows of two tenants, the logits of one times 2.5; labels drawn at the temperature 2, with a bias."""
    random = np.random.default_rng(seed)
    z = random.standard_normal((n, 5)) * 1.5
    labels = (z + bias * np.arange(5) + random.gumbel(size=z.shape)).argmax(axis=1)
    names = np.where(np.arange(n) % 2 == 0, "calm", "loud")
    logits = 2 * z * np.where(names == "loud", RATIO, 1)[:, None]
    return Dataset.from_arrays(logits.astype(np.float32), labels, groups=names)


@cache
def proved(bias: float = 0.0) -> Proof:
    return prove({"all": tenants(6000, bias=bias)}, Wanted(AUTO, grouped=True))


def factors(calibrator: Stages) -> np.ndarray:
    return calibrator.vector("group_temperatures")


def test_the_factors_of_two_tenants_have_the_ratio_of_their_logits() -> None:
    found = factors(proved().calibrator)
    assert found[1] / found[0] == pytest.approx(RATIO, rel=0.05)
    assert proved().calibrator.temperature * found == pytest.approx([2, 2 * RATIO], rel=0.05)


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_the_table_the_headline_and_fresh_rows_agree(bias: float) -> None:
    """What was compared is what ships: with a bias auto takes an affine stage beside the groups."""
    proof, fresh = proved(bias), tenants(60_000, seed=1, bias=bias)
    table = next(one.nll for one in proof.choice.candidates if one.plan == proof.choice.plan)
    headline = proof.metrics()["after"]["nll"]
    low, high = proof.intervals()["after"]["nll"]
    assert low < table < high
    assert headline == pytest.approx(table, abs=1e-9)
    one = methods.fit(proof.fitted_on, Plan("temperature"))
    told = proof.choice.candidates[0]
    plain = folds.fit(proof.fitted_on, lambda train: methods.fit(train, Plan("temperature")))
    promised = plain.negative_logs(proof.fitted_on) - next(
        c.rows for c in proof.choice.candidates if c.plan == proof.choice.plan
    )
    gained = folds.negative_logs(one, fresh).mean() - folds.negative_logs(proof.calibrator, fresh).mean()
    assert told.plan.grouped
    assert gained > 0.03
    assert abs(promised.mean() - gained) < 3 * promised.std() / np.sqrt(6000)
    assert (proof.calibrator.bias is None) == (bias == 0)


@pytest.mark.parametrize("method", ["bias", "vector", "matrix", "entropy", "vector+entropy"])
def test_the_fit_is_a_joint_one(method: methods.Method) -> None:
    """Neither the factors nor the stages can be moved and be better."""
    data = tenants(3000, bias=0.4)
    plan = Plan(method, None if method in ("bias", "entropy") else "centred", 0.01, grouped=True)
    fitted = methods.fit(data, plan)
    best = folds.negative_logs(fitted, data).mean()
    for group in range(2):
        for step in (0.97, 1.03):
            moved = factors(fitted).copy()
            moved[group] *= step
            assert folds.negative_logs(replace(fitted, group_temperatures=moved), data).mean() > best - 1e-5
    unaware = methods.fit(data, replace(plan, grouped=False))
    apart = groups.fit(data, unaware)
    assert best <= folds.negative_logs(apart, data).mean() + 1e-5
    if fitted.bias is not None:
        for step in (-0.02, 0.02):
            shifted = replace(fitted, bias=fitted.bias + step * np.arange(5))
            assert folds.negative_logs(shifted, data).mean() > best - 1e-5


def test_gradients_know_the_factors() -> None:
    data = tenants(200)
    x = affine.inputs(data, 2.0, "centred", masks_first=False, factors=np.array([0.7, 1.9]))
    problem = affine.Problem(x, "matrix", 0.01, 0.02, 0.001)
    flat = np.random.default_rng(0).standard_normal(problem.size) * 0.1
    value, gradient = problem.value(flat)
    for i in (0, 3, 6, 11, 17, 30):
        if i >= 10 and (i - 10) % 6 == 0:
            continue
        near = flat.copy()
        near[i] += 1e-6
        assert (problem.value(near)[0] - value) / 1e-6 == pytest.approx(gradient[i], rel=1e-3, abs=1e-7)


def test_a_small_group_is_pulled_and_the_table_says_so() -> None:
    data = tenants(4000)
    assert data.groups is not None
    few = np.flatnonzero(data.groups == 1)[:40]
    rows = data.take(np.concatenate([np.flatnonzero(data.groups == 0), few]))
    three = replace(rows, groups=np.where(rows.groups == 0, np.arange(len(rows.labels)) % 2, 2))
    data = replace(three, group_names=("calm", "cool", "loud"))
    proof = prove({"all": data}, Wanted(("temperature",), grouped=True))
    found = {one.name: one for one in group_rows(proof)}
    assert [one.n_fitted for one in found.values()] == [1000, 1000, 40]
    assert found["loud"].pulled > 0.1
    assert found["loud"].alone is not None
    assert found["loud"].temperature < found["loud"].alone[0]
    assert "loud (" in pulled_sentence(list(found.values()))
    assert "towards the common temperature" in pulled_sentence(list(found.values()))
    assert group_rows(prove({"all": drawn(200)}, Wanted(("temperature",)))) == []


def test_test_rows_are_of_the_groups_that_their_names_say() -> None:
    """A part that lacks the first group counts its groups otherwise."""
    fit_rows, fresh = tenants(4000), tenants(4000, seed=1)
    assert fresh.groups is not None
    loud = fresh.take(fresh.groups == 1)
    alone = replace(loud, groups=np.zeros(len(loud.labels), np.int64), group_names=("loud",))
    proof = prove({"val": fit_rows, "test": alone}, Wanted(("temperature",), grouped=True))
    (one,) = [row for row in group_rows(proof) if row.nll]
    assert one.name == "loud"
    assert proof.metrics()["after"]["nll"] == pytest.approx(
        folds.negative_logs(proof.calibrator, loud).mean(), abs=1e-9
    )
    with pytest.raises(DataError, match="the test rows have the group 'new', those of the fit have not"):
        prove({"val": fit_rows, "test": replace(alone, group_names=("new",))}, Wanted(("temperature",), grouped=True))


def test_where_nothing_helps_the_head_has_groups_all_the_same() -> None:
    data = drawn(400, temperature=1.0)
    rows = Dataset.from_arrays(data.logits, data.labels, groups=np.arange(400) % 3)
    proof = prove({"all": rows}, Wanted(("matrix",), grouped=True))
    if proof.choice.plan is None:
        assert factors(proof.calibrator).tolist() == [1, 1, 1]
    assert proof.calibrator.group_temperatures is not None


def test_the_report_and_the_terminal_show_each_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tenants(3000)
    assert data.groups is not None
    names = np.where(np.arange(3000) < 9, "<b> & [i]", np.array(data.group_names)[data.groups])
    np.savez(tmp_path / "rows.npz", logits=data.logits, labels=data.labels, tenant=names)
    fitted(tmp_path, "--data", str(tmp_path / "rows.npz"), "--group", "tenant", "--method", "temperature")
    shown = capsys.readouterr().out
    assert "<b> & [i] (100 %) has few rows, and was pulled so far towards the common temperature" in shown
    assert max(map(len, shown.splitlines()[:-2])) <= 100
    folder = tmp_path / "models" / "own" / "1"
    page = (folder / "report.html").read_text()
    section = page.partition("<h2>Groups</h2>")[2].partition("</section>")[0]
    assert section.count("<figure>") == 3
    assert "<td>&lt;b&gt; &amp; [i]</td>" in section
    found = json.loads((folder / "report.json").read_text())["groups"]
    assert [one["name"] for one in found] == ["<b> & [i]", "calm", "loud"]
    assert found[2]["nll"][1] < found[2]["nll"][0]
