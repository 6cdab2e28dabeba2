"""What docs/heads.md says of published logits; its commands are run by test_readme."""

import re
from pathlib import Path

import numpy as np
import pytest

from service.calibration import platt, sparse, temperature
from service.datasets import files
from service.datasets.dataset import Dataset, Floats
from service.families import FAMILIES, SOFTMAX, find_family
from service.measures.metrics import measure
from service.measures.multilabel import MultiScores
from service.measures.multilabel import measure as measure_labels
from service.measures.scores import score
from tests.calibration.multilabel import published_labels
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "heads.md").read_text()
PUBLISHED = {"CIFAR-10": "cifar10_vgg19_bn_chenyaofo", "CIFAR-100": "cifar100_vgg19_bn_chenyaofo"}
TABLE = re.findall(r"^\| (CIFAR-10+), VGG-19 \| (\w+) \| ([^a-z]*) \|$", PAGE, re.MULTILINE)

LABELS_TABLE = re.findall(r"^\| (CIFAR-10+), VGG-19, as labels \| ([^a-z]*) \|$", PAGE, re.MULTILINE)


def halves(shared: Path, name: str) -> tuple[Dataset, Dataset]:
    """The half that was fitted on, and the other."""
    found = files.load(shared / "logits" / f"{PUBLISHED[name]}.npz")
    return found["val"], found["test"]


def softmax(data: Dataset, t: float) -> Floats:
    p, _ = SOFTMAX.distribution(np.asarray(data.logits, np.float64) / t)
    return p


def test_every_family_has_its_line() -> None:
    lines = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(lines) == sorted(FAMILIES)


def test_the_table_of_fits_is_read() -> None:
    assert (len(TABLE), len(LABELS_TABLE)) == (6, 2)


@pytest.mark.parametrize(("name", "kind", "cells"), TABLE, ids=[" ".join(line[:2]) for line in TABLE])
def test_the_table_of_fits_is_that_of_the_published_logits(shared: Path, name: str, kind: str, cells: str) -> None:
    val, test = halves(shared, name)
    family = find_family(kind)
    t, *expected = map(float, cells.split(" | "))
    found = temperature.fit(val).value if family is SOFTMAX else sparse.fit(val, family)
    assert found == pytest.approx(t, abs=1e-4)
    figures = []
    for at in (found, 1.0):
        scores = score(test, lambda chunk, at=at: family.distribution(chunk.logits / at)[1])  # type: ignore[misc]
        metrics = measure(scores)
        figures += [metrics["brier"], 100 * metrics["ece"], 100 * float(np.isinf(scores.nll).mean())]
    assert figures == pytest.approx(expected, abs=6e-3)
    assert figures[::3] == pytest.approx(expected[::3], abs=6e-5)


@pytest.mark.parametrize(("name", "cells"), LABELS_TABLE, ids=[line[0] for line in LABELS_TABLE])
def test_the_table_of_sigmoids_is_that_of_the_published_logits(name: str, cells: str) -> None:
    val, test = published_labels(PUBLISHED[name])
    lines = platt.fit(val)
    answers = (test.logits, test.logits / platt.common_temperature(val), test.logits * lines.slope + lines.bias)
    found = [measure_labels(MultiScores.from_scores(x, test.targets)) for x in answers]
    expected = [f"{one['bce']:.5f}" for one in found] + [f"{100 * one['ece_macro']:.2f}" for one in found]
    assert cells.split(" | ") == expected


def test_a_threshold_means_what_it_says_after_a_fit(shared: Path) -> None:
    expected = re.findall(r"answers ([\d.]+) % of its rows and is right in ([\d.]+) %", PAGE)
    expected += re.findall(r"calibrated it answers ([\d.]+) % and is right in ([\d.]+) %", PAGE)
    val, test = halves(shared, "CIFAR-100")
    found = []
    for t in (1.0, temperature.fit(val).value):
        p = softmax(test, t)
        sure = p.max(axis=1) >= 0.9
        found.append((100 * sure.mean(), 100 * (p.argmax(axis=1) == test.labels)[sure].mean()))
    assert np.array(expected, float) == pytest.approx(np.array(found), abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_other_class_frequencies_are_worth_correcting_after_a_fit(shared: Path, seed: int) -> None:
    val, test = halves(shared, "CIFAR-10")
    old, new = np.bincount(test.labels) / test.n_rows, 0.6 ** np.arange(10)
    new /= new.sum()
    chance = (new / old)[test.labels]
    rows = np.random.default_rng(seed).choice(test.n_rows, test.n_rows, p=chance / chance.sum())
    labels = test.labels[rows]

    def losses(t: float) -> tuple[float, float]:
        """Without the correction, and with it."""
        p = softmax(test, t)[rows]
        shifted = p * new / old
        shifted /= shifted.sum(axis=1, keepdims=True)
        own = np.arange(len(rows)), labels
        return float(-np.log(p[own]).mean()), float(-np.log(shifted[own]).mean())

    plain, corrected = losses(temperature.fit(val).value)
    assert corrected <= 0.75 * plain
    assert losses(1.0)[1] > plain
