"""stub"""

from pathlib import Path
from typing import Any


def write_report(path: Path, proof: Any, story: Any, intervals: Any) -> None:
    """Stub."""
