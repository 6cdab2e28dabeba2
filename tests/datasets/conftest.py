"""A stand-in for pyarrow, which few have installed."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


class Column:
    """A column of a table, as pyarrow has it."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def to_numpy(self) -> Any:
        """As pyarrow gives it."""
        return self.values


@pytest.fixture
def parquet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Make a .parquet of some columns, which a stand-in for pyarrow reads: few have that installed."""
    tables: dict[Path, dict[str, Column]] = {}

    class Table(dict[str, Column]):
        """A table."""

        @property
        def column_names(self) -> list[str]:
            """In their order."""
            return list(self)

    def make(**columns: Any) -> Path:
        path = tmp_path / "t.parquet"
        path.write_bytes(b"PAR1")
        tables[path] = Table({name: Column(values) for name, values in columns.items()})
        return path

    reader = SimpleNamespace(read_table=tables.__getitem__)
    monkeypatch.setitem(sys.modules, "pyarrow", SimpleNamespace(parquet=reader))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", reader)
    return make
