"""The proof beside a sigmoid head: `report.html` and `report.json`, as `report` writes them for one label a row."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from service.calibration.document import Intervals
from service.calibration.multilabel import MultiProof
from service.calibration.multilabel_page import page
from service.calibration.proof import candidates
from service.measures import reliability
from service.measures.multilabel import class_errors
from service.metadata import Metadata


def write_report(head: Path, proof: MultiProof, story: Metadata, intervals: Intervals) -> None:
    """Write both files into the folder of the `head` file."""
    content = {
        "head": head.name,
        "family": story.family,
        "calibrator": story.calibrator,
        "rows": {
            "fitted": proof.fitted_on.n_rows,
            "measured": len(proof.after.targets),
            "held_out": proof.held_out,
        },
        "changes": proof.changes(),
        "data_sha256": story.data_sha256,
        "metrics": story.metrics,
        "intervals": intervals,
        "reliability": {
            when: reliability.to_json(scores.points(), reliability.width_bins)
            for when, scores in (("before", proof.before), ("after", proof.after))
        },
        "candidates": candidates(proof.choice),
        "refused": dict(proof.choice.refused),
        "classes": classes(proof, story),
        "created": story.created,
        "package_version": story.package_version,
    }
    (head.parent / "report.json").write_text(json.dumps(content, indent=1))
    (head.parent / "report.html").write_text(page(proof, story, intervals, content))


def classes(proof: MultiProof, story: Metadata) -> list[dict[str, Any]]:
    """Each class: its label, measured rows, what was fitted, calibration error and bins before and after.

    scale and bias hold behind the temperature, too: log-odds are scale * logit + bias.
    """
    calibrator, k = proof.calibrator, proof.fitted_on.n_classes
    scale = (np.ones(k) if calibrator.slope is None else calibrator.slope) / calibrator.temperature
    bias = (np.zeros(k) if calibrator.bias is None else calibrator.bias) / calibrator.temperature
    thresholds = story.thresholds or (0.5,) * k
    before, after = class_errors(proof.before), class_errors(proof.after)
    allowed, right = proof.after.allowed, proof.after.right & proof.after.allowed
    return [
        {
            "class": index,
            "label": story.labels[index] if story.labels else str(index),
            "rows": int(allowed[:, index].sum()),
            "right": int(right[:, index].sum()),
            "scale": float(scale[index]),
            "bias": float(bias[index]),
            "threshold": thresholds[index],
            "ece_before": float(before[index]),
            "ece_after": float(after[index]),
            "bins": {
                when: [asdict(one) for one in reliability.width_bins(scores.points(index))]
                for when, scores in (("before", proof.before), ("after", proof.after))
            },
        }
        for index in range(k)
    ]
