"""What the terminal shows: a bar while it takes long, then a table and a small diagram."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from service.calibration.ensemble import Comparison
from service.calibration.group_table import GroupRow, group_rows, pulled_sentence
from service.calibration.multilabel import MultiProof
from service.calibration.proof import Proof, change_sentence
from service.calibration.select import FEWEST_ROWS, Choice
from service.datasets.dataset import Ints
from service.heads.members import AVERAGES
from service.measures.metrics import Ordered
from service.measures.reliability import Confidences

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
LABELS_SHOWN: Final = ("nll", "bce", "brier", "accuracy", "ece", "ece_macro")
BLOCKS: Final = " ▁▂▃▄▅▆▇█"

Intervals = dict[str, dict[str, tuple[float, float]]]


@contextmanager
def progress(steps: int) -> Iterator[Callable[[str], None]]:
    """A bar of about so many steps on the error stream, gone when the work is done."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=steps)

        def tell(step: str) -> None:
            bar.update(task, description=step, advance=1)

        yield tell


def class_hint(console: Console, proof: Proof) -> None:
    """Print the classes, and warn of those without a row: mostly columns that are not classes."""
    data = proof.fitted_on
    names = data.class_names or tuple(map(str, range(data.n_classes)))
    console.print(class_list(names), markup=False)
    absent = [names[i] for i in np.flatnonzero(np.bincount(data.labels, minlength=data.n_classes) == 0)]
    if absent:
        one = len(absent) == 1
        question = "is it a class? Nothing could be learned about it" if one else "are these classes?"
        warn(f"no row is labelled {' or '.join(absent[:MOST_NAMES])}: {question}")


def class_list(names: Sequence[str]) -> str:
    """The first of the classes by name."""
    shown = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    return f"{len(names)} classes: {shown}"


def show(path: Path, proof: Proof, intervals: Intervals, *, replaced: bool = False) -> None:
    """The outcome of a fit."""
    console = Console(highlight=False, soft_wrap=True)
    calibrator = proof.calibrator
    warn_of_fit(proof.choice, proof.held_out, proof.fitted_on.n_rows)
    error = "" if proof.error is None else f" +- {proof.error:.4f}"
    told = f"temperature {calibrator.temperature:.4f}{error}, " if calibrator.method == "temperature" else ""
    n_parameters, n_rows = count(calibrator.n_parameters, "parameter"), count(proof.fitted_on.n_rows, "row")
    family = "" if calibrator.family.name == "softmax" else f"{calibrator.family.name}, "
    console.print(f"{family}{calibrator.method}: {told}{n_parameters} from {n_rows}")
    class_hint(console, proof)
    title = f"{count(len(proof.after.nll), 'row')}, {proof.held_out}"
    console.print(metric_table(title, SHOWN, proof.metrics(), intervals))
    console.print(change_sentence(proof.changes()))
    for when, scores in (("before", proof.before), ("after", proof.after)):
        console.print(f"{when:7} {reliability(scores)}")
    show_groups(console, group_rows(proof))
    console.print(f"wrote {path}" + (", in place of what was there" if replaced else ""), markup=False)


def show_groups(console: Console, found: Sequence[GroupRow]) -> None:
    """A line for each of the first groups, and which were pulled towards the common temperature."""
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    for i, head in enumerate(("group", "rows", "T", "alone", "nll before, after", "ece before, after")):
        table.add_column(head, justify="right" if i else "left")
    for one in found[:MOST_NAMES]:
        alone = "" if one.alone is None else f"{one.alone[0]:.3f} +- {one.alone[1]:.3f}"
        pairs = ["" if two is None else f"{two[0]:.4f} {two[1]:.4f}" for two in (one.nll, one.ece)]
        table.add_row(Text(one.name), f"{one.n_measured:,}", f"{one.temperature:.4f}", alone, *pairs)
    console.print(table)
    if len(found) > MOST_NAMES:
        console.print(f"and {len(found) - MOST_NAMES} more groups in the report")
    if sentence := pulled_sentence(found):
        console.print(sentence, markup=False)


def show_labels(path: Path, proof: MultiProof, intervals: Intervals, *, replaced: bool = False) -> None:
    """The outcome of a fit to a matrix of labels."""
    console = Console(highlight=False, soft_wrap=True)
    calibrator, data = proof.calibrator, proof.fitted_on
    warn_of_fit(proof.choice, proof.held_out, data.n_rows)
    told = f"temperature {calibrator.temperature:.4f}, " if calibrator.method == "temperature" else ""
    n_parameters, n_rows = count(calibrator.n_parameters, "parameter"), count(data.n_rows, "row")
    console.print(f"{calibrator.family.name}, {calibrator.method}: {told}{n_parameters} from {n_rows}")
    names = data.class_names or tuple(map(str, range(data.n_classes)))
    console.print(class_list(names), markup=False)
    if calibrator.slope is not None and (turned := [names[i] for i in np.flatnonzero(calibrator.slope <= 0)]):
        warn(f"higher logits make {' and '.join(turned[:MOST_NAMES])} less likely: are labels and logits in one order?")
    right = 100 * proof.after.right[proof.after.allowed].mean()
    console.print(f"{right:.3g} % of {proof.after.allowed.sum():,} labels are right")
    title = f"{count(len(proof.after.targets), 'row')}, {proof.held_out}"
    console.print(metric_table(title, LABELS_SHOWN, proof.metrics(), intervals))
    console.print(change_sentence(proof.changes(), "label"))
    for when, scores in (("before", proof.before), ("after", proof.after)):
        console.print(f"{when:7} {label_reliability(scores.points())}")
    console.print(f"wrote {path}" + (", in place of what was there" if replaced else ""), markup=False)


def metric_table(
    title: str, names: Iterable[str], metrics: Mapping[str, Mapping[str, float]], intervals: Intervals
) -> Table:
    """The metrics of `names` that there are, before and after."""
    table = Table(box=None, pad_edge=False)
    table.add_column(title)
    for head in ("before", "after", "95 % interval"):
        table.add_column(head, justify="right")
    for name in names:
        if name in metrics["before"] or name in metrics["after"]:
            missing = "infinite" if name == "nll" else "0"
            values = [f"{metrics[when][name]:.4f}" if name in metrics[when] else missing for when in metrics]
            low, high = intervals["after"].get(name, (0.0, 0.0))
            limits = f"{low:.4f} to {high:.4f}" if name in metrics["after"] else ""
            table.add_row(name.replace("_", " "), *values, limits)
    return table


def warn_of_fit(choice: Choice, held_out: str, n: int) -> None:
    """Say where nothing was accepted, and where the numbers of `n` rows flatter."""
    if choice.plan is None:
        warn("every method makes the cross-validated likelihood worse: the logits are left as they are")
    if held_out == "fitted":
        warn(
            f"none of {count(n, 'row')} could be held out, so the numbers are of those fitted on, and flatter: "
            f"expected {f'{FEWEST_ROWS} or more, or ' if n < FEWEST_ROWS else ''}others to test on"
        )


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


def show_metrics(title: str, metrics: Mapping[str, float], n_impossible: int, reliability: str) -> None:
    """Every metric of one head."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    for name, value in metrics.items():
        table.add_row(name.replace("_", " "), f"{value:.6f}")
    table.add_row("n impossible", str(n_impossible))
    console.print(table)
    console.print(reliability)


def show_differences(
    baseline: str,
    metrics: Mapping[str, float],
    others: Mapping[str, float],
    differences: Mapping[str, Mapping[str, Any]],
    changes: dict[str, int],
) -> None:
    """How a head does beside a baseline, on the same rows."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(title=f"beside {baseline}, row by row", title_justify="left", box=None, pad_edge=False)
    for name in ("", "head", "baseline", "difference", "95 % interval"):
        table.add_column(name, justify="right" if name else "left")
    for name, one in differences.items():
        low, high = one["interval"]
        values = f"{metrics[name]:.6f}", f"{others[name]:.6f}", f"{one['value']:+.6f}"
        table.add_row(name.replace("_", " "), *values, f"{low:+.6f} to {high:+.6f}")
    console.print(table)
    console.print(change_sentence(changes))


def count(n: int, what: str) -> str:
    """So many of something."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def warn(sentence: str) -> None:
    """One sentence on the error stream."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"warning: {sentence}", markup=False)


def reliability(scores: Confidences) -> str:
    """Confidence and accuracy in ten bins of equal mass, as two rows of blocks."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    return two_rows(rows, rows.by_mass(10), "confidence", "accuracy")


def label_reliability(scores: Confidences) -> str:
    """The same of labels, most of which are hardly likely: in ten bins of equal width."""
    rows = Ordered(scores.confidence, scores.correct, scores.weights)
    return two_rows(rows, rows.by_width(10), "probability", "right")


def two_rows(rows: Ordered, edges: Ints, said: str, right: str) -> str:
    """What was said and what was right in each bin that holds anything."""
    edges = np.unique(edges)
    accuracy = rows.accuracy(edges)
    confidence = accuracy + rows.gap(edges) / np.maximum(rows.mass(edges), 1e-300)
    return f"{said} {bars(confidence)}  {right} {bars(accuracy)}"


def bars(values: np.ndarray) -> str:
    """Numbers in [0,1] as blocks."""
    return "".join(BLOCKS[round(float(np.clip(value, 0, 1)) * 8)] for value in values)
