"""The guarantee, over many splits, and what a set may hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import betabinom

from service.calibration import conformal, methods
from service.calibration.methods import Plan
from service.conformal import SCORES, By, Conformal, Score, Table
from service.datasets import files
from service.heads.stages import Stages
from tests.calibration.conftest import drawn, published, published_names


def logs(n: int = 1000, k: int = 6, seed: int = 0, masked: bool = False) -> tuple[np.ndarray, np.ndarray]:
    data = drawn(n, k, seed=seed, masked=masked)
    return Stages(temperature=2.0).log_probabilities(data.logits, data.mask), data.labels


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("randomised", [False, True])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2])
def test_the_sets_cover_as_often_as_they_promise(score: Score, randomised: bool, alpha: float) -> None:
    n, m, hits, splits = 500, 500, 0, 100
    log_p, labels = logs(n + m, masked=True)
    for seed in range(splits):
        random = np.random.default_rng(seed)
        rows = random.permutation(n + m)
        one, two = rows[:n], rows[n:]
        fitted = conformal.fit(log_p[one], labels[one], score, randomised=randomised, seed=seed)
        sets = fitted.sets(log_p[two], alpha, uniforms=random.random(m))
        hits += int(sets[np.arange(m), labels[two]].sum())
    spread = math.sqrt(alpha * (1 - alpha) / n + alpha * (1 - alpha) / m)
    assert hits / (m * splits) >= 1 - alpha - 3 * spread / math.sqrt(splits) * 3


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_the_coverage_of_one_split_is_beta_binomial(alpha: float) -> None:
    log_p, labels = logs(4000)
    n, m = 400, 600
    inside = []
    for seed in range(100):
        rows = np.random.default_rng(seed).permutation(4000)[: n + m]
        table = conformal.fit(log_p[rows[:n]], labels[rows[:n]], "lac")
        covered = table.sets(log_p[rows[n:]], alpha)[np.arange(m), labels[rows[n:]]].sum()
        rank = math.ceil((n + 1) * (1 - alpha))
        low, high = betabinom.interval(0.99, m, rank, n + 1 - rank)
        inside.append(low <= covered <= high)
    assert np.mean(inside) >= 0.95


@pytest.mark.parametrize("name", [name for name in published_names() if "1000" not in name])
@pytest.mark.parametrize("score", SCORES)
def test_published_logits_are_covered(name: str, score: Score) -> None:
    parts = files.load(published() / f"{name}.npz")
    fitted = methods.fit(parts["val"], Plan("temperature"))
    log_p, labels = fitted.log_probabilities(parts["test"].logits, None), parts["test"].labels
    coverage = []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(labels))[:3000]
        one, two = np.array_split(rows, 2)
        table = conformal.fit(log_p[one], labels[one], score)
        coverage.append(table.sets(log_p[two], 0.1)[np.arange(len(two)), labels[two]].mean())
    # ties at a cumulated probability of 1 make the sets that do not draw lots larger than they need to be
    assert 0.875 <= np.mean(coverage) <= (0.925 if score == "lac" else 1)


@pytest.mark.parametrize("by", ["class", "group"])
def test_mondrian_sets_cover_each_class_or_group(by: By) -> None:
    log_p, labels = logs(12_000, 3)
    groups = (np.arange(12_000) % 2).astype(np.int64)
    log_p = np.where((groups == 1)[:, None], log_p * 0.3, log_p)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    fitted = conformal.fit(log_p[:6000], labels[:6000], "lac", by=by, groups=groups[:6000])
    sets = fitted.sets(log_p[6000:], 0.1, groups=groups[6000:])
    covered = sets[np.arange(6000), labels[6000:]]
    members = labels[6000:] if by == "class" else groups[6000:]
    for one in np.unique(members):
        assert 0.87 < covered[members == one].mean() < 0.93


def test_a_masked_class_is_in_no_set() -> None:
    data = drawn(500, masked=True)
    assert data.mask is not None
    log_p = Stages().log_probabilities(data.logits, data.mask)
    for score in SCORES:
        sets = conformal.fit(log_p, data.labels, score).sets(log_p, 1e-9)
        assert not sets[~data.mask].any()
        assert sets[data.mask].all()


@settings(max_examples=30)
@given(a=st.floats(0.01, 0.98), score=st.sampled_from(SCORES))
def test_a_larger_alpha_never_has_a_larger_set(a: float, score: Score) -> None:
    log_p, labels = logs(300)
    fitted = conformal.fit(log_p, labels, score)
    assert not (fitted.sets(log_p, a + 0.01) & ~fitted.sets(log_p, a)).any()


def test_too_few_rows_for_an_alpha_give_every_class() -> None:
    log_p, labels = logs(20)
    assert conformal.fit(log_p, labels, "lac").sets(log_p, 0.01).all()


@settings(max_examples=30)
@given(alpha=st.floats(0.001, 0.99), n=st.integers(2001, 8000))
def test_a_thinned_table_never_covers_less(alpha: float, n: int) -> None:
    scores = np.random.default_rng(n).random(n)
    thin, full = Table.of(scores), Table.of(scores, most=n)
    assert len(thin.values) <= 2000
    assert full.threshold(alpha) - 1e-12 <= thin.threshold(alpha) <= full.threshold(alpha * 0.97) + 1e-9


def test_a_temperature_of_their_own_makes_aps_sets_smaller() -> None:
    data = files.load(published() / "cifar100_vgg19_bn_chenyaofo.npz")
    fitted = methods.fit(data["val"], Plan("temperature"))
    log_p, labels = fitted.log_probabilities(data["test"].logits, None), data["test"].labels
    own = conformal.fit(log_p[:2500], labels[:2500], "aps")
    plain = Conformal(
        "aps", 1.0, (Table.of(Conformal("aps", 1.0, ()).of(log_p[:2500])[np.arange(2500), labels[:2500]]),)
    )
    sizes = [one.sets(log_p[2500:], 0.1).sum(axis=1).mean() for one in (own, plain)]
    assert sizes[0] < 0.8 * sizes[1]


@pytest.mark.parametrize("n", [1000, 4000])
def test_what_is_stored_reads_back_as_it_was(n: int) -> None:
    log_p, labels = logs(n)
    for score in SCORES:
        fitted = conformal.fit(log_p, labels, score, by="class")
        again = Conformal.from_metadata(fitted.to_metadata())
        assert (again.sets(log_p, 0.1) == fitted.sets(log_p, 0.1)).all()
