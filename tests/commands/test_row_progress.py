"""The bar of a score."""

import io

from rich.console import Console

from service.commands.row_progress import show_rows


def test_a_terminal_sees_rows_rows_a_second_and_the_time_that_is_left() -> None:
    shown = io.StringIO()
    with show_rows(10_000, Console(file=shown, force_terminal=True, width=120)) as report:
        for _ in range(10):
            report(500)
    assert "5,000 of 10,000 rows" in shown.getvalue()
    assert "rows/s" in shown.getvalue()
    assert "0:00" in shown.getvalue()


def test_a_pipe_sees_nothing() -> None:
    shown = io.StringIO()
    with show_rows(10, Console(file=shown)) as report:
        report(10)
    assert shown.getvalue() == ""
