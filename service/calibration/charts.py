"""The pictures of a report, as matplotlib figures and as SVG to put into a page. The only importer of matplotlib.

A figure is as wide as a phone's page, so that its text, which stays text, keeps its 12 pixels anywhere. Its colours are
those of the page: it is drawn in the light ones, and the page's variables take their place.
"""

import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from service.calibration.likelihood import Likelihood
from service.datasets.dataset import Floats
from service.measures.curve import log_odds
from service.measures.metrics import Ordered, risk_coverage
from service.measures.reliability import (
    N_HISTOGRAM,
    ROWS_PER_BIN,
    Bin,
    Binning,
    Confidences,
    mass_bins,
    width_bins,
)
from service.measures.scores import N_BINS, Scores

INK, SOFT, LINE, ACCENT, OTHER, PANEL = COLOURS = "#14181f", "#596172", "#e4e7ec", "#2458c5", "#6b7280", "#ffffff"
NAMES: Final = ("ink", "soft", "line", "accent", "other", "panel")
WIDTH: Final = 340  # pixels, which are points here: 72 of them are an inch
SMALL: Final = 240
LEFT: Final = 52
SIDE: Final = 268
MOST_LINEAR: Final = 12  # classes in a set; beyond, their axis is logarithmic
LEAST_SHARE: Final = 1e-3
MOST_SHARE: Final = 1 - 1e-5
"""The stretched axes end here at the latest."""
STRETCHED: Final = (0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999)
PLAIN: Final = (0, 0.25, 0.5, 0.75, 1)
"""The shares that are written at the axes, stretched or not."""
STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 12,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "text.color": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": SOFT,
}


class Chart(NamedTuple):
    """A picture, a sentence that says what it shows, and its numbers as a table, if any: heads and rows of text."""

    figure: Figure
    sentence: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def svg(chart: Chart, name: str) -> str:
    """The figure as an SVG element; `name` keeps its inner names apart from those of the page's other figures."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        chart.figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, dpi=72)
    width, height = (round(72 * inches) for inches in chart.figure.get_size_inches())
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(f'width="{width}pt" height="{height}pt"', f'width="{width}"', 1)
    for colour, variable in zip(COLOURS, NAMES, strict=True):
        drawn = drawn.replace(colour, f"var(--{variable})")
    return drawn.replace("'DejaVu Sans', ", "").replace("<svg ", '<svg aria-hidden="true" ', 1)


class Words(NamedTuple):
    """What a reliability diagram is of, and how its rows are binned."""

    said: str = "confidence"
    unit: str = "rows"
    binned: Binning = mass_bins


ROWS: Final = Words()
LABELS: Final = Words("probability", "labels", width_bins)


def reliability(when: str, scores: Confidences, *, stretched: bool, of: Words = ROWS) -> Chart:
    """Accuracy against confidence in bins with 95 % intervals, and the rows at each confidence.

    Stretched axes are log-odds, where sure heads live; what was right every time is hollow at their edge.
    """
    found = of.binned(scores)
    colour = OTHER if when == "Before" else ACCENT
    points = np.array([(one.confidence, one.accuracy, one.low, one.high) for one in found])
    low, high = stretched_ends(points) if stretched else (0.0, 1.0)
    place = log_odds if stretched else np.asarray
    x, y, bottom, top = (np.clip(place(column), low, high) for column in points.T)
    always = (points[:, 1] == 1) | (points[:, 1] == 0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, 376 / 72))
        diagram = axes_at(figure, LEFT, 98, SIDE, SIDE)
        counts = axes_at(figure, LEFT, 40, SIDE, 44)
        diagram.plot([low, high], [low, high], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        diagram.vlines(x, bottom, top, color=colour, linewidth=1.5, clip_on=False)
        for hollow in (False, True):
            face = PANEL if hollow else colour
            diagram.plot(x[always == hollow], y[always == hollow], "o", color=colour, mfc=face, ms=6, clip_on=False)
        diagram.text(0.03, 0.86, "right more often\nthan said", transform=diagram.transAxes)
        diagram.text(0.98, 0.03, "said more than\nwas right", transform=diagram.transAxes, ha="right")
        confidences = np.clip(place(scores.confidence), low, high)
        n, _, _ = counts.hist(confidences, bins=N_HISTOGRAM, range=(low, high), color=colour)
        at = [share for share in STRETCHED if low <= log_odds([share])[0] <= high] if stretched else PLAIN
        labels, ticks = [percent(share) for share in at], place(at)
        wide = spread_out(ticks, 46 * (high - low) / SIDE)
        diagram.set(xlim=(low, high), ylim=(low, high), yticks=ticks, yticklabels=labels, xticks=[])
        counts.set(xlim=(low, high), yticks=[max(n)], yticklabels=[f"{max(n):,.0f}"])
        counts.set_xticks(ticks[wide], [labels[i] for i in wide])
        counts.set_xlabel(f"{of.said}, in log-odds" if stretched else of.said)
    if stretched:
        return Chart(figure, f"{when}, in log-odds: the same bins.", (), ())
    sentence = f"{when}: {bins_sentence(scores, found)}"
    return Chart(figure, sentence, (of.said, of.unit, "said", "right", "95 % interval"), bin_rows(found))


def bins_sentence(scores: Confidences, found: Sequence[Bin]) -> str:
    """What the bins of a diagram show."""
    off = sum(one.is_off for one in found)
    mean, right = (np.average(values, weights=scores.weights) for values in (scores.confidence, scores.correct))
    return (
        f"said {tenths(mean)} on average, was right in {tenths(right)}. {off} of {len(found)} bins "
        f"{'lies' if off == 1 else 'lie'} outside their 95 % interval, where chance alone puts {0.05 * len(found):.1f}."
    )


def bin_rows(found: Sequence[Bin]) -> list[tuple[str, ...]]:
    """The numbers of a diagram, a bin a row."""
    return [
        (f"{share(one.start)} to {share(one.stop)}", f"{one.rows:,}", share(one.confidence), share(one.accuracy),
         f"{share(one.low)} to {share(one.high)}")
        for one in found
    ]  # fmt: skip


def class_reliability(title: str, before: Confidences, after: Confidences) -> Chart:
    """How often one class was right against its probability, before and after, with the 95 % intervals of after.

    In 15 bins of equal width, fewer where it was right in few rows.
    """
    n_bins = int(np.clip(after.correct.sum() // ROWS_PER_BIN, 3, N_BINS))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(SMALL / 72, (SMALL - 12) / 72))
        diagram = axes_at(figure, 48, 42, SMALL - 76, SMALL - 66)
        diagram.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        for scores, colour, mark in ((before, OTHER, "s"), (after, ACCENT, "o")):
            found = width_bins(scores, n_bins)
            x, y = [one.confidence for one in found], [one.accuracy for one in found]
            diagram.plot(x, y, mark, color=colour, ms=5, clip_on=False)
        diagram.vlines(x, [one.low for one in found], [one.high for one in found], color=ACCENT, clip_on=False)
        labels = [percent(tick) for tick in (0, 0.5, 1)]
        diagram.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), xticklabels=labels)
        diagram.set_yticks((0, 0.5, 1), labels)
        diagram.tick_params("x", pad=8)
        diagram.set_xlabel("probability")
    mean, right = after.confidence.mean(), after.correct.mean()
    sentence = f"{title}: after, said {tenths(mean)} on average, was right in {tenths(right)}."
    return Chart(figure, sentence, ("probability", "rows", "said", "right", "95 % interval"), bin_rows(found))


def stretched_ends(points: Floats) -> tuple[float, float]:
    """Where the log-odds axes begin and end: all points on them, but for those that were right every time or never."""
    inner = points[(points > 0) & (points < 1)]
    low, high = log_odds(np.clip([inner.min(initial=0.5), inner.max(initial=0.9)], LEAST_SHARE, MOST_SHARE))
    return float(low) - 0.2, float(high) + 0.2


def spread_out(ticks: Floats, least: float) -> list[int]:
    """Which ticks to label from the right, so that labels are `least` apart."""
    kept: list[int] = []
    for i in reversed(range(len(ticks))):
        if not kept or ticks[kept[-1]] - ticks[i] >= least:
            kept.append(i)
    return kept[::-1]


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Any:
    """Axes at a place in pixels."""
    wide, high = figure.get_size_inches() * 72
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def percent(value: float) -> str:
    """A tick as short as it can be."""
    return f"{100 * value:.6g}\N{NO-BREAK SPACE}%"


def tenths(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def share(value: float) -> str:
    return f"{100 * value:.2f}\N{NO-BREAK SPACE}%"


def likelihood(found: Likelihood, method: str) -> Chart:
    """Negative log-likelihood, or Brier score, of the logits over T, against T, with the best and the calibrator's."""
    curve, best = found.curve, found.best
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, 300 / 72))
        axes = axes_at(figure, LEFT, 44, SIDE, 240)
        axes.plot(found.temperatures, curve, color=OTHER, linewidth=2, label="logits / T")
        axes.plot(best, curve.min(), "o", color=OTHER, label=f"best T {best:.3f}")
        axes.axhline(found.reached, color=ACCENT, linewidth=2, label=method)
        top = curve.min() + 3 * max(found.plain - curve.min(), 0.05 * curve.min(), 0.02)
        least = min(found.reached, curve.min())
        axes.set(xscale="log", xlabel="temperature T", ylim=(least - 0.08 * (top - least), top))
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if curve.size and best / 4 <= t <= best * 4]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.legend(loc="upper center", fontsize=12)
    sentence = (
        f"Over {found.n:,} fitted rows the logits alone reach a {found.what} of {curve.min():.4f} at T = {best:.3f}; "
        f"{method} reaches {found.reached:.4f}."
    )
    rows = [(f"{t:.3g}", f"{nll:.4f}") for t, nll in zip(found.temperatures[::6], curve[::6], strict=True)]
    return Chart(figure, sentence, ("T", found.what), rows)


def risk(before: Scores, after: Scores) -> Chart:
    """The error rate of the most confident share of the rows, against that share."""
    lines = []
    for scores in (before, after):
        rows = Ordered(scores.confidence, scores.correct, scores.weights)
        coverage, error = risk_coverage(rows)
        lines.append((coverage, error, float(np.diff(coverage, prepend=0) @ error)))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, 300 / 72))
        axes = axes_at(figure, LEFT, 44, SIDE, 240)
        for (coverage, error, _), name, colour in zip(lines, ("before", "after"), (OTHER, ACCENT), strict=True):
            keep = np.unique(np.linspace(0, len(error) - 1, 400).astype(int))
            axes.plot(coverage[keep], error[keep], color=colour, linewidth=2, label=name)
        axes.set(xlabel="most confident share of the rows", xlim=(0, 1), ylim=(0, None))
        axes.xaxis.set_major_formatter(lambda value, _: percent(value))
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        axes.legend(loc="upper left", fontsize=12)
    sentence = (
        f"Error rate of the surest rows, of {len(before.nll):,}. The area under it goes from {lines[0][2]:.4f} "
        f"to {lines[1][2]:.4f}; 0 is best."
    )
    parts = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
    rates = [[float(np.interp(part, coverage, error)) for part in parts] for coverage, error, _ in lines]
    table = [(percent(part), share(a), share(b)) for part, a, b in zip(parts, *rates, strict=True)]
    return Chart(figure, sentence, ("surest rows", "error before", "after"), table)


def sets(sizes: dict[str, dict[float, float]], n: int) -> Chart:
    """The mean size of prediction sets against alpha, by score; `n` is the number of rows."""
    largest = max(max(by_alpha.values()) for by_alpha in sizes.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, 300 / 72))
        axes = axes_at(figure, LEFT, 44, SIDE, 240)
        for (score, by_alpha), line in zip(sizes.items(), ("-", "--", ":"), strict=False):
            axes.plot(list(by_alpha), list(by_alpha.values()), line, color=ACCENT, linewidth=2, label=score.upper())
        axes.set(xlabel="alpha, the share of rows that may be missed", xlim=(0, None))
        if largest > MOST_LINEAR:
            ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if t <= largest]
            axes.set_yscale("log")
            axes.set_yticks(ticks, [f"{t:,}" for t in ticks])
            axes.minorticks_off()
        else:
            axes.set_ylim(0, None)
        axes.xaxis.set_major_formatter(lambda value, _: percent(value))
        axes.legend(loc="upper right", fontsize=12)
    rows = [
        (percent(alpha), *(f"{sizes[score][alpha]:.2f}" for score in sizes)) for alpha in next(iter(sizes.values()))
    ]
    sentence = f"Mean number of classes in a set, over {n:,} rows of the fit."
    return Chart(figure, sentence, ("alpha", *(score.upper() for score in sizes)), rows)
