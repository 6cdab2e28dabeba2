"""What the command line says, and where to print."""

from dataclasses import dataclass, replace
from typing import Final

from rich.console import Console

NARROWEST: Final = 130  # a table in a log needs not fit a terminal

console = Console(highlight=False)
if not console.is_terminal:
    console.width = max(console.width, NARROWEST)


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        cells: SHAPE@CONNECTIONS; none takes each benchmark's own.
        servers: names in `processes.SPECS`.
        rounds: how many are timed, after one that warms up.
        seconds: of load in a round.
        retries: how often a run is done again that other processes disturbed.
        idle_s: how long to look at an idle server, seconds.
        generator: `wrk` or `python`.
        server_core, client_core: a CPU's number; none pins nothing.
    """

    cells: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    rounds: int = 5
    seconds: float = 2.0
    retries: int = 2
    idle_s: float = 60.0
    generator: str = "python"
    server_core: int | None = None
    client_core: int | None = None

    def with_seconds(self, seconds: float) -> "Options":
        """The same, for another while."""
        return replace(self, seconds=seconds)
