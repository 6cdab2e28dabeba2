"""The promise and the delays, in a short form of the study; the published sets where they are at hand."""

import numpy as np
import pytest

from service.calibration.methods import Method
from service.datasets import files
from service.live.monitor import Monitor
from service.live.report import monitors
from tests.calibration.conftest import published
from tests.live import study
from tests.live.made import FITTED, records
from tests.live.study import NEVER, Rows, alone, chain, held_out, null_alarms, real_alarms


def test_of_streams_under_the_null_at_most_one_in_a_hundred_alarms() -> None:
    p = 1 / (1 + np.exp(-np.random.default_rng(5).normal(2, 1.5, 20_000)))
    alarms = null_alarms(Rows.of(FITTED, p, p > 0), streams=150, length=4000)
    assert sum(first < NEVER for first in alarms) <= 6  # a thousandth of such runs has more, at 1 %


def test_the_evidence_of_published_rows_against_the_curve_of_their_fit() -> None:
    parts = files.load(published() / "cifar10_vgg19_bn_chenyaofo.npz")
    head, reference = alone(parts["val"])
    scores = held_out(head, parts["test"])
    monitor, found = Monitor(reference), []
    rows = records(scores.confidence, scores.correct)
    for start, stop in ((0, 1000), (1000, 2500), (2500, 5000)):
        monitor.update(rows[start:stop])
        found.append(of_all(monitor)["e"])
    assert np.allclose(found, [0.304046, 0.215488, 0.176222], rtol=0, atol=1.2e-6)
    assert of_all(monitor)["max_e"] == pytest.approx(1.214231, abs=1.2e-6)


def test_published_rows_of_which_every_30th_right_one_turns_wrong_alarm_at_the_511th() -> None:
    parts = files.load(published() / "cifar10_vgg19_bn_chenyaofo.npz")
    head, reference = alone(parts["val"])
    scores = held_out(head, parts["test"])
    right = scores.correct.copy()
    right[np.flatnonzero(right)[::30]] = False
    rows = Rows.of(reference, scores.confidence, right)
    assert study.first_alarm(rows.logs[np.arange(len(right)), right.astype(int)]) == 511


@pytest.mark.parametrize(
    ("name", "median", "hot"),
    [
        ("cifar10_vgg19_bn_chenyaofo", 479, 154),
        ("cifar10_resnet50_focalrepo", 344, 449),
        ("cifar100_densenetbc100_netcal", 598, 239),
        ("pathmnist_resnet50", 517, 652),
    ],
)
def test_published_sets_alarm_as_soon_as_was_measured_and_not_falsely(name: str, median: int, hot: int) -> None:
    parts = files.load(published() / f"{name}.npz")
    head, reference = alone(parts["val"])
    scores, sharp = held_out(head, parts["test"]), held_out(head, parts["test"], 1.5)
    rows = Rows.of(reference, scores.confidence, scores.correct)
    assert max(first < NEVER for first in real_alarms(rows, 40, 3000)) == 0
    assert np.median(real_alarms(rows, 80, 5000, 0.03)) == pytest.approx(median, rel=0.3)
    hotter = Rows.of(reference, sharp.confidence, sharp.correct)
    assert np.median(real_alarms(hotter, 80, 5000)) == pytest.approx(hot, rel=0.3)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("cifar10_vgg19_bn_chenyaofo", "matrix+entropy"),
        ("cifar10_vgg19_bn_chenyaofo", "temperature+top"),
        ("pathmnist_resnet50", "matrix+entropy"),  # it is better than the heads of its folds
    ],
)
def test_so_do_heads_of_a_chain_against_the_curve_of_the_whole_of_it(name: str, method: Method) -> None:
    parts = files.load(published() / f"{name}.npz")
    head, reference = chain(parts["val"], method)
    scores = held_out(head, parts["test"])
    rows = Rows.of(reference, scores.confidence, scores.correct)
    assert max(first < NEVER for first in real_alarms(rows, 40, 10_000)) == 0
    assert np.median(real_alarms(rows, 40, 5000, 0.03)) < 1000


def of_all(monitor: Monitor) -> dict[str, float]:
    return next(one for one in monitors(monitor) if one["scope"] == "all" and one["null"] == "as fitted")
