"""The page of an evaluation: what a head does on some rows, beside another if there is one, and what was required."""

import html
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from service import __version__
from service.calibration import charts, document
from service.calibration.page import TITLES
from service.calibration.proof import change_sentence
from service.measures.scores import Scores


class Measured(NamedTuple):
    """A head by the name that it was given, and its rows where one class is chosen."""

    name: str
    scores: Scores | None


def write_report(path: Path, told: Mapping[str, Any], head: Measured, baseline: Measured | None) -> None:
    """Write the page; `told` is what `calibrant evaluate --json` prints."""
    beside = "" if baseline is None else f", beside <b>{html.escape(baseline.name)}</b>"
    changes = f" {change_sentence(told['changes']).capitalize()}." if "changes" in told else ""
    summary = (
        f"<b>{html.escape(head.name)}</b> on {told['rows']:,} rows ({html.escape(told['part'])}){beside}.{changes}"
    )
    body = [
        *requirements_section(told.get("requirements", ())),
        *differences_section(told.get("differences", {})),
        *reliability_section([one for one in (head, baseline) if one is not None]),
        metrics_section(told),
    ]
    footer = f"Calibrant {__version__}, {datetime.now(UTC).isoformat(timespec='seconds')}"
    path.write_text(document.fill("Evaluation report", head.name, summary, body, footer))


def requirements_section(found: Any) -> list[str]:
    """Each bound, and whether it is kept."""
    rows = [
        (one["requirement"], f"{one['value']:.5f}", f"{one['bound']:.5f}", "kept" if one["holds"] else "not kept")
        for one in found
    ]
    return [document.section("Requirements", document.table(("bound", "value", "limit", ""), rows))] if rows else []


def differences_section(found: Mapping[str, Any]) -> list[str]:
    """What the head has more than the baseline, row by row."""
    rows = [
        (TITLES.get(name, name), f"{one['value']:+.5f}\n{one['interval'][0]:+.5f} to {one['interval'][1]:+.5f}")
        for name, one in found.items()
    ]
    text = "<p>Of the same rows, so that what is hard for both cancels out; with 95 % intervals.</p>"
    return (
        [document.section("Beside the baseline", text, document.table(("metric", "difference"), rows))] if rows else []
    )


def reliability_section(heads: list[Measured]) -> list[str]:
    """The diagrams, plain and stretched."""
    drawn = [
        document.figure(charts.reliability(head.name, head.scores, stretched=stretched), f"reliability{i}{stretched}")
        for i, head in enumerate(heads)
        if head.scores is not None
        for stretched in (False, True)
    ]
    text = (
        "<p>Each point holds an equal share of the rows; its line is the 95 % interval of how often they were "
        "right.</p>"
    )
    pictures = f'<div class="pair">{"".join(drawn)}</div>'
    return [document.section("Does the confidence mean what it says?", text, pictures)] if drawn else []


def metrics_section(told: Mapping[str, Any]) -> str:
    """Every metric, with those of the baseline."""
    others = told.get("baseline")
    rows = []
    for name, one in told["metrics"].items():
        low, high = one.get("interval", (None, None))
        limits = "" if low is None else f"\n{low:.5f} to {high:.5f}"
        other = () if others is None else (f"{others[name]:.5f}" if name in others else "",)
        rows.append((TITLES.get(name, name.replace("_", " ")), f"{one['value']:.5f}{limits}", *other))
    heads = ("metric", "head", *(() if others is None else ("baseline",)))
    return document.section("Every metric", document.table(heads, rows))
