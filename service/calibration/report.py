"""The proof beside the head: `report.html`, one file that needs no other, and `report.json`, every number in full."""

import html
import json
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any, Final

import numpy as np

from service.calibration import charts
from service.calibration.proof import Proof, candidates
from service.conformal import Conformal
from service.measures.metrics import classwise_errors
from service.metadata import Metadata

ALPHAS: Final = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2)
MOST_CLASSES: Final = 50
MOST_SET_ROWS: Final = 2000
TITLES: Final = {
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "brier_calibration": "of it calibration",
    "brier_refinement": "of it refinement",
    "accuracy": "accuracy",
    "ece": "ECE, 15 bins of equal width",
    "ece_mass": "ECE, 15 bins of equal mass",
    "ece_sweep": "ECE, monotone sweep",
    "debiased_l2": "debiased L2 error",
    "mce": "maximum error",
    "ks": "Kolmogorov-Smirnov error",
    "aurc": "area under risk-coverage",
    "classwise_ece": "classwise ECE",
    "smooth_ece": "smooth ECE",
}

Intervals = dict[str, dict[str, tuple[float, float]]]


def write_report(head: Path, proof: Proof, story: Metadata, intervals: Intervals) -> None:
    """Write both files into the folder of the `head` file."""
    sizes = set_sizes(proof)
    content = {
        "head": head.name,
        "calibrator": story.calibrator,
        "rows": {"fitted": proof.fitted_on.n_rows, "measured": len(proof.after.nll), "held_out": proof.held_out},
        "data_sha256": story.data_sha256,
        "metrics": story.metrics,
        "intervals": intervals,
        "candidates": candidates(proof.choice),
        "classes": classes(proof, story),
        "set_sizes": sizes,
        "created": story.created,
        "package_version": story.package_version,
    }
    (head.parent / "report.json").write_text(json.dumps(content, indent=1))
    (head.parent / "report.html").write_text(page(proof, story, intervals, sizes))


def set_sizes(proof: Proof) -> dict[str, dict[float, float]]:
    """The mean size of prediction sets by score and alpha, on some of the fitted rows."""
    rows = proof.fitted_on.take(slice(None, None, max(1, proof.fitted_on.n_rows // MOST_SET_ROWS)))
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


def page(proof: Proof, story: Metadata, intervals: Intervals, sizes: dict[str, dict[float, float]]) -> str:
    template = Template((Path(__file__).parent / "report.template.html").read_text())
    calibrator = proof.calibrator
    figures = {
        "reliability": charts.reliability(proof.before, proof.after),
        "likelihood": charts.likelihood(proof.fitted_on, calibrator),
        "risk": charts.risk(proof.before, proof.after),
        "sets": charts.sets(sizes),
    }
    before, after = story.metrics["before"], story.metrics["after"]
    tables = {
        "metrics": table(("", "before", "after", "95 % interval"), metric_rows(story, intervals)),
        "candidates": table(
            ("method", "parameters", "cross-validated NLL", "to the best", "standard error", ""),
            candidate_rows(proof),
        ),
        "classes": table(("class", "rows", "recall", "ECE before", "ECE after"), class_rows(classes(proof, story))),
    }
    return template.substitute(
        {name: charts.svg(figure, name) for name, figure in figures.items()},
        **{f"{name}_table": text for name, text in tables.items()},
        method=html.escape(calibrator.method),
        temperature=f", temperature {calibrator.temperature:.4f}" if calibrator.method == "temperature" else "",
        n_fitted=f"{proof.fitted_on.n_rows:,}",
        n_measured=f"{len(proof.after.nll):,}",
        held_out=html.escape(proof.held_out),
        n_classes=proof.fitted_on.n_classes,
        nll_before=f"{before['nll']:.4f}",
        nll_after=f"{after['nll']:.4f}",
        ece_before=f"{before['ece']:.2%}",
        ece_after=f"{after['ece']:.2%}",
        brier_before=f"{before['brier']:.4f}",
        brier_after=f"{after['brier']:.4f}",
        accuracy_before=f"{before['accuracy']:.2%}",
        accuracy_after=f"{after['accuracy']:.2%}",
        created=html.escape(story.created or ""),
        sha=html.escape((story.data_sha256 or "")[:16]),
        version=html.escape(story.package_version),
    )


def metric_rows(story: Metadata, intervals: Intervals) -> Iterable[tuple[str, ...]]:
    """A metric a row."""
    for name, title in TITLES.items():
        low, high = intervals["after"][name]
        values = (f"{story.metrics[when][name]:.5f}" for when in ("before", "after"))
        yield title, *values, f"{low:.5f} to {high:.5f}"


def candidate_rows(proof: Proof) -> Iterable[tuple[str, ...]]:
    """A candidate a row, and the logits as they are."""
    yield "as they are", "0", f"{proof.choice.before:.5f}", "", "", "chosen" if proof.choice.plan is None else ""
    for one in proof.choice.candidates:
        mix = ", Laplace mix" if one.plan.laplace else ""
        chosen = "chosen" if one.plan == proof.choice.plan else ""
        yield (
            one.plan.method + mix,
            f"{one.n_parameters:,}",
            f"{one.nll:.5f}",
            f"{one.difference:+.5f}",
            f"{one.error:.5f}",
            chosen,
        )


def class_rows(found: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """The classes with the largest errors first."""
    for one in sorted(found, key=lambda one: -one["ece_after"])[:MOST_CLASSES]:
        recall = "" if one["recall"] is None else f"{one['recall']:.1%}"
        yield one["label"], f"{one['rows']:,}", recall, f"{one['ece_before']:.5f}", f"{one['ece_after']:.5f}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """An HTML table; the first column is text, the others are numbers."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(
        f"<tr{' class=chosen' if row[-1] == 'chosen' else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
