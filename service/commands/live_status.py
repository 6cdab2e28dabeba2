"""Show what the labels that came say of each version."""

import argparse
import time
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from service.commands.options import add_settings, journal_folder
from service.errors import UsedWrongly
from service.journal.state import NAME, read_state
from service.live.evidence import NULL
from service.settings import load

BLOCKS: Final = " ▁▂▃▄▅▆▇█"
OLD_S: Final = 20.0  # a live process tells every 5 s that it runs
MOST_GROUPS: Final = 20
"""Monitors of groups that are shown, those with the most evidence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model or version, and the journal."""
    parser.add_argument("name", nargs="?", metavar="MODEL[/VERSION]", help="this one alone (default: all)")
    add_settings(parser, ("journal",))


def run(arguments: argparse.Namespace) -> int:
    """Print what the live process told last."""
    given = vars(arguments)
    name = given.pop("name")
    told = read_told(journal_folder(load(**given)))
    models = told.get("models", {})
    shown = {each: found for each, found in models.items() if name in (None, each, each.rpartition("/")[0])}
    if name is not None and not shown:
        there = ", ".join(sorted(models)) or "a version that has answered"
        raise UsedWrongly(f"no answer of {name} was read yet; expected {there}")
    show(told | {"models": shown})
    return 0


def read_told(folder: Path) -> dict[str, Any]:
    """What the live process told last; raises UsedWrongly where it has not, or not for this user to read."""
    try:
        told = read_state(folder)
    except OSError as error:
        raise UsedWrongly(
            f"{folder} cannot be read ({error.strerror}); expected the folder of a journal, and the user of the service"
        ) from error
    if told is None:
        raise UsedWrongly(f"there is no {NAME} in {folder}; expected the journal of a service that runs, or has run")
    return told


def show(told: dict[str, Any], console: Console | None = None) -> None:
    """Each version that labels came for, or answers; `told` is what the live process tells."""
    console = console or Console(highlight=False, soft_wrap=True)
    models = told.get("models", {})
    age_s = time.time() - told.get("at_ns", time.time_ns()) / 1e9
    if age_s > OLD_S:
        console.print(
            f"told {duration(age_s)} ago, and nothing since: the live process does not run, or its store is away"
        )
    if told.get("pending"):
        console.print(f"{count(told['pending'], 'label')} of answers that were not read yet")
    if not models:
        console.print("nothing was answered yet")
    for name, found in sorted(models.items()):
        console.print(f"{name}: {count(found.get('predictions', 0), 'prediction')}, {waiting(found)}", markup=False)
        if found.get("report"):
            show_report(found["report"], console)
        if found.get("refit") and found["refit"]["state"] != "none":
            console.print(f"  refit: {refit_line(found['refit'])}", markup=False)
        shares = found.get("shares") or {}
        if "expected_accuracy" in shares:
            console.print(f"  expected accuracy of {shares['rows']:,} recent rows {shares['expected_accuracy']:.4f}")
        for one in [*(found.get("report") or {}).get("warnings", []), *shares.get("warnings", [])]:
            console.print(f"  warning: {one['message']}", markup=False)


def refit_line(refit: dict[str, Any]) -> str:
    """Where a refit stands, and what is against it."""
    labels, temperature = refit["labels"], refit["temperature"]
    told = refit["state"]
    if temperature["proposed"] is not None and temperature["served"] is not None:
        told += f", temperature {temperature['served']:.4g} to {temperature['proposed']:.4g}"
    if refit["state"] in ("collecting", "shadowing", "earned"):
        told += (
            f", fitted on {labels['fitted']:,} labels, judged by {labels['judged']:,}, e {refit['evidence']['e']:.3g}"
        )
    return "; ".join([told, *(refit[name] for name in ("refusal", "command") if refit[name])])


def waiting(found: dict[str, Any]) -> str:
    """The labels that were counted, and what else came."""
    labels = (found.get("report") or {}).get("labels", 0)
    conflicts, young = found.get("conflicts", 0), found.get("waiting", 0)
    more = f", {young:,} waiting until their answers are old enough" if young else ""
    return count(labels, "label") + more + (f", {conflicts:,} in conflict with another" if conflicts else "")


def count(n: int, what: str) -> str:
    """`1 label`, `2 labels`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def show_report(report: dict[str, Any], console: Console) -> None:
    """Measures, the diagram, and a line for each monitor."""
    if report["labels"]:
        ece, gap, lag = report["ece"], report["gap"], report["lag_s"]["p50"]
        nll = "infinite" if report["nll"] is None else f"{report['nll']:.4f}"
        console.print(
            f"  accuracy {report['accuracy']:.4f}, nll {nll}, brier {report['brier']:.4f}, "
            f"ece {ece['debiased']:.4f} ({ece['low']:.4f} to {ece['high']:.4f}), "
            f"gap {gap['value']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f}), labels after {duration(lag)}"
        )
        for what in ("confidence", "accuracy"):
            bars = "".join(BLOCKS[round(8 * one[what])] for one in report["bins"])
            console.print(f"  {what:10} {bars}")
    console.print(monitor_table(report["monitors"]))


def monitor_table(monitors: list[dict[str, Any]]) -> Table:
    """The monitors, each against "as fitted" unless it says otherwise; of many groups those with the most evidence."""
    table = Table(box=None, pad_edge=False)
    for name in ("  monitor", "e", "max e", "labels", "says"):
        table.add_column(name, justify="right" if name in ("e", "max e", "labels") else "left", no_wrap=True)
    groups = sorted((one for one in monitors if one["scope"].startswith("group ")), key=lambda one: -one["max_e"])
    others = [one for one in monitors if not one["scope"].startswith("group ")]
    for one in [*others, *groups[:MOST_GROUPS]]:
        scope = one["scope"] if one["null"] == NULL else f"{one['scope']}, {one['null']}"
        table.add_row(f"  {scope}", f"{one['e']:.3g}", f"{one['max_e']:.3g}", f"{one['n']:,}", verdict(one))
    return table


def verdict(one: dict[str, Any]) -> str:
    """What a monitor says, in a few words."""
    if one["alarm"]:
        return f"ALARM at {one['alarm_at']:,}, since {one['since']:,}"
    if one["warning"]:
        return "warning"
    return ""


def duration(seconds: float | None) -> str:
    """Seconds, in the unit that suits them."""
    if seconds is None:
        return "an unknown time"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds:.0f} s"
