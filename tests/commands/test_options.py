"""Settings that make no sense together, and variables that are nearly settings."""

import argparse
import logging
from importlib import import_module

import pytest

from service.cli import COMMANDS, Parser
from service.commands.options import check_times, misspelt, warn, warn_of_secrets
from service.errors import UsedWrongly
from service.settings import PREFIX, Settings


@pytest.mark.parametrize("wait_ms", [1000, 5000])
def test_a_wait_beyond_every_deadline_is_refused(wait_ms: float) -> None:
    check_times(Settings(max_wait_ms=999, default_timeout_ms=1000))
    with pytest.raises(
        UsedWrongly, match=r"--max-wait-ms .* is \d+, and no request .* expected less than the 1000 of --d"
    ):
        check_times(Settings(max_wait_ms=wait_ms, default_timeout_ms=1000))


def test_a_worker_has_a_second_at_least() -> None:
    for timeout_s in (0, 1, 30):
        check_times(Settings(worker_timeout_s=timeout_s))
    with pytest.raises(UsedWrongly, match=r"--worker-timeout-s .* is 0\.5; expected 0, or at least 1"):
        check_times(Settings(worker_timeout_s=0.5))


def test_a_variable_that_is_nearly_a_setting_is_named_with_it(caplog: pytest.LogCaptureFixture) -> None:
    environment = {"CALIBRANT_WORKRS": "4", "CALIBRANT_WORKERS": "4", "CALIBRANT_SERVICE_HOST": "x", "WORKRS": "4"}
    warn(Settings(), environment)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "CALIBRANT_WORKRS is no setting and changes nothing; expected CALIBRANT_WORKERS"


def test_no_option_of_another_command_is_taken_for_a_setting() -> None:
    options = set()
    for name, command in COMMANDS.items():
        parser = Parser(prog=f"calibrant {name}")
        import_module(command.module).add_arguments(parser)
        actions = parser._actions  # argparse has no public way to go through them
        options |= {action.dest for action in actions if action.nargs is None and action.dest != argparse.SUPPRESS}
    assert {"api_key", "by", "url"} < options
    assert misspelt({PREFIX + option.upper(): "" for option in options}) == {}


@pytest.mark.parametrize(("level", "n_lines"), [("info", 0), ("warning", 1)])
def test_access_lines_that_nobody_sees_are_warned_of(
    level: str, n_lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    warn(Settings(access_log=True, log_level=level), {})
    assert [record.levelname for record in caplog.records] == ["WARNING"] * n_lines


@pytest.mark.parametrize(
    ("address", "n_lines"),
    [
        ("postgresql://me:hidden@host/db", 1),
        ("postgresql://host/db?user=me&password=hidden", 1),
        ("postgresql://me:hidden@[host/db", 1),
        ("postgresql://me@host/db", 0),
        ("postgresql://host:5432/db", 0),
    ],
)
def test_a_password_in_the_address_of_the_store_is_warned_of_without_a_word_of_it(
    address: str, n_lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(journal_store=address)
    warn_of_secrets(settings, {"journal", "port"})
    assert not caplog.records
    warn_of_secrets(settings, {"journal_store"})
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == n_lines
    assert all(line.endswith("expected it in CALIBRANT_JOURNAL_STORE") and "hidden" not in line for line in said)
