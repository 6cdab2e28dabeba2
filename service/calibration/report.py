"""The proof beside the head: `report.html`, one file that needs no other, and `report.json`, every number in full."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.calibration.document import Intervals
from service.calibration.group_table import group_rows
from service.calibration.page import page
from service.calibration.proof import Proof, candidates
from service.conformal import Conformal
from service.datasets.dataset import Dataset
from service.measures import reliability
from service.measures.metrics import classwise_errors
from service.metadata import Metadata

ALPHAS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
MOST_SET_ROWS: Final = 2000


def write_report(head: Path, proof: Proof, story: Metadata, intervals: Intervals) -> None:
    """Write both files into the folder of the `head` file."""
    rows = proof.fitted_on.take(slice(None, None, max(1, proof.fitted_on.n_rows // MOST_SET_ROWS)))
    content = {
        "head": head.name,
        "calibrator": story.calibrator,
        "rows": {
            "fitted": proof.fitted_on.n_rows,
            "measured": len(proof.after.nll),
            "held_out": proof.held_out,
            "sets": rows.n_rows,
        },
        "changes": proof.changes(),
        "data_sha256": story.data_sha256,
        "metrics": story.metrics,
        "intervals": intervals,
        "reliability": {
            when: reliability.to_json(scores) for when, scores in (("before", proof.before), ("after", proof.after))
        },
        "reference_curve": story.reference_curve,
        "candidates": candidates(proof.choice),
        "refused": dict(proof.choice.refused),
        "classes": classes(proof, story),
        "groups": [one._asdict() for one in group_rows(proof)],
        "set_sizes": set_sizes(proof, rows),
        "created": story.created,
        "package_version": story.package_version,
    }
    (head.parent / "report.json").write_text(json.dumps(content, indent=1))
    (head.parent / "report.html").write_text(page(proof, story, intervals, content))


def set_sizes(proof: Proof, rows: Dataset) -> dict[str, dict[float, float]]:
    """The mean size of prediction sets by score and alpha, on some of the fitted rows."""
    logs = np.concatenate([proof.calibrator.predict(chunk) for chunk in rows.chunks()])

    def size(conformal: Conformal, alpha: float) -> float:
        uniforms = np.random.default_rng(0).random(len(logs)) if conformal.randomised else None
        return float(conformal.sets(logs, alpha, groups=rows.groups, uniforms=uniforms).sum(axis=1).mean())

    return {score: {alpha: size(one, alpha) for alpha in ALPHAS} for score, one in proof.conformal.items()}


def classes(proof: Proof, story: Metadata) -> list[dict[str, Any]]:
    """Each class: its label, rows, recall and calibration error before and after."""
    before, after = (classwise_errors(scores.classwise) for scores in (proof.before, proof.after))
    scores = proof.after
    hit = np.bincount(scores.labels, scores.weights * (scores.predictions == scores.labels), len(after))
    weight = np.bincount(scores.labels, scores.weights, len(after))
    return [
        {
            "class": index,
            "label": story.labels[index] if story.labels else str(index),
            "rows": int((scores.labels == index).sum()),
            "recall": float(hit[index] / weight[index]) if weight[index] else None,
            "ece_before": float(before[index]),
            "ece_after": float(after[index]),
        }
        for index in range(len(after))
    ]
