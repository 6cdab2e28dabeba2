"""The page of a report on one label a row: what stands where. What every page has is in `document`."""

import html
from collections.abc import Iterable
from typing import Any, Final

from service.calibration import charts, document, likelihood
from service.calibration.document import Intervals, figure
from service.calibration.group_table import GroupRow, group_rows, part_of, pulled_sentence
from service.calibration.proof import Proof, change_sentence
from service.metadata import Metadata

MOST_GROUPS: Final = 12  # diagrams of them
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


def page(proof: Proof, story: Metadata, intervals: Intervals, content: dict[str, Any]) -> str:
    """The whole file; `content` is what stands in report.json."""
    shown = {name: TILES[name] for name in tile_names(story)}
    body = (
        document.tiles(shown, ("nll", "brier"), story, intervals),
        reliability_section(proof),
        likelihood_section(proof),
        document.metrics_section(TITLES, len(proof.after.nll), story, intervals),
        document.candidates_section(proof.choice),
        sets_section(content),
        *groups_section(proof),
        document.section("Classes, the least calibrated first", classes_table(content["classes"])),
    )
    return document.document(proof.calibrator, story, content["rows"], change_sentence(proof.changes()), body)


def reliability_section(proof: Proof) -> str:
    """The diagrams, before and after, plain and stretched."""
    diagrams = [
        charts.reliability(when, scores, stretched=stretched)
        for stretched in (False, True)
        for when, scores in (("Before", proof.before), ("After", proof.after))
    ]
    text = (
        f"<p>Each point holds an equal share of the {len(proof.after.nll):,} rows; its line is the 95 % interval of "
        "how often they were right. On the dashed line, rows that are 80 % sure are right 80 % of the time. Below, the "
        "same in log-odds, which spreads out the rows that are nearly certain; a hollow point was right every time.</p>"
    )
    drawn = "".join(figure(chart, f"reliability{i}") for i, chart in enumerate(diagrams))
    return document.section(
        "Does the confidence mean what it says?",
        text,
        f'<div class="pair">{drawn}</div>',
        f"<p>{html.escape(curve_sentence(proof))}</p>",
    )


def likelihood_section(proof: Proof) -> str:
    """The likelihood by temperature, and the risk by coverage."""
    numbers = likelihood.measure(proof.fitted_on, proof.calibrator)
    by_temperature = figure(charts.likelihood(numbers, proof.calibrator.method), "likelihood")
    by_coverage = figure(charts.risk(proof.before, proof.after), "risk")
    return document.section("Likelihood, and whom to trust", f'<div class="pair">{by_temperature}{by_coverage}</div>')


def groups_section(proof: Proof) -> Iterable[str]:
    """Each group: its numbers, and its own diagram; nothing where the fit has no groups."""
    found = group_rows(proof)
    if not found or proof.groups is None:
        return
    heads = ("group", "rows", "temperature", "alone", "NLL before", "after", "ECE before", "after")
    parts = (part_of(proof.after, proof.groups == i) for i, one in enumerate(found[:MOST_GROUPS]) if one.nll)
    names = (one.name for one in found[:MOST_GROUPS] if one.nll)
    drawn = "".join(
        figure(charts.reliability(name, scores, stretched=False), f"group{i}")
        for i, (name, scores) in enumerate(zip(names, parts, strict=True))
    )
    sentence = pulled_sentence(found)
    text = (
        "<p>Each group has a temperature of its own, fitted together with the rest; alone is the one that its own rows "
        f"ask for, with its standard error. {html.escape(f'{sentence}.' if sentence else '')}</p>"
    )
    yield document.section(
        "Groups", text, document.table(heads, map(group_cells, found)), f'<div class="pair">{drawn}</div>'
    )


def group_cells(one: GroupRow) -> tuple[str, ...]:
    """A group's row of the table."""
    alone = "" if one.alone is None else f"{one.alone[0]:.4f}\n+- {one.alone[1]:.4f}"
    numbers = [*(one.nll or ()), *(one.ece or ())]
    cells = [f"{number:.5f}" for number in numbers] or [""] * 4
    return one.name, f"{one.n_measured:,}", f"{one.temperature:.4f}", alone, *cells


def sets_section(content: dict[str, Any]) -> str:
    """How large prediction sets are."""
    text = (
        "<p>A set holds the label with a probability of at least 1 - alpha. LAC has the smallest sets; APS and RAPS "
        "adapt them to each row.</p>"
    )
    return document.section(
        "Prediction sets", text, figure(charts.sets(content["set_sizes"], content["rows"]["sets"]), "sets")
    )


def tile_names(story: Metadata) -> list[str]:
    """The figures at the top: the likelihood, or the Brier score where rows make it infinite."""
    has_zeros = any("impossible" in metrics for metrics in story.metrics.values())
    left_out = {"nll", "ece_mass"} if has_zeros else {"brier", "impossible"}
    return [name for name in TILES if name not in left_out]


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


def classes_table(found: list[dict[str, Any]]) -> str:
    """A class a row."""
    return document.table(("class", "rows", "recall", "ECE before", "ECE after"), class_rows(found))


def class_rows(found: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """The classes with the largest errors first."""
    for one in sorted(found, key=lambda one: -one["ece_after"])[:MOST_CLASSES]:
        recall = "" if one["recall"] is None else charts.tenths(one["recall"])
        yield one["label"], f"{one['rows']:,}", recall, f"{one['ece_before']:.5f}", f"{one['ece_after']:.5f}"
