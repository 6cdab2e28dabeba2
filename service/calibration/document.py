"""The page that every report is: its skeleton, and the parts that stand in it, as HTML.

The template lies beside; the pictures are drawn in `charts`.
"""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

from service.calibration import charts
from service.calibration.charts import Chart
from service.calibration.select import Choice
from service.heads.stages import Stages
from service.metadata import Metadata

Intervals = dict[str, dict[str, tuple[float, float]]]
"""`before` and `after`: metric name to its 95 % interval."""


def document(calibrator: Stages, story: Metadata, rows: Mapping[str, Any], changes: str, body: Iterable[str]) -> str:
    """The whole file: what was fitted on which `rows` (as report.json has them), and `body` below it."""
    temperature = f", temperature {calibrator.temperature:.4f}" if calibrator.method == "temperature" else ""
    summary = (
        f"Method <b>{html.escape(calibrator.method)}</b>{temperature}. Fitted on {rows['fitted']:,} rows of "
        f"{story.classes:,} classes, measured on {rows['measured']:,} rows ({html.escape(rows['held_out'])}). "
        f"{html.escape(changes.capitalize())}."
    )
    sha = html.escape((story.data_sha256 or "")[:16])
    footer = f"Calibrant {html.escape(story.package_version)}, {html.escape(story.created or '')}, data {sha}"
    return fill("Calibration report", calibrator.method, summary, body, footer)


def fill(title: str, subject: str, summary: str, body: Iterable[str], footer: str) -> str:
    """The skeleton with what stands in it; `subject` is text, the others are HTML."""
    template = Template((Path(__file__).parent / "report.template.html").read_text())
    subject = html.escape(subject)
    return template.substitute(title=title, subject=subject, summary=summary, body="\n".join(body), footer=footer)


def section(title: str, *parts: str) -> str:
    """A part of the page under a title."""
    return "\n".join(("<section>", f"<h2>{title}</h2>", *parts, "</section>"))


def figure(chart: Chart, name: str) -> str:
    """A picture with its sentence, and its numbers to unfold."""
    numbers = f"<details><summary>Numbers</summary>{table(chart.heads, chart.rows)}</details>" if chart.rows else ""
    return f"<figure>{charts.svg(chart, name)}<figcaption>{html.escape(chart.sentence)}</figcaption>{numbers}</figure>"


def tiles(names: Mapping[str, str], in_full: Iterable[str], story: Metadata, intervals: Intervals) -> str:
    """The figures at the top, by name and title; a share of rows but for those `in_full`."""
    parts = (tile(title, name, name in in_full, story, intervals) for name, title in names.items())
    return f'<div class="tiles">{"".join(parts)}</div>'


def tile(title: str, name: str, in_full: bool, story: Metadata, intervals: Intervals) -> str:
    """One of them: before, after, and the interval of after."""
    show = "{:.4f}".format if in_full else charts.share
    before, after = (story.metrics[when].get(name, 0.0) for when in ("before", "after"))
    low, high = intervals["after"].get(name, (0.0, 0.0))
    texts = [show(value) for value in (before, after, low, high)]
    return (
        f"<div><small>{title}</small><i>{texts[0]} &rarr;</i> <b>{texts[1]}</b>"
        f"<small>95 %: {texts[2]} to {texts[3]}</small></div>"
    )


def metrics_section(names: Mapping[str, str], n_measured: int, story: Metadata, intervals: Intervals) -> str:
    """Every metric of `names`, by name and title."""
    rows = metric_rows(names, story, intervals)
    text = f"<p>On {n_measured:,} rows, with 95 % intervals.</p>"
    return section("Every metric", text, table(("metric", "before", "after"), rows))


def metric_rows(names: Mapping[str, str], story: Metadata, intervals: Intervals) -> Iterable[tuple[str, ...]]:
    """A metric a row, each with its 95 % interval."""
    for name, title in names.items():
        if any(name in metrics for metrics in story.metrics.values()):
            yield title, *(metric_cell(name, story.metrics[when], intervals[when]) for when in ("before", "after"))


def metric_cell(name: str, metrics: dict[str, float], limits: dict[str, tuple[float, float]]) -> str:
    """A metric with its interval; a likelihood that is not there is infinite, and a share that is not there is 0."""
    if name not in metrics:
        return "infinite" if name == "nll" else "0"
    low, high = limits[name]
    return f"{metrics[name]:.5f}\n{low:.5f} to {high:.5f}"


def candidates_section(choice: Choice) -> str:
    """What was compared, and what could not be."""
    heads = ("method", "parameters", "NLL", "to the best", "standard error", "choice")
    text = (
        "<p>Cross-validated on the fitted rows, by negative log-likelihood (NLL). The simplest method wins that lies "
        "within one standard error of the best, row by row; of those with hardly more parameters, the best.</p>"
    )
    return section("What was compared", text, table(heads, candidate_rows(choice)), refused(choice))


def candidate_rows(choice: Choice) -> Iterable[tuple[str, ...]]:
    """A candidate a row, and the logits as they are."""
    if choice.candidates or choice.plan is None:
        yield "as they are", "0", f"{choice.before:.5f}", "", "", "chosen" if choice.plan is None else ""
    for one in choice.candidates:
        mix = ", Laplace mix" if one.plan.laplace else ""
        chosen = "chosen" if one.plan == choice.plan else ""
        numbers = (f"{one.n_parameters:,}", f"{one.nll:.5f}", f"{one.difference:+.5f}", f"{one.error:.5f}")
        yield one.plan.method + mix, *numbers, chosen


def refused(choice: Choice) -> str:
    """The methods that were no candidates, each with its reason."""
    items = "".join(
        f"<li><b>{html.escape(method)}</b>: {html.escape(reason)}</li>" for method, reason in choice.refused
    )
    return f"<p>Not admissible:</p><ul>{items}</ul>" if items else ""


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
