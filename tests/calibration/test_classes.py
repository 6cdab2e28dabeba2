"""What a fit knows of single classes, and which monitors it arms."""

import numpy as np
import pytest

from service.calibration import classes
from service.datasets.dataset import Floats, Ints
from service.live.monitor import Monitor
from service.live.reference import ClassReference, Reference
from service.live.report import report
from service.measures import curve_fit
from service.measures.curve import ReferenceCurve
from service.metadata import Metadata
from tests.live.made import EXACT

ZERO = np.zeros(2)


def exact(n: int, seed: int, k: int = 4) -> tuple[Floats, Ints]:
    """Log-probabilities, and labels that are drawn from them."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 2, (n, k))
    labels = (z + random.gumbel(size=z.shape)).argmax(axis=1)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True)), labels


def curve_of(logs: Floats, labels: Ints) -> ReferenceCurve:
    return curve_fit.fit(np.exp(logs.max(axis=1)), logs.argmax(axis=1) == labels, np.ones(len(logs)))


def fitted(logs: Floats, labels: Ints) -> ClassReference:
    found = classes.fit(logs, labels, curve_of(logs, labels))
    assert found is not None
    return found


def test_of_an_exact_head_every_monitor_is_armed_and_nothing_is_off() -> None:
    found = fitted(*exact(4000, 0))
    assert found.armed.all()
    assert found.bias_armed
    assert (np.abs(found.bias) < 4 * found.bias_errors).all()
    assert (np.abs(found.offsets) < 4 * found.offset_errors).all()


def test_a_class_that_is_wrong_among_its_surest_answers_is_not_armed() -> None:
    logs, labels = exact(4000, 1)
    sure = (logs.argmax(axis=1) == 2) & (logs.max(axis=1) > np.log(0.9))
    labels[sure] = 3
    found = fitted(logs, labels)
    assert not found.armed[2]
    assert found.armed[[0, 1]].all()


def test_the_offset_of_a_class_is_found_with_its_error() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 0.99, 3000)
    odds = np.log(confidence / (1 - confidence)) - 0.7
    value, error = classes.offset(EXACT, confidence, random.random(3000) < 1 / (1 + np.exp(-odds)))
    assert abs(value + 0.7) < 3 * error
    assert 0.02 < error < 0.08
    assert classes.offset(EXACT, np.zeros(0), np.zeros(0, bool)) == (0, 1)


def test_a_class_that_was_hardly_ever_answered_is_not_armed() -> None:
    logs, labels = exact(1000, 2)
    logs[:, 3] = -40
    logs = logs - np.log(np.exp(logs).sum(axis=1, keepdims=True))
    labels = np.where(labels == 3, 0, labels)
    assert not fitted(logs, labels).armed[3]


@pytest.mark.parametrize("k", [1, classes.MOST_CLASSES + 1])
def test_one_class_or_very_many_are_not_told_apart(k: int) -> None:
    assert classes.story(np.zeros((60, k)), np.zeros(60, np.int64), EXACT) is None


def test_the_head_file_gives_back_what_was_found() -> None:
    logs, labels = exact(2000, 3)
    known = fitted(logs, labels)
    stored = classes.story(logs, labels, curve_of(logs, labels))
    told = Metadata(reference_curve=EXACT.to_metadata(), class_reference=stored, prior=(0.25,) * 4)
    reference = Reference.from_metadata(Metadata.from_props(told.to_props()))
    assert reference.classes is not None
    assert reference.confusion is not None
    assert np.array_equal(reference.classes.offsets, known.offsets)
    assert np.array_equal(reference.classes.bias_errors, known.bias_errors)
    assert reference.confusion.sum() == pytest.approx(1)
    assert np.allclose(reference.confusion.sum(axis=0), np.bincount(labels, minlength=4) / 2000)
    assert reference.curve == EXACT
    assert report(Monitor(reference))["unarmed"] == []


def test_a_file_without_a_confusion_gives_none() -> None:
    known = ClassReference(ZERO, ZERO, np.zeros(2, bool), ZERO, ZERO, bias_armed=False)
    told = Metadata(reference_curve=EXACT.to_metadata(), class_reference=known.to_metadata())
    reference = Reference.from_metadata(told)
    assert reference.confusion is None
    assert report(Monitor(reference))["unarmed"] == ["class 0", "class 1", "class bias"]
