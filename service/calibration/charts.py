"""The pictures of a report, as matplotlib figures and as SVG to put into a page. The only importer of matplotlib."""

import io
from typing import Any, Final

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from service.datasets.dataset import Dataset, Floats
from service.heads.stages import Stages, log_softmax
from service.measures.metrics import Ordered, risk_coverage
from service.measures.scores import Scores

BEFORE: Final = "#a3a9b5"
AFTER: Final = "#2458c5"
INK: Final = "#1d2330"
STYLE: Final[Any] = {
    "svg.fonttype": "path",  # the page needs no font
    "font.size": 10,
    "axes.edgecolor": "#c4c9d4",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "xtick.color": "#5b6475",
    "ytick.color": "#5b6475",
    "grid.color": "#e8ebf0",
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
}
N_CURVE_LOGITS: Final = 2_000_000
MOST_LINEAR: Final = 12  # classes in a set; beyond, their axis is logarithmic


def svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element; `name` keeps its inner names apart from those of the page's other figures."""
    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


def reliability(before: Scores, after: Scores) -> Figure:
    """Accuracy against confidence, with 95 % bands and the number of rows, before and after."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.9), layout="constrained")
        axes = figure.subplots(2, 2, height_ratios=[4, 1], sharex=True, sharey="row")
        for column, (title, scores, colour) in enumerate((("Before", before, BEFORE), ("After", after, AFTER))):
            diagram, counts = axes[0][column], axes[1][column]
            diagonal(diagram)
            bins(diagram, scores, colour)
            diagram.set(title=title, xlim=(0, 1), ylim=(0, 1.02))
            counts.hist(scores.confidence, bins=40, range=(0, 1), weights=scores.weights, color=colour)
            counts.set(xlabel="confidence")
        axes[0][0].set(ylabel="accuracy")
        axes[1][0].set(ylabel="rows")
    return figure


def diagonal(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))


def bins(axes: Any, scores: Scores, colour: str) -> None:
    """Bins of equal mass, fewer for few rows: the accuracy, its Wilson band and the gap to the confidence."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    edges = np.unique(rows.by_mass(max(2, min(15, rows.n // 30))))
    accuracy, n = rows.accuracy(edges), rows.rows(edges)
    confidence = accuracy + rows.gap(edges) / np.maximum(rows.mass(edges), 1e-300)
    low, high = wilson(accuracy, n)
    axes.fill_between(confidence, low, high, color=colour, alpha=0.22, linewidth=0)
    axes.vlines(
        confidence, np.minimum(accuracy, confidence), np.maximum(accuracy, confidence), color="#d64545", alpha=0.7
    )
    axes.plot(confidence, accuracy, color=colour, marker="o", markersize=4.5, linewidth=1.6)
    error = float(np.abs(rows.gap(edges)).sum() / rows.total)
    axes.text(0.04, 0.93, f"mean gap {error:.2%}", transform=axes.transAxes, color=INK, va="top")


def wilson(share: Floats, n: Floats, z: float = 1.96) -> tuple[Floats, Floats]:
    """The 95 % interval of a share of `n` (Wilson 1927)."""
    n = np.maximum(n, 1e-9)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def likelihood(data: Dataset, calibrator: Stages) -> Figure:
    """Negative log-likelihood of the logits over T, against T, with the optimum and the calibrator's own."""
    rows = data.take(slice(None, None, max(1, data.logits.size // N_CURVE_LOGITS)))
    scores = np.concatenate([Stages().scores(chunk.logits, chunk.mask) for chunk in rows.chunks()])
    middle = calibrator.temperature if calibrator.method in ("temperature", "bias") else best_temperature(scores, rows)
    at = np.geomspace(middle / 4, middle * 4, 49)
    curve = np.array([mean_nll(scores / t, rows) for t in at])
    lowest = int(np.argmin(curve))
    own = np.concatenate([calibrator.predict(c)[np.arange(len(c.labels)), c.labels] for c in rows.chunks()])
    reached = -float(np.average(own, weights=rows.weights))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.5), layout="constrained")
        axes = figure.subplots()
        axes.plot(at, curve, color=BEFORE, linewidth=2.2, label="logits / T")
        axes.plot(at[lowest], curve[lowest], "o", color=INK, label=f"best T {middle:.3f}")
        axes.axvline(1, color="#c4c9d4", linewidth=1)
        axes.axhline(reached, color=AFTER, linewidth=1.6, label=f"{calibrator.method}, {reached:.4f}")
        top = curve[lowest] + 3 * max(mean_nll(scores, rows) - curve[lowest], 0.05 * curve[lowest], 0.02)
        room = 0.08 * (top - min(reached, curve[lowest]))
        axes.set(xscale="log", xlabel="T", ylabel="negative log-likelihood", title="Likelihood on the fitted rows")
        axes.set_ylim(min(reached, curve[lowest]) - room, top)
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if at[0] <= t <= at[-1]]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()
        axes.legend(loc="upper center")
    return figure


def best_temperature(scores: Floats, rows: Dataset) -> float:
    """The T of a coarse grid with the lowest negative log-likelihood, then of a finer one around it."""
    best = 1.0
    for reach, count in ((100.0, 41), (1.3, 21)):
        grid = np.geomspace(best / reach, best * reach, count)
        best = float(grid[int(np.argmin([mean_nll(scores / t, rows) for t in grid]))])
    return best


def mean_nll(scores: Floats, rows: Dataset) -> float:
    """The weighted mean negative log-likelihood of `scores` `[n,K]`."""
    own = log_softmax(scores)[np.arange(rows.n_rows), rows.labels]
    return -float(np.average(own, weights=rows.weights))


def risk(before: Scores, after: Scores) -> Figure:
    """The error rate of the most confident share of the rows, against that share."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.5), layout="constrained")
        axes = figure.subplots()
        for label, scores, colour in (("before", before, BEFORE), ("after", after, AFTER)):
            rows = Ordered(scores.confidence, scores.correct, scores.weights)
            coverage, error = risk_coverage(rows)
            keep = np.unique(np.linspace(0, rows.n - 1, 400).astype(int))
            area = float(np.diff(coverage, prepend=0) @ error)
            axes.plot(coverage[keep], error[keep], color=colour, linewidth=1.9, label=f"{label}, area {area:.4f}")
        axes.set(xlabel="coverage", ylabel="error rate", title="Risk against coverage", xlim=(0, 1), ylim=(0, None))
        axes.legend(loc="upper left")
    return figure


def sets(sizes: dict[str, dict[float, float]]) -> Figure:
    """The mean size of prediction sets against alpha, by score."""
    largest = max(max(by_alpha.values()) for by_alpha in sizes.values())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        for (score, by_alpha), colour in zip(sizes.items(), (AFTER, "#1f9d76", "#c77d1a"), strict=False):
            alphas, means = list(by_alpha), list(by_alpha.values())
            axes.plot(alphas, means, marker="o", markersize=4, color=colour, label=score.upper())
        axes.set(xlabel="alpha", ylabel="classes in the set", ylim=(0, 1.08 * largest))
        axes.set_xticks(alphas, ["" if alpha == 0.02 else f"{alpha:g}" for alpha in alphas])
        if largest > MOST_LINEAR:
            axes.set(yscale="log", ylim=(0.8, 1.3 * largest))
            ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= 1.3 * largest]
            axes.set_yticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
        axes.legend()
    return figure
