"""What the labels of a head are held against: how right it was on the rows of its fit."""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from service.datasets.dataset import Bools, Floats, Ints
from service.measures.curve import ReferenceCurve, jacobian, log_odds, rate
from service.metadata import Metadata

ERRORS: Final = 2.0
"""Standard errors of the curve that the truth may be away from it."""
CLASS_ERRORS: Final = 4.0
"""The same for what is known of single classes."""


@dataclass(frozen=True, eq=False)
class ClassReference:
    """What the fit knows of each class; only an armed monitor bets.

    Attributes:
        offsets: `[K]`, added to b of the curve for answers of that class.
        offset_errors: their standard errors.
        armed: `[K]`, whether the curve with the offset fits the answers of that class.
        bias: `[K]`, the mean of 1{label = k} - p_k.
        bias_errors: its standard error.
        bias_armed: whether these means fit the rows of the fit in any order.
    """

    offsets: Floats
    offset_errors: Floats
    armed: Bools
    bias: Floats
    bias_errors: Floats
    bias_armed: bool

    def to_metadata(self) -> dict[str, Any]:
        """As JSON for the head file."""
        return {
            "offsets": self.offsets.tolist(),
            "offset_errors": self.offset_errors.tolist(),
            "armed": self.armed.tolist(),
            "bias": self.bias.tolist(),
            "bias_errors": self.bias_errors.tolist(),
            "bias_armed": self.bias_armed,
        }

    @classmethod
    def from_metadata(cls, stored: dict[str, Any]) -> "ClassReference":
        """Read back what `to_metadata` wrote."""
        numbers = (np.array(stored[name], np.float64) for name in ("offsets", "offset_errors", "bias", "bias_errors"))
        offsets, offset_errors, bias, bias_errors = numbers
        armed = np.array(stored["armed"], bool)
        return cls(offsets, offset_errors, armed, bias, bias_errors, bool(stored["bias_armed"]))


@dataclass(frozen=True, eq=False)
class Reference:
    """What the head file says of the day of the fit.

    Attributes:
        curve: how often the best class was right at a confidence.
        source: where the curve is from: the `fit`, the first `live` labels, or `none` yet.
        classes: what is known of single classes.
        prior: the class frequencies, `[K]`.
        confusion: the share of rows with prediction i and label j, `[K,K]`.
    """

    curve: ReferenceCurve | None = None
    source: Literal["fit", "live", "none"] = "none"
    classes: ClassReference | None = None
    prior: Floats | None = None
    confusion: Floats | None = None

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> "Reference":
        """What the file of a head says."""
        curve, known = metadata.reference_curve, metadata.class_reference
        return cls(
            curve=None if curve is None else ReferenceCurve.from_metadata(curve),
            source="none" if curve is None else "fit",
            classes=None if known is None else ClassReference.from_metadata(known),
            prior=None if metadata.prior is None else np.array(metadata.prior),
            confusion=None if known is None else confusion_of(known),
        )

    def expect(self, confidence: Floats) -> tuple[Floats, Floats]:
        """The expected accuracy of answers with these confidences and its tolerance, `[n]` each."""
        return self._expect(confidence, np.zeros(1), np.zeros(1), ERRORS)

    def expect_by_class(self, predicted: Ints, confidence: Floats) -> tuple[Floats, Floats]:
        """The same on the curve that is moved for the answered class of each row, `[n]`."""
        known = self.classes
        if known is None:
            return self.expect(confidence)
        return self._expect(confidence, known.offsets[predicted], known.offset_errors[predicted], CLASS_ERRORS)

    def _expect(self, confidence: Floats, offset: Floats, offset_error: Floats, errors: float) -> tuple[Floats, Floats]:
        """Halfway between the rows out of fold and those of the fit, with all that lies between, and standard errors.

        The heads of the folds have seen fewer rows, and may be worse than the head; of its own rows it says too much.
        """
        curve, odds = self._known(), log_odds(confidence)
        abc = curve.a, curve.b + offset, curve.c
        slopes, r = jacobian(abc, odds), rate(abc, odds)  # by b it is that by the offset, too
        variance = np.einsum("ij,jk,ik->i", slopes, np.array(curve.covariance), slopes)
        tau = errors * np.sqrt(variance + (slopes[:, 1] * offset_error) ** 2)
        if curve.own is None:
            return r, tau
        a, b, c = curve.own
        own = rate((a, b + offset, c), odds)
        return (r + own) / 2, tau + np.abs(r - own) / 2

    def _known(self) -> ReferenceCurve:
        if self.curve is None:
            raise ValueError("there is no reference curve; expected one of the fit, or of the first labels")
        return self.curve


def confusion_of(stored: dict[str, Any]) -> Floats | None:
    """The share of rows with prediction i and label j, `[K,K]`; none where no rows are told."""
    i, j, rows = np.array(stored.get("confusion", []), np.int64).reshape(-1, 3).T
    if not len(rows):
        return None
    found = np.zeros((len(stored["bias"]),) * 2)
    found[i, j] = rows / rows.sum()
    return found
