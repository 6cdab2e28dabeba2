"""What the terminal shows: a bar while it takes long, then a table and a small diagram."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from service.calibration.ensemble import Comparison
from service.calibration.proof import Proof, change_sentence
from service.calibration.select import FEWEST_ROWS
from service.heads.members import AVERAGES
from service.measures.metrics import Ordered, measure
from service.measures.scores import Scores

MOST_NAMES: Final = 12
SHOWN: Final = (
    "nll",
    "impossible",
    "brier",
    "accuracy",
    "ece",
    "ece_mass",
    "smooth_ece",
    "classwise_ece",
    "ks",
    "aurc",
)
BLOCKS: Final = " ▁▂▃▄▅▆▇█"

Intervals = dict[str, dict[str, tuple[float, float]]]


@contextmanager
def progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar of about so many steps on the error stream, gone when the work is done."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=steps)

        def tell(step: str) -> None:
            bar.update(task, description=step, advance=1)

        yield tell


def class_hint(console: Console, proof: Proof) -> None:
    """Print the classes, and warn of those without a row: mostly columns that are not classes."""
    data = proof.fitted_on
    names = data.class_names or tuple(map(str, range(data.n_classes)))
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    console.print(f"{data.n_classes} classes: {shown}", markup=False)
    absent = [names[i] for i in np.flatnonzero(np.bincount(data.labels, minlength=data.n_classes) == 0)]
    if absent:
        one = len(absent) == 1
        question = "is it a class? Nothing could be learned about it" if one else "are these classes?"
        warn(f"no row is labelled {' or '.join(absent[:MOST_NAMES])}: {question}")


def show(path: Path, proof: Proof, intervals: Intervals, *, replaced: bool = False) -> None:
    """The outcome of a fit."""
    console = Console(highlight=False, soft_wrap=True)
    calibrator, plan = proof.calibrator, proof.choice.plan
    if plan is None:
        warn("every method makes the cross-validated likelihood worse: the logits are left as they are")
    if proof.held_out == "fitted":
        n = proof.fitted_on.n_rows
        warn(
            f"none of {count(n, 'row')} could be held out, so the numbers are of those fitted on, and flatter: "
            f"expected {f'{FEWEST_ROWS} or more, or ' if n < FEWEST_ROWS else ''}others to test on"
        )
    error = "" if proof.error is None else f" +- {proof.error:.4f}"
    told = f"temperature {calibrator.temperature:.4f}{error}, " if calibrator.method == "temperature" else ""
    n_parameters, n_rows = count(calibrator.n_parameters, "parameter"), count(proof.fitted_on.n_rows, "row")
    family = "" if calibrator.family.name == "softmax" else f"{calibrator.family.name}, "
    console.print(f"{family}{calibrator.method}: {told}{n_parameters} from {n_rows}")
    class_hint(console, proof)
    metrics = proof.metrics()
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{count(len(proof.after.nll), 'row')}, {proof.held_out}")
    for head in ("before", "after", "95 % interval"):
        table.add_column(head, justify="right")
    for name in SHOWN:
        if name in metrics["before"] or name in metrics["after"]:
            missing = "infinite" if name == "nll" else "0"
            values = [f"{metrics[when][name]:.4f}" if name in metrics[when] else missing for when in metrics]
            low, high = intervals["after"].get(name, (0.0, 0.0))
            limits = f"{low:.4f} to {high:.4f}" if name in metrics["after"] else ""
            table.add_row(name.replace("_", " "), *values, limits)
    console.print(table)
    console.print(change_sentence(proof.changes()))
    for when, scores in (("before", proof.before), ("after", proof.after)):
        console.print(f"{when:7} {reliability(scores)}")
    console.print(f"wrote {path}" + (", in place of what was there" if replaced else ""), markup=False)


def show_members(found: Comparison) -> None:
    """What is averaged, and what each member does alone."""
    console = Console(highlight=False, soft_wrap=True)
    taken = found.members.average
    others = ", ".join(
        f"of {kind} {loss:.4f}" for kind, loss in found.losses.items() if kind in AVERAGES and kind != taken
    )
    alone, loss = found.best_alone
    console.print(f"mean of {taken}: {found.criterion} {found.loss:.4f} ({others}; {alone} alone {loss:.4f})")
    if loss < found.loss:
        warn(
            f"{alone} alone does better than all of them together; expected members of about equal strength, or weights"
        )


def show_metrics(title: str, scores: Scores) -> None:
    """Every metric of one head."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in measure(scores).items():
        table.add_row(name.replace("_", " "), f"{value:.6f}")
    console.print(table)
    console.print(reliability(scores))


def count(n: int, what: str) -> str:
    """So many of something."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def warn(sentence: str) -> None:
    """One sentence on the error stream."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"warning: {sentence}", markup=False)


def reliability(scores: Scores) -> str:
    """Confidence and accuracy in ten bins of equal mass, as two rows of blocks."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    edges = np.unique(rows.by_mass(10))
    accuracy = rows.accuracy(edges)
    confidence = accuracy + rows.gap(edges) / np.maximum(rows.mass(edges), 1e-300)
    return f"confidence {bars(confidence)}  accuracy {bars(accuracy)}"


def bars(values: np.ndarray) -> str:
    """Numbers in [0,1] as blocks."""
    return "".join(BLOCKS[round(float(np.clip(value, 0, 1)) * 8)] for value in values)
