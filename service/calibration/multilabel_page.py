"""The page of a report on a sigmoid, each label of a row by itself: what stands where."""

from collections.abc import Iterable
from typing import Any, Final

from service.calibration import charts, document
from service.calibration.document import Intervals, figure
from service.calibration.multilabel import MultiProof
from service.calibration.proof import change_sentence
from service.metadata import Metadata

MOST_CLASSES: Final = 50
MOST_DIAGRAMS: Final = 12
TITLES: Final = {
    "nll": "negative log-likelihood of a row",
    "bce": "binary cross-entropy of a label",
    "brier": "Brier score of a row",
    "accuracy": "accuracy of a label",
    "ece": "micro ECE, all labels together",
    "ece_macro": "macro ECE, mean of the classes'",
}
TILES: Final = {
    "bce": "Binary cross-entropy of a label",
    "ece": "Micro calibration error, all labels together",
    "ece_macro": "Macro calibration error, mean of the classes'",
    "accuracy": "Accuracy of a label",
}


def page(proof: MultiProof, story: Metadata, intervals: Intervals, content: dict[str, Any]) -> str:
    """The whole file; `content` is what stands in report.json."""
    classes = sorted(content["classes"], key=lambda one: -one["ece_after"])
    body = (
        document.tiles(TILES, ("bce",), story, intervals),
        reliability_section(proof),
        classes_section(proof, classes),
        document.metrics_section(TITLES, content["rows"]["measured"], story, intervals),
        document.candidates_section(proof.choice),
        document.section(
            "Classes, the least calibrated first",
            f"<p>The first {MOST_CLASSES} of {len(classes)}; report.json has all.</p>"
            if len(classes) > MOST_CLASSES
            else "",
            document.table(
                ("class", "right", "of rows", "scale", "bias", "threshold", "ECE before", "ECE after"),
                class_rows(classes[:MOST_CLASSES]),
            ),
        ),
    )
    changes = change_sentence(proof.changes(), "label")
    return document.document(proof.calibrator, story, content["rows"], changes, body)


def reliability_section(proof: MultiProof) -> str:
    """The diagrams of all labels together, before and after, plain and stretched."""
    diagrams = [
        charts.reliability(when, scores.points(), stretched=stretched, of=charts.LABELS)
        for stretched in (False, True)
        for when, scores in (("Before", proof.before), ("After", proof.after))
    ]
    drawn = "".join(figure(chart, f"reliability{i}") for i, chart in enumerate(diagrams))
    text = (
        f"<p>Each point holds those of the {proof.after.allowed.sum():,} labels, a class of a row each, whose "
        "probability lies in one fifteenth of the axis; its line is the 95 % interval of how often the class was "
        "right. On the dashed line, classes that are said to be 80 % likely are right 80 % of the time. Below, the "
        "same in log-odds, which spreads out what is nearly certain; a hollow point was right every time, or "
        "never.</p>"
    )
    return document.section(
        "Does the probability of a class mean what it says?", text, f'<div class="pair">{drawn}</div>'
    )


def classes_section(proof: MultiProof, classes: list[dict[str, Any]]) -> str:
    """A small diagram for each of the classes with the largest errors."""
    drawn = [
        charts.class_reliability(one["label"], proof.before.points(one["class"]), proof.after.points(one["class"]))
        for one in classes[:MOST_DIAGRAMS]
        if one["rows"]
    ]
    which = (
        f"The {len(drawn)} least calibrated of {len(classes)} classes" if len(drawn) < len(classes) else "Each class"
    )
    text = f"<p>{which}: grey squares before, blue points after, with their 95&nbsp;% interval.</p>"
    figures = "".join(figure(chart, f"class{i}") for i, chart in enumerate(drawn))
    return document.section("Class by class", text, f'<div class="many">{figures}</div>')


def class_rows(classes: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    """A class a row."""
    for one in classes:
        fitted = (f"{one['scale']:.4f}", f"{one['bias']:+.4f}", f"{one['threshold']:.2f}")
        errors = (f"{one['ece_before']:.5f}", f"{one['ece_after']:.5f}")
        yield one["label"], f"{one['right']:,}", f"{one['rows']:,}", *fitted, *errors
