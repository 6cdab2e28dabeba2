"""A bar with rows, rows a second, and the time that is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text


class Rate(ProgressColumn):
    """Rows a second, as of late."""

    def render(self, task: Task) -> Text:
        """Nothing before it is known."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s")


@contextmanager
def show_rows(total: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on the error stream if that is a terminal, gone when the work is done; it is told of more rows."""
    console = console or Console(stderr=True)
    rows = TextColumn("{task.completed:,} of {task.total:,} rows")
    columns = BarColumn(), TaskProgressColumn(), rows, Rate(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda n: bar.advance(task, n)
