"""The published benchmark: its page says what the figures say, and its figures are what was there."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import comparison, page
from tests.benchmarks.forms import TENSORS
from tests.benchmarks.options import Options
from tests.benchmarks.processes import ROOT, SPECS, Server
from tests.benchmarks.race import Cell
from tests.benchmarks.work import made
from tests.conftest import Running

QUEUE = [
    {"cell": "1x1000@64", "load": 0.3, "p50_us": 100.0, "p99_us": 300.0},
    {"cell": "1x1000@64", "load": 0.5, "p50_us": 200.0, "p99_us": 500.0, "measured_rps": 6000.0}
    | {"measured_p50_us": 210.0, "measured_p99_us": 720.0, "measured_errors": 0},
]


def figures(*, rounds: int = 5, others: float = 0.01) -> dict[str, Any]:
    """Two servers and a cell: ours needs half the CPU, and has twice the p99 and 1.5 times the memory."""
    ours = {"cpu_us": 20.0, "p50_us": 100.0, "p99_us": 400.0}
    theirs = {"cpu_us": 40.0, "p50_us": 101.0, "p99_us": 200.0}
    runs = []
    for number in range(1, rounds + 1):
        for name, costs in (("Calibrant", ours), ("other", theirs)):
            # the machine gets slower with every round
            run = {"cell": "1x10@16", "server": name, "round": number, "requests": 1000, "errors": 0, "rps": 1e3}
            run |= {"others": others, **{field: number * cost for field, cost in costs.items()}}
            runs.append([run[field] for field in page.FIELDS])
    about = {"about": "a server", "versions": {"numpy": "2.4"}, "start_s": 1.0, "errors": {"1x10": 3e-8}}
    machine = {"machine": "CPU, 2 CPUs", "pinned": "server on core 0", "load at the start": "0.1"}
    return {
        "date": "2026-01-31",
        "machine": machine | {"Python": "CPython 3.11", "commit": "abc"},
        "rounds": rounds,
        "seconds": 1.0,
        "generator": "wrk",
        "checked": 16,
        "servers": {"Calibrant": about | {"memory_mb": 150.0}, "other": about | {"memory_mb": 100.0}},
        "queue": QUEUE,
        "fields": list(page.FIELDS),
        "runs": runs,
    }


def test_the_page_says_first_where_we_lose_and_by_how_much() -> None:
    text = page.drawn(figures())
    lost = text[text.index("## Where Calibrant loses") : text.index("## CPU a request")]
    assert "needs more than another server in 2 of 6 comparisons, less in 1, and as much within 2% in 3:" in lost
    assert "- p99 latency: 2.00 x (1x10, 16) to other\n- memory: 1.50 x to other\n" in lost
    assert text.index(lost) < text.index("| Calibrant | 60.0 |")


def test_the_page_has_the_medians_and_what_the_best_other_server_needs() -> None:
    cpu = page.drawn(figures()).partition("## CPU a request")[2].partition("##")[0]
    assert "| Calibrant | 60.0 |\n| other | 120 |\n| best other to Calibrant | 2.00 x |" in cpu


def test_other_forms_of_ours_have_the_worst_of_their_losses_told() -> None:
    raw = figures()
    raw["servers"]["Calibrant, ASGI"] = raw["servers"]["Calibrant"]
    raw["servers"]["third"] = raw["servers"]["other"] | {"memory_mb": 120.0}
    for name, base in (("Calibrant, ASGI", "Calibrant"), ("third", "other")):
        raw["runs"] += [[run[0], name, *run[2:]] for run in raw["runs"] if run[1] == base]
    lost = page.drawn(raw).partition("## CPU a request")[0]
    assert "- p99 latency: 2.00 x (1x10, 16) to other and third\n- memory: 1.50 x to other; 1.25 x to third\n" in lost
    assert "**Calibrant, ASGI** (a server) needs more than another server in 4 of 12 comparisons" in lost
    assert "How often: p99 latency 2, at worst 2.00 x (1x10, 16) to other; memory 2, at worst 1.50 x to other." in lost


def test_a_page_with_no_loss_says_so() -> None:
    raw = figures()
    raw["servers"]["Calibrant"]["memory_mb"] = 90.0
    p99 = page.FIELDS.index("p99_us")
    for run in raw["runs"]:
        run[p99] = 1.0
    lost = page.drawn(raw).partition("loses")[2].partition("## CPU")[0]
    assert "in 0 of 6 comparisons, less in 2, and as much within 2% in 4." in lost
    assert "\n- " not in lost


def test_a_short_run_on_a_busy_machine_is_no_good_and_says_so() -> None:
    assert "**" not in page.drawn(figures()).partition("## ")[0]
    text = page.drawn(figures(rounds=1, others=0.4)).partition("## ")[0]
    assert "**A short run, of 1 round of 1 s: it shows little.**" in text
    assert "**A busy machine: other processes took 40% of the servers' core, 40% at most.**" in text


def test_a_server_that_could_not_be_measured_is_named_and_compared_with_nothing() -> None:
    raw = figures()
    raw["servers"]["broken"] = {"about": "another", "failure": "Traceback:\nno module named broken"}
    text = page.drawn(raw)
    assert "**broken could not be measured:** no module named broken" in text
    assert "in 2 of 6 comparisons" in text


def test_a_cell_without_an_answer_has_no_figure() -> None:
    raw = figures()
    raw["runs"][1][page.FIELDS.index("requests")] = 0
    text = page.drawn(raw)
    assert "| other | none |\n| best other to Calibrant |  |" in text
    assert "in 1 of 3 comparisons" in text


def test_the_measured_point_stands_beside_the_model_of_the_queue() -> None:
    text = page.drawn(figures())
    assert "Measured at 50%, 6,000 requests a second: median 0.21 ms, p99 0.72 ms, 0 errors." in text
    assert "| p99, ms | 0.30 | 0.50 |" in text


def test_the_page_in_docs_is_that_of_its_figures() -> None:
    raw = json.loads((ROOT / "docs" / "benchmark.json").read_text())
    assert (ROOT / "docs" / "benchmark.md").read_text() == page.drawn(raw)


def test_a_comparison_measures_each_server_and_names_the_one_that_is_not_there(tmp_path: Path) -> None:
    ours = replace(SPECS["fast"], name="Calibrant")
    missing = replace(SPECS["fast"], name="missing", python=tmp_path / "bin" / "python")
    files = ["--json", str(tmp_path / "figures.json"), "--page", str(tmp_path / "page.md")]
    given = [*files, "--rounds", "1", "--seconds", "0.1", "--cells", "1x10@1"]
    assert comparison.main(given, [ours, replace(SPECS["by_hand"], name="other"), missing]) == 0
    raw = json.loads((tmp_path / "figures.json").read_text())
    assert "bin/python" in raw["servers"]["missing"]["failure"]
    for name in ("Calibrant", "other"):
        assert 0 < raw["servers"][name]["errors"]["1x10"] < 1e-6
        assert raw["servers"][name]["memory_mb"] > 10
        assert raw["servers"][name]["versions"]["numpy"] == np.__version__
    runs = [dict(zip(raw["fields"], run, strict=True)) for run in raw["runs"]]
    assert [run["server"] for run in runs] == ["Calibrant", "other"]
    assert all(run["requests"] > 0 and run["errors"] == 0 and run["cpu_us"] >= 0 for run in runs)
    text = (tmp_path / "page.md").read_text()
    assert re.search(r"\| Calibrant \| [\d.,]+ \|", text)
    assert comparison.main([*files, "--page-only"]) == 0
    assert (tmp_path / "page.md").read_text() == text


def test_a_server_that_dies_has_answered_nothing_and_ends_no_comparison() -> None:
    cell = Cell.read("1x10@1")
    with Server(SPECS["bare"]) as server:
        server.wait().process.kill()
        server.process.wait()
        run = comparison.loaded(server, cell, 1, Options(seconds=0.1))
    assert (run.cell, run.server, run.round, run.requests, run.errors) == ("1x10@1", "bare", 1, 0, 1)


def test_a_request_of_the_open_inference_protocol_is_the_same_work(running: Running) -> None:
    work = made("3x7")
    answer = running.client.post("/v2/models/softmax/infer", content=TENSORS.body(work))
    assert work.compare(TENSORS.probabilities(answer.content)) < 1e-6
