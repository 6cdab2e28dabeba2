"""The output of a score: parts in a folder, each whole or not there, and one file of them where that is wanted.

A part is written beside its place and renamed; `.calibrant.json` in the folder says what the parts are of.
"""

import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from service.errors import CannotStart, DataError, UsedWrongly
from service.scoring.options import Format

MANIFEST: Final = ".calibrant.json"
GROUP_ROWS: Final = 2**16  # of a row group of a .parquet
GROUP_NUMBERS: Final = 2**23
GROUPS: Final = 8  # row groups of a part: what is lost when a score is ended, at most


class Sizes(NamedTuple):
    """Rows of what is written at once, and of a part."""

    group: int
    part: int

    @classmethod
    def of(cls, width: int) -> "Sizes":
        """For rows of so many numbers."""
        group = max(1, min(GROUP_ROWS, GROUP_NUMBERS // max(1, width)))
        return cls(group, group * GROUPS)


class Folder:
    """A folder of parts."""

    def __init__(self, path: Path, form: Format, manifest: dict[str, Any], *, overwrite: bool) -> None:
        """Make the folder, or go on with the parts of the same score.

        Raises:
            UsedWrongly: there is something else in it.
            CannotStart: it cannot be written.
        """
        self.path = path.absolute()  # other processes may run in other folders
        self.form = form
        try:
            path.mkdir(parents=True, exist_ok=True)
            changed = find_change(path, manifest)
            if changed is not None and (overwrite or not self.parts()):
                self.clear()
            elif changed is not None:
                raise UsedWrongly(
                    f"{path} holds parts of another score, {changed} changed; expected a new folder, or --overwrite"
                )
            (path / MANIFEST).write_text(json.dumps(manifest))
        except OSError as error:
            raise CannotStart(f"{path} cannot be written: {error.strerror}") from error
        self.remove_unfinished()

    def clear(self) -> None:
        """Remove what an earlier score left."""
        for old in self.parts():
            old.unlink()
        self.remove_unfinished()

    def remove_unfinished(self) -> None:
        """Remove parts that nobody writes any more."""
        for left in self.path.glob(".part-*"):
            left.unlink(missing_ok=True)

    def part(self, file: int, number: int) -> Path:
        """The place of a part: `number` of the input `file`."""
        return self.path / f"part-{file:05d}-{number:05d}.{self.form}"

    def parts(self) -> list[Path]:
        """Those that are finished, in the order of the rows."""
        return sorted(self.path.glob("part-*"))

    def n_finished(self, file: int, first: int) -> int:
        """How many parts there are without a gap, from the part `first` on."""
        n = 0
        while self.part(file, first + n).is_file():
            n += 1
        return n

    def join(self, output: Path) -> None:
        """Make one file of the parts, and remove them."""
        parts = self.parts()
        new = self.path / f".{output.name}.new"
        if len(parts) == 1:
            parts[0].replace(new)
        elif self.form == "csv":
            join_csv(parts, new)
        else:
            join_parquet(parts, new)
        new.replace(output)
        shutil.rmtree(self.path)


def find_change(folder: Path, manifest: dict[str, Any]) -> str | None:
    """What an earlier score in a folder was of, and this one is not; none where there was none.

    Raises:
        UsedWrongly: the folder holds something else.
    """
    there = folder / MANIFEST
    if not there.is_file():
        if any(folder.iterdir()):
            raise UsedWrongly(f"{folder} holds something else than a score; expected an empty folder, or a new one")
        return None
    try:
        old = json.loads(there.read_text())
    except ValueError:
        return MANIFEST
    return next((name for name in manifest if old.get(name) != manifest[name]), None)


def write_parts(
    batches: Iterator[Any], sizes: Sizes, place: Callable[[int], Path], report: Callable[[int], None]
) -> int:
    """Write record batches as parts, and return the number of rows; `place` gives the path of each part.

    Raises:
        DataError: batches of different columns.
        CannotStart: the disk is full, or not to be written on.
    """
    part: Part | None = None
    n_rows = 0
    try:
        for table in regroup(batches, sizes.group):
            part = part or Part(place(n_rows // sizes.part), table.schema)
            part.writer.write_table(table)
            n_rows += len(table)
            report(len(table))
            if n_rows % sizes.part == 0:
                part.finish()
                part = None
        if part is not None:
            part.finish()
    except OSError as error:
        raise CannotStart(f"{place(0).parent} cannot be written: {error.strerror}") from error
    except pa.ArrowInvalid as error:
        raise DataError(f"the columns change within the file: {str(error).splitlines()[0]}") from error
    return n_rows


def regroup(batches: Iterator[Any], rows: int) -> Iterator[Any]:
    """Tables of exactly so many rows, the last of what is left."""
    waiting: list[Any] = []
    n = 0
    for batch in batches:
        while n + len(batch) >= rows:
            waiting.append(batch.slice(0, rows - n))
            yield pa.Table.from_batches(waiting)
            batch, waiting, n = batch.slice(rows - n), [], 0  # noqa: PLW2901 - the rest of it
        if len(batch):
            waiting.append(batch)
            n += len(batch)
    if waiting:
        yield pa.Table.from_batches(waiting)


class Part:
    """A part that is being written."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.path = path
        self.new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # two nodes may have one process id
        self.writer = open_writer(self.new, schema, path.suffix)

    def finish(self) -> None:
        """Flush to the disk, rename."""
        self.writer.close()
        with self.new.open("rb+") as file:
            os.fsync(file.fileno())
        self.new.replace(self.path)


def open_writer(path: Path, schema: Any, suffix: str) -> Any:
    """A writer of tables; no dictionaries for floats, which hardly ever repeat."""
    if suffix == ".csv":
        return csv.CSVWriter(path, schema)
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    return parquet.ParquetWriter(path, schema, use_dictionary=text)


def join_csv(parts: list[Path], path: Path) -> None:
    """One after the other, with the header of the first."""
    with path.open("wb") as whole:
        for i, part in enumerate(parts):
            with part.open("rb") as file:
                header = csv_header(part)
                if i and header != csv_header(parts[0]):
                    raise DataError(f"{part.name} has other columns than {parts[0].name}; expected the same")
                file.seek(len(header) if i else 0)
                shutil.copyfileobj(file, whole, 2**20)


def csv_header(part: Path) -> bytes:
    """The first line as it was written, which a name with a line break would make two."""
    names = csv.open_csv(part, parse_options=csv.ParseOptions(newlines_in_values=True)).schema.names
    header = io.BytesIO()
    csv.write_csv(pa.table({name: pa.array([], pa.string()) for name in names}), header)
    return header.getvalue()


def join_parquet(parts: list[Path], path: Path) -> None:
    """Row group by row group."""
    schema = parquet.read_schema(parts[0])
    with open_writer(path, schema, ".parquet") as writer:
        for part in parts:
            file = parquet.ParquetFile(part, pre_buffer=False)
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group, use_threads=False))


def sha256(path: Path) -> str:
    """The checksum of a file's content, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
