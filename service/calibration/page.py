"""The page of a report: what stands where, as HTML. The pictures are drawn in `charts`, the template lies beside."""

import html
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any, Final

from service.calibration import charts, likelihood
from service.calibration.charts import Chart
from service.calibration.proof import Proof, change_sentence
from service.metadata import Metadata

MOST_CLASSES: Final = 50
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
    "impossible": "rows whose class got exactly 0",
}
TILES: Final = {
    "nll": "Negative log-likelihood",
    "brier": "Brier score",  # where a class got exactly 0, and there is no likelihood
    "impossible": "Rows whose class got exactly 0",
    "ece": "Calibration error, 15 bins of equal width",
    "ece_mass": "Calibration error, 15 bins of equal mass",
    "accuracy": "Accuracy",
}
CURVE_AT: Final = (0.6, 0.9, 0.99)

Intervals = dict[str, dict[str, tuple[float, float]]]


def page(proof: Proof, story: Metadata, intervals: Intervals, content: dict[str, Any]) -> str:
    """The whole file; `content` is what stands in report.json."""
    template = Template((Path(__file__).parent / "report.template.html").read_text())
    calibrator = proof.calibrator
    diagrams = [
        charts.reliability(when, scores, stretched=stretched)
        for stretched in (False, True)
        for when, scores in (("Before", proof.before), ("After", proof.after))
    ]
    numbers = likelihood.measure(proof.fitted_on, calibrator)
    return template.substitute(
        tiles="".join(tile(name, TILES[name], story, intervals) for name in tile_names(story)),
        diagrams="".join(figure(chart, f"reliability{i}") for i, chart in enumerate(diagrams)),
        likelihood=figure(charts.likelihood(numbers, calibrator.method), "likelihood"),
        risk=figure(charts.risk(proof.before, proof.after), "risk"),
        sets=figure(charts.sets(content["set_sizes"], content["rows"]["sets"]), "sets"),
        metrics_table=table(("metric", "before", "after"), metric_rows(story, intervals)),
        candidates_table=table(
            ("method", "parameters", "NLL", "to the best", "standard error", "choice"), candidate_rows(proof)
        ),
        refused=refused(proof),
        classes_table=table(("class", "rows", "recall", "ECE before", "ECE after"), class_rows(content["classes"])),
        method=html.escape(calibrator.method),
        temperature=f", temperature {calibrator.temperature:.4f}" if calibrator.method == "temperature" else "",
        n_fitted=f"{proof.fitted_on.n_rows:,}",
        n_measured=f"{len(proof.after.nll):,}",
        held_out=html.escape(proof.held_out),
        n_classes=f"{proof.fitted_on.n_classes:,}",
        changes=html.escape(change_sentence(proof.changes()).capitalize()),
        curve=html.escape(curve_sentence(proof)),
        created=html.escape(story.created or ""),
        sha=html.escape((story.data_sha256 or "")[:16]),
        version=html.escape(story.package_version),
    )


def figure(chart: Chart, name: str) -> str:
    """A picture with its sentence, and its numbers to unfold."""
    numbers = f"<details><summary>Numbers</summary>{table(chart.heads, chart.rows)}</details>" if chart.rows else ""
    return f"<figure>{charts.svg(chart, name)}<figcaption>{html.escape(chart.sentence)}</figcaption>{numbers}</figure>"


def tile_names(story: Metadata) -> list[str]:
    """The figures at the top: the likelihood, or the Brier score where rows make it infinite."""
    has_zeros = any("impossible" in metrics for metrics in story.metrics.values())
    left_out = {"nll", "ece_mass"} if has_zeros else {"brier", "impossible"}
    return [name for name in TILES if name not in left_out]


def tile(name: str, title: str, story: Metadata, intervals: Intervals) -> str:
    """One of the figures at the top: before, after, and the interval of after."""
    show = charts.share if name not in ("nll", "brier") else "{:.4f}".format
    before, after = (story.metrics[when].get(name, 0.0) for when in ("before", "after"))
    low, high = intervals["after"].get(name, (0.0, 0.0))
    texts = [show(value) for value in (before, after, low, high)]
    return (
        f"<div><small>{title}</small><i>{texts[0]} &rarr;</i> <b>{texts[1]}</b>"
        f"<small>95 %: {texts[2]} to {texts[3]}</small></div>"
    )


def curve_sentence(proof: Proof) -> str:
    """What the head file keeps for labels that come later."""
    if proof.curve is None:
        return ""
    right, error = proof.curve.accuracy(CURVE_AT), proof.curve.error(CURVE_AT)
    parts = [
        f"{charts.percent(said)} sure were right in {charts.tenths(r)} (standard error {charts.tenths(s)})"
        for said, r, s in zip(CURVE_AT, right, error, strict=True)
    ]
    return f"The head file keeps this as a curve, for labels that come later: rows {', '.join(parts)}."


def metric_rows(story: Metadata, intervals: Intervals) -> Iterable[tuple[str, ...]]:
    """A metric a row, each with its 95 % interval."""
    for name, title in TITLES.items():
        if any(name in metrics for metrics in story.metrics.values()):
            yield title, *(metric_cell(name, story.metrics[when], intervals[when]) for when in ("before", "after"))


def metric_cell(name: str, metrics: dict[str, float], limits: dict[str, tuple[float, float]]) -> str:
    """A metric with its interval; a likelihood that is not there is infinite, and a share that is not there is 0."""
    if name not in metrics:
        return "infinite" if name == "nll" else "0"
    low, high = limits[name]
    return f"{metrics[name]:.5f}\n{low:.5f} to {high:.5f}"


def candidate_rows(proof: Proof) -> Iterable[tuple[str, ...]]:
    """A candidate a row, and the logits as they are."""
    if proof.choice.candidates or proof.choice.plan is None:
        yield "as they are", "0", f"{proof.choice.before:.5f}", "", "", "chosen" if proof.choice.plan is None else ""
    for one in proof.choice.candidates:
        mix = ", Laplace mix" if one.plan.laplace else ""
        chosen = "chosen" if one.plan == proof.choice.plan else ""
        numbers = (f"{one.n_parameters:,}", f"{one.nll:.5f}", f"{one.difference:+.5f}", f"{one.error:.5f}")
        yield one.plan.method + mix, *numbers, chosen


def refused(proof: Proof) -> str:
    """The methods that were no candidates, each with its reason."""
    items = "".join(
        f"<li><b>{html.escape(method)}</b>: {html.escape(reason)}</li>" for method, reason in proof.choice.refused
    )
    return f"<p>Not admissible:</p><ul>{items}</ul>" if items else ""


def class_rows(found: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """The classes with the largest errors first."""
    for one in sorted(found, key=lambda one: -one["ece_after"])[:MOST_CLASSES]:
        recall = "" if one["recall"] is None else charts.tenths(one["recall"])
        yield one["label"], f"{one['rows']:,}", recall, f"{one['ece_before']:.5f}", f"{one['ece_after']:.5f}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """An HTML table; the first column is text, the others are numbers; a second line of a cell is a smaller one."""
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in heads)
    body = "".join(
        f"<tr{' class=chosen' if row[-1] == 'chosen' else ''}>{''.join(map(cell, row))}</tr>" for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(text: str) -> str:
    first, _, second = text.partition("\n")
    return f"<td>{html.escape(first)}{f'<small>{html.escape(second)}</small>' if second else ''}</td>"
