"""Tables in .csv and .parquet, read in pieces by Arrow: memory stays flat however many rows there are.

What a column means is not known here. The only importer of pyarrow's readers, and imported where a table is.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from service.errors import CannotStart, DataError

CSV_BLOCK: Final = 2**20  # bytes
BUFFER: Final = 2**17  # bytes a column of a .parquet; without buffers a whole row group is in memory
RAGGED: Final = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")

Piece = Any  # pyarrow.RecordBatch, which has no types


class Csv:
    """A .csv. Every cell is text, as it stands there; an empty line is none."""

    n_rows: int | None = None  # not known before it is read

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            DataError: no header, or one with the same name twice.
        """
        self.path = path
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                self.names = tuple(next(csv.reader(file), ()))
        except UnicodeDecodeError as error:
            raise DataError(f"{path.name} is not in UTF-8; expected that") from error
        check_names(path, self.names)
        self.schema = pa.schema([(name, pa.string()) for name in self.names])

    def pieces(self, rows: int, names: tuple[str, ...] | None = None, start: int = 0) -> Iterator[Piece]:
        """At most so many rows at a time, from the row `start` on; `names` or all columns.

        Raises:
            DataError: a row of another length than the header, with its number; or no UTF-8.
        """
        names = self.names if names is None else names
        try:
            reader = arrow_csv.open_csv(
                self.path,
                arrow_csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK),
                arrow_csv.ParseOptions(newlines_in_values=True),
                arrow_csv.ConvertOptions(column_types=self.schema, include_columns=names),
            )
            for block in reader:
                skipped = min(start, len(block))
                start -= skipped
                for at in range(skipped, len(block), rows):
                    yield block.slice(at, rows)
        except pa.ArrowInvalid as error:
            if str(error) != "Empty CSV file":  # nothing but a header
                raise csv_error(self.path, error) from error


class Parquet:
    """A .parquet."""

    def __init__(self, path: Path) -> None:
        """Read the footer.

        Raises:
            DataError: it is none, or has two columns of a name.
        """
        self.path = path
        try:
            self.file = parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise DataError(f"{path.name} does not read as .parquet: {first_line(error)}") from error
        self.schema = self.file.schema_arrow
        self.names = tuple(self.schema.names)
        check_names(path, self.names)
        self.n_rows: int | None = self.file.metadata.num_rows

    def group_rows(self) -> list[int]:
        """The number of rows of each row group."""
        metadata = self.file.metadata
        return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]

    def pieces(
        self, rows: int, names: tuple[str, ...] | None = None, start: int = 0, groups: range | None = None
    ) -> Iterator[Piece]:
        """As of a .csv, of some row groups or of all; `start` counts from the first of them."""
        there = range(self.file.metadata.num_row_groups) if groups is None else groups
        counts = self.group_rows()
        while there and start >= counts[there[0]]:
            start -= counts[there[0]]
            there = there[1:]
        columns = list(self.names if names is None else names)
        try:
            # on one thread: it is faster, and others do not wait
            for piece in self.file.iter_batches(rows, row_groups=[*there], columns=columns, use_threads=False):
                skipped = min(start, len(piece))
                start -= skipped
                if skipped < len(piece):
                    yield piece.select(columns).slice(skipped)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.path.name} does not read as .parquet: {first_line(error)}") from error


Table = Csv | Parquet
KINDS: Final[dict[str, type[Table]]] = {".csv": Csv, ".parquet": Parquet}


def open_table(path: Path) -> Table:
    """The table in a file.

    Raises:
        CannotStart: it is not there.
        DataError: it is not a table.
    """
    if path.suffix not in KINDS:
        raise DataError(f"{path.name}: expected a file .csv or .parquet")
    if not path.is_file():
        raise CannotStart(f"there is no file {path}")
    return KINDS[path.suffix](path)


def check_names(path: Path, names: tuple[str, ...]) -> None:
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise DataError(f"{path.name} has the column {twice[0]!r} twice; expected each name once")


def csv_error(path: Path, error: Exception) -> DataError:
    """What Arrow says of a .csv, with the row as it is counted here: from 0, without the header."""
    found = RAGGED.search(str(error))
    if found is None:
        return DataError(f"{path.name} does not read as .csv: {first_line(error)}")
    row = int(found[1]) - 2
    return DataError(f"row {row}: {found[3]} cells, the header has {found[2]}", row=row)


def first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
