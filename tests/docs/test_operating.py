"""docs/operating.md: each fault is injected by a test, and what the page quotes is what the service says."""

import ast
import re
from typing import Final

import pytest

from service.telemetry.tally import TABLE
from tests.conftest import ROOT

PAGE: Final = (ROOT / "docs" / "operating.md").read_text()
ROWS: Final = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in PAGE.splitlines() if line.startswith("|")
][2:]
SOURCE: Final = "\n".join(path.read_text() for path in sorted((ROOT / "service").rglob("*.py")))
RUNS, FAULTS, SURROUNDINGS = (f"tests/resilience/test_{name}.py" for name in ("runs", "faults", "surroundings"))
WORKERS: Final = "tests/process/test_workers.py"
TESTS: Final = {
    "a run raises": (FAULTS, "test_a_run_that_raises"),
    "a run answers another number of rows": (FAULTS, "test_a_run_that_answers_another_number_of_rows"),
    "a run answers NaN": ("tests/engine/test_runner.py", "test_nan_of_a_head_is_never_answered"),
    "no memory for a run, of the machine or the GPU": (FAULTS, "test_a_machine_without_memory"),
    "a run never returns": (RUNS, "test_a_run_that_never_returns_takes_its_head_out_until_it_is_loaded_again"),
    "a run holds the event loop, and does not stop when it is told to": (
        RUNS,
        "test_a_worker_whose_loop_is_held_for_ever_is_replaced",
    ),
    "a thread never returns, and SIGTERM comes": (
        RUNS,
        "test_sigterm_ends_the_process_though_a_thread_never_returns",
    ),
    "a worker is killed": (SURROUNDINGS, "test_a_worker_that_is_killed_costs_what_it_was_answering_and_no_more"),
    "a worker cannot be replaced: the models folder is gone, or there is no memory": (
        WORKERS,
        "test_one_that_cannot_start_any_more_is_tried_again_while_the_others_serve",
    ),
    "a worker stands still": (WORKERS, "test_a_worker_that_stands_still_is_replaced"),
    "a worker stands still, and SIGTERM comes": (
        WORKERS,
        "test_a_worker_that_stands_still_does_not_keep_the_service_from_its_end",
    ),
    "the disk of the journal is full": (
        SURROUNDINGS,
        "test_a_disk_that_is_full_costs_rows_of_the_journal_and_no_answer",
    ),
    "the live process stands still": (
        "tests/process/test_live.py",
        "test_one_that_stands_still_is_killed_and_replaced",
    ),
    "the live process ends, once or again and again, or its store is away": (
        "tests/process/test_live.py",
        "test_one_that_cannot_start_is_tried_again_more_and_more_seldom",
    ),
    "the disk of the counts is full (`/dev/shm`, with `--workers`)": (
        "tests/telemetry/test_counts.py",
        "test_counts_that_find_no_disk_are_told_once_and_come_later",
    ),
    "the clock jumps": (SURROUNDINGS, "test_a_clock_that_jumps_moves_no_deadline"),
    "as many connections are open as there may be (`--max-connections`, `--max-connections-per-address`)": (
        "tests/transports/test_limits.py",
        "test_with_all_connections_taken_the_process_still_says_that_it_lives",
    ),
    "no descriptors are left": (
        SURROUNDINGS,
        "test_without_descriptors_who_is_connected_is_answered_and_later_everybody",
    ),
    "the collector is away, or its name has no answer (`--traces`)": (
        SURROUNDINGS,
        "test_a_collector_whose_name_has_no_answer_costs_its_traces_and_no_answer",
    ),
    "a model file does not load, or not within its limits, or cannot be read": (
        "tests/resilience/test_hostile_files.py",
        "test_hostile_files_are_named_and_what_is_served_is_served_on",
    ),
    "a model file passes its trial, and its load in the service never returns": (
        "tests/resilience/test_hostile_files.py",
        "test_a_load_that_hangs_after_its_trial_is_named_and_holds_neither_later_models_nor_the_end",
    ),
    "the models folder, or that of a model, is gone or cannot be read": (
        "tests/test_repository_folder.py",
        "test_a_models_folder_that_goes_away_leaves_its_models_behind_and_may_come_back",
    ),
    "a name in the models folder is not UTF-8": (
        "tests/test_repository_folder.py",
        "test_a_name_that_is_no_text_is_told_of_and_does_not_end_the_watch",
    ),
    "changes in the models folder cannot be followed, such as at the kernel's limit of watches": (
        "tests/test_model_files.py",
        "test_changes_that_cannot_be_followed_are_looked_for_again_and_again",
    ),
    "nothing is served any more": (
        "tests/test_repository_folder.py",
        "test_with_nothing_served_the_service_is_not_ready_until_something_is",
    ),
    "the file of API keys is broken, or gone": (
        "tests/transports/test_keys.py",
        "test_a_broken_file_keeps_the_keys_and_says_so_once",
    ),
    "the file of API keys is emptied": (
        "tests/transports/test_keys.py",
        "test_the_log_says_how_many_keys_there_are_and_warns_where_there_are_none",
    ),
    "a renewed certificate is broken, or its key belongs to another": (
        "tests/transports/test_tls.py",
        "test_a_broken_certificate_leaves_the_one_before",
    ),
    "a client asks for more rows than its key may": (
        "tests/transports/test_rate.py",
        "test_a_key_that_has_to_wait_is_refused_before_its_body_comes_and_others_are_not",
    ),
}
METRICS: Final = {
    "calibrant_ready",
    "calibrant_draining",
    "calibrant_stopped_heads",
    "calibrant_failed_versions",
    "calibrant_live_published_timestamp_seconds",
    "process_open_fds",
    "process_max_fds",
    *(f"calibrant_{count.metric}_total" for count in TABLE.values()),
}


def test_each_fault_of_the_page_has_a_test_and_each_test_its_line() -> None:
    assert [row[0] for row in ROWS] == list(TESTS)
    for path, name in TESTS.values():
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_what_the_page_quotes_is_what_the_service_says(row: list[str]) -> None:
    assert len(row) == 6
    _, fails, _, _, log, metric = row
    for code in re.findall(r"\d{3} (?:`(\w+)`)", fails):
        assert f'"{code}"' in SOURCE
    for sentence in re.findall(r"`([^`]+)`", log):
        pieces = re.split(r"\bN\b|-9", sentence)
        assert all(piece in SOURCE for piece in pieces), sentence
    for name in re.findall(r"`(\w+)", metric):
        assert name in METRICS
