"""A shadow of a head: its factor, its state, and what it must earn."""

import json

import numpy as np
import pytest

from service.calibration import temperature
from service.datasets.dataset import Dataset, Floats, Ints
from service.live.refit import FACTORS, Labelled, Shadow, temper
from tests.calibration.conftest import published
from tests.live.refit_study import NEVER, answers, first_earned


def rows(n: int, sharper: float, seed: int = 0, k: int = 10) -> tuple[Floats, Ints]:
    """Log-probabilities that are so many times too sharp, and labels."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2.5, (n, k))
    return temper(z, np.ones(k), 1 / sharper), (z + random.gumbel(size=z.shape)).argmax(axis=1)


def labelled(n: int, sharper: float, seed: int = 0, k: int = 10) -> Labelled:
    log_p, labels = rows(n, sharper, seed, k)
    return Labelled.of(log_p, np.ones(k), labels)


def shadow_of(some: Labelled, piece: int = 1000) -> Shadow:
    shadow = Shadow()
    for start in range(0, len(some.columns), piece):
        shadow.update(some.part(start, start + piece))
    return shadow


@pytest.mark.parametrize("sharper", [0.4, 0.98, 1.0, 1.5, 5.0])
def test_the_factor_is_that_of_the_likelihood(sharper: float) -> None:
    log_p, labels = rows(800, sharper)
    shadow = shadow_of(Labelled.of(log_p, np.ones(10), labels))
    assert shadow.fitted == 800
    assert shadow.factor == pytest.approx(temperature.fit(Dataset.from_arrays(log_p, labels)).value, rel=3e-6)


@pytest.mark.parametrize(("sharper", "end"), [(30.0, 0), (1 / 30, -1)])
def test_beyond_the_grid_it_is_its_end(sharper: float, end: int) -> None:
    assert shadow_of(labelled(100, sharper)).factor == FACTORS[end]


def test_it_is_fitted_at_a_hundred_labels_and_whenever_they_have_doubled_and_judged_on_the_others() -> None:
    some, shadow, fitted = labelled(900, 1.5), Shadow(), []
    for i in range(900):
        shadow.update(some.part(i, i + 1))
        fitted.append(shadow.fitted)
    assert [fitted.index(n) + 1 for n in (100, 200, 400, 800)] == [100, 200, 400, 800]
    assert shadow.served.rows == shadow.proposed.rows == 800
    assert shadow.guard is not None
    assert shadow.guard.n == 800


def test_the_state_does_not_depend_on_how_labels_are_cut_and_goes_on_from_json() -> None:
    some = labelled(1000, 1.3)
    whole, cut = shadow_of(some), Shadow()
    for start in range(0, 1000, 37):
        cut.update(some.part(start, start + 37))
        cut = Shadow.restore(json.loads(json.dumps(cut.state())))
    assert json.dumps(cut.state()) == json.dumps(whole.state())
    assert cut.report() == whole.report()


def test_classes_that_share_a_column_count_as_if_they_were_apart() -> None:
    log_p, labels = rows(400, 1.4, k=40)
    order = np.argsort(-log_p, axis=1)
    kept, rest = order[:, :32], order[:, 32:]
    share = np.log(np.exp(np.take_along_axis(log_p, rest, axis=1)).mean(axis=1))
    spread = log_p.copy()
    np.put_along_axis(spread, rest, share[:, None], axis=1)
    columns = np.where((kept == labels[:, None]).any(axis=1), (kept == labels[:, None]).argmax(axis=1), 32)
    shared = np.concatenate([np.take_along_axis(log_p, kept, axis=1), share[:, None]], axis=1)
    apart = shadow_of(Labelled.of(spread, np.ones(40), labels))
    together = shadow_of(Labelled.of(shared, np.array([1.0] * 32 + [8.0]), columns))
    assert together.factor == pytest.approx(apart.factor, rel=1e-6)
    first, second = apart.report(), together.report()
    assert second["evidence"] == pytest.approx(first["evidence"], rel=1e-6)
    assert second["nll"] == pytest.approx(first["nll"], rel=1e-6)


def test_what_is_measured_is_the_loss_and_the_calibration_of_both_on_rows_that_neither_has_seen() -> None:
    shadow = shadow_of(labelled(3200, 1.6))
    report = shadow.report()
    assert report["nll"]["rows"] == 3100
    assert report["nll"]["difference"] == pytest.approx(report["nll"]["proposed"] - report["nll"]["served"], abs=1e-6)
    assert report["nll"]["low"] < report["nll"]["difference"] < report["nll"]["high"] < 0
    assert report["ece"]["proposed"] < 0.02 < 0.05 < report["ece"]["served"]
    assert sum(one["rows"] for one in report["reliability"]["proposed"]["bins"]) == 3100
    assert Shadow().report() == {
        "evidence": {"e": 1.0, "max_e": 1.0, "log_ratio": 0.0}, "nll": None, "ece": None, "reliability": None,
    }  # fmt: skip


def test_a_label_that_both_call_impossible_changes_nothing() -> None:
    log_p, labels = rows(300, 1.3)
    log_p[:, 3] = -np.inf
    labels[labels == 3] = 4
    possible, impossible = labels.copy(), labels.copy()
    impossible[250] = 3
    found = [shadow_of(Labelled.of(log_p, np.ones(10), some)) for some in (possible, impossible)]
    assert found[0].factor == found[1].factor
    assert np.isfinite(found[1].report()["nll"]["difference"])
    assert found[1].served.impossible == 1


def test_a_factor_that_is_given_is_judged_from_the_hundredth_label_on_and_stays() -> None:
    shadow = Shadow(0.8)
    shadow.update(labelled(100, 1.0))
    assert shadow.guard is not None
    assert shadow.guard.n == 0
    assert shadow.guard.scale > 0
    shadow = Shadow.restore(json.loads(json.dumps(shadow.state())))
    shadow.update(labelled(3000, 0.8, seed=1))
    assert (shadow.factor, shadow.fitted, shadow.served.rows) == (0.8, 100, 3000)
    assert shadow.has_earned


def test_on_published_rows_it_earns_its_place_as_soon_as_was_measured_and_not_needlessly() -> None:
    log_p = answers(published() / "cifar10_vgg19_bn_chenyaofo.npz")
    at = [first_earned(log_p, 1.3, 3000, seed)[0] for seed in range(30)]
    assert np.median(at) == pytest.approx(484, rel=0.35)
    assert sum(first_earned(log_p, 1.0, 2000, seed)[0] < NEVER for seed in range(20)) == 0
