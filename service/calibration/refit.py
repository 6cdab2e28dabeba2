"""What the file of a refit says of the rows that it was fitted on: its reference curve, its prediction sets."""

from typing import Any

import numpy as np

from service.calibration import classes, conformal
from service.conformal import SCORES, Conformal
from service.live.guard import FEWEST_LABELS
from service.live.refit import Labelled, temper
from service.measures import curve_fit
from service.metadata import Metadata


def story(rows: Labelled | None, factor: float, old: Metadata) -> dict[str, Any]:
    """The metadata that follow from a head's answers to labelled rows, which it gives at a temperature `factor` times.

    Nothing of the old temperature is left: without rows, or with fewer than 200, there is no curve, and no scores of
    prediction sets; of rows of which not all classes were kept there is a curve alone.
    """
    found: dict[str, Any] = {"reference_curve": None, "class_reference": None, "conformal": {}, "metrics": {}}
    if rows is None or len(rows.columns) < FEWEST_LABELS:
        return found
    logs = temper(rows.log_p, rows.sizes, factor)
    right = logs.argmax(axis=1) == rows.columns
    curve = curve_fit.fit(np.exp(logs.max(axis=1)), right, np.ones(len(logs)))
    found["reference_curve"] = curve.to_metadata()
    if (rows.sizes == 1).all():
        found["class_reference"] = classes.story(logs, rows.columns, curve)
        found["conformal"] = sets(rows, logs, old)
    return found


def sets(rows: Labelled, logs: Any, old: Metadata) -> dict[str, Any]:
    """Scores of the kinds that the old head had; those by group are left out, as groups are not kept."""
    found: dict[str, Any] = {}
    for score in SCORES:
        if score in old.conformal:
            before = Conformal.from_metadata(old.conformal[score])
            if before.by == "group":
                return {}
            fitted = conformal.fit(logs, rows.columns, score, randomised=before.randomised, by=before.by)
            found[score] = fitted.to_metadata()
    return {"default": old.conformal.get("default", next(iter(found))), **found} if found else {}
