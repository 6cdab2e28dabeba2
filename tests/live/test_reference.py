"""What labels are held against."""

from dataclasses import replace

import numpy as np
import pytest

from service.live.reference import CLASS_ERRORS, ERRORS, ClassReference, Reference
from service.measures.curve import ReferenceCurve
from service.metadata import Metadata

CURVE = ReferenceCurve(1.2, -0.5, -4.0, ((0.04, 0.01, 0.0), (0.01, 0.09, 0.0), (0.0, 0.0, 0.25)), 1000)
AT = np.array([0.4, 0.7, 0.95, 0.999])


def classes(offset: float = 0.0, error: float = 0.0) -> ClassReference:
    two, none = np.array([0.0, offset]), np.zeros(2)
    return ClassReference(two, np.full(2, error), np.ones(2, bool), none, none, bias_armed=True)


def test_the_tolerance_is_two_standard_errors_of_the_curve() -> None:
    r, tau = Reference(CURVE, "fit").expect(AT)
    assert r == pytest.approx(CURVE.accuracy(AT))
    assert tau == pytest.approx(ERRORS * CURVE.error(AT))


def test_what_lies_between_the_folds_and_the_fit_itself_is_tolerated_too() -> None:
    curve = replace(CURVE, own=(1.3, 0.1, -7.0))
    r, tau = Reference(curve, "fit").expect(AT)
    folds, own = CURVE.accuracy(AT), ReferenceCurve(1.3, 0.1, -7.0, CURVE.covariance, 1).accuracy(AT)
    assert r == pytest.approx((folds + own) / 2)
    assert (r + tau >= np.maximum(folds, own) + ERRORS * CURVE.error(AT) - 1e-12).all()
    assert (r - tau <= np.minimum(folds, own) - ERRORS * CURVE.error(AT) + 1e-12).all()


def test_a_class_has_its_own_offset_and_a_wider_tolerance() -> None:
    reference = Reference(CURVE, "fit", classes(offset=0.7))
    r, tau = reference.expect_by_class(np.array([0, 1, 0, 1]), AT)
    moved = replace(CURVE, b=0.2)
    assert r[[0, 2]] == pytest.approx(CURVE.accuracy(AT[[0, 2]]))
    assert r[[1, 3]] == pytest.approx(moved.accuracy(AT[[1, 3]]))
    assert tau[[1, 3]] == pytest.approx(CLASS_ERRORS * moved.error(AT[[1, 3]]))
    wider = Reference(CURVE, "fit", classes(error=0.4)).expect_by_class(np.zeros(4, np.int64), AT)[1]
    assert (wider > CLASS_ERRORS * CURVE.error(AT)).all()


def test_without_what_is_known_of_classes_all_are_alike() -> None:
    reference = Reference(CURVE, "fit")
    by_class, all_alike = reference.expect_by_class(np.zeros(4, np.int64), AT), reference.expect(AT)
    assert all((one == other).all() for one, other in zip(by_class, all_alike, strict=True))


def test_a_head_file_without_a_curve_gives_a_reference_without_one() -> None:
    reference = Reference.from_metadata(Metadata(prior=(0.5, 0.5)))
    assert (reference.curve, reference.source, reference.classes, reference.confusion) == (None, "none", None, None)
    with pytest.raises(ValueError, match="there is no reference curve; expected one"):
        reference.expect(AT)


@pytest.mark.parametrize("own", [None, (1.3, 0.1, -7.0)])
def test_the_curve_of_a_head_file_reads_back(own: tuple[float, float, float] | None) -> None:
    curve = replace(CURVE, own=own)
    reference = Reference.from_metadata(Metadata(reference_curve=curve.to_metadata()))
    assert (reference.curve, reference.source) == (curve, "fit")
