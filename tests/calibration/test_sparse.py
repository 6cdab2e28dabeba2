"""The temperature of sparse heads: the figures of real logits, and what is told of rows that got 0."""

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from service.calibration import sparse
from service.calibration.proof import Wanted, prove
from service.datasets import files
from service.datasets.dataset import Dataset
from service.errors import FitError
from service.families import Family, find_family

ENTMAX15, SPARSEMAX, ENTMAX = find_family("entmax15"), find_family("sparsemax"), find_family("entmax", 1.3)


def rows(n: int = 600, k: int = 6, sharp: float = 4.0) -> Dataset:
    """Logits that are `sharp` times too sure."""
    draw = np.random.default_rng(0)
    z = draw.normal(size=(n, k)) * 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    labels = np.array([draw.choice(k, p=row) for row in p])
    return Dataset.from_arrays((z * sharp).astype(np.float32), labels)


def own_loss(data: Dataset, family: Family, t: float) -> float:
    y = np.eye(data.n_classes)[data.labels]
    return float(family.losses(np.asarray(data.logits, np.float64) / t, y).mean())


@pytest.mark.parametrize("family", [ENTMAX15, SPARSEMAX, ENTMAX], ids=repr)
def test_newton_finds_what_a_search_finds(family: Family) -> None:
    data = rows()
    found = minimize_scalar(
        lambda log: own_loss(data, family, np.exp(log)), bounds=(-2, 5), method="bounded", options={"xatol": 1e-9}
    )
    assert sparse.fit(data, family, "loss") == pytest.approx(np.exp(found.x), rel=1e-5)


@pytest.mark.parametrize("family", [ENTMAX15, SPARSEMAX, ENTMAX], ids=repr)
def test_no_other_temperature_has_a_better_brier_score(family: Family) -> None:
    data = rows()
    t = sparse.fit(data, family)
    best = sparse.brier(data, family, 1 / t)
    assert all(sparse.brier(data, family, 1 / other) >= best - 1e-12 for other in t * np.geomspace(0.2, 5, 81))


def test_masked_classes_take_no_part() -> None:
    data = rows(k=4)
    draw = np.random.default_rng(1)
    wide = np.concatenate([data.logits, draw.normal(size=(data.n_rows, 3)).astype(np.float32) + 50], axis=1)
    mask = np.arange(7) < 4
    masked = Dataset.from_arrays(wide, data.labels, mask)
    assert sparse.fit(masked, SPARSEMAX) == pytest.approx(sparse.fit(data, SPARSEMAX), rel=1e-5)


def test_rows_that_are_all_right_are_refused() -> None:
    labels = np.arange(60) % 3
    with pytest.raises(FitError):
        sparse.fit(Dataset.from_arrays(np.eye(3, dtype=np.float32)[labels], labels), SPARSEMAX)


GOLDEN = [
    ("cifar10_vgg19_bn_chenyaofo", SPARSEMAX, 10.34373, 0.0459020949, 10.0858),
    ("cifar10_vgg19_bn_chenyaofo", ENTMAX15, 5.52964, 0.0815270710, 5.5805),
    ("cifar100_densenetbc100_netcal", SPARSEMAX, 12.55341, 0.2038604574, 8.5144),
    ("cifar100_densenetbc100_netcal", ENTMAX15, 6.49284, 0.3608772733, 5.0578),
]


@pytest.mark.parametrize(("name", "family", "t", "loss", "by_brier"), GOLDEN, ids=str)
def test_the_figures_of_real_logits(
    shared: Path, name: str, family: Family, t: float, loss: float, by_brier: float
) -> None:
    data = files.load(shared / "logits" / f"{name}.npz")["val"]
    found = sparse.fit(data, family, "loss")
    assert found == pytest.approx(t, abs=1e-5)
    assert own_loss(data, family, found) == pytest.approx(loss, abs=1e-10)
    assert sparse.fit(data, family) == pytest.approx(by_brier, abs=1e-4)


def test_a_proof_tells_the_share_of_impossible_rows_and_no_likelihood() -> None:
    proof = prove({"all": rows()}, Wanted(("temperature",), family=SPARSEMAX))
    metrics, limits = proof.metrics(), proof.intervals()
    assert metrics["before"]["impossible"] > metrics["after"]["impossible"] > 0
    assert not any("nll" in found for found in metrics.values())
    low, high = limits["after"]["impossible"]
    assert low <= metrics["after"]["impossible"] <= high
    assert proof.calibrator.family is SPARSEMAX
    assert metrics["after"]["brier"] < metrics["before"]["brier"]
