"""Files to blocks of rows for a head: the logits, the mask, the groups, and the columns that are passed through."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.datasets import npz
from service.datasets.arrow import as_floats, is_number, read_columns, read_lists
from service.datasets.columns import choose_columns
from service.datasets.dataset import check_mask, give_back
from service.datasets.table_arrays import Arrays, two_classes
from service.datasets.tables import Parquet, Piece, Table, open_table
from service.engine.signature import Signature
from service.errors import CannotStart, DataError
from service.scoring.options import Options

PIECE_ROWS: Final = 2**14
PIECE_NUMBERS: Final = 2**21
SAMPLE_ROWS: Final = 1000
OTHERS: Final = ("label", "labels", "weight", "weights", "group", "split", "mask")


class Block(NamedTuple):
    """Neighbouring rows of a file.

    start: the number of the first.
    inputs: by name; mostly `logits`, `[m,K]`, or `[m,M,K]` of M members, NaN for a number that is missing.
    mask: `[m,K]`, true = the class may be chosen; none where every class may.
    groups: `[m]`, or none.
    others: pyarrow arrays by name, of m rows each.
    """

    start: int
    inputs: Mapping[str, NDArray[Any]]
    mask: NDArray[np.bool_] | None
    groups: list[str] | None
    others: Mapping[str, Any]

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.inputs.values())))


class Source(Protocol):
    """A file of rows.

    Attributes:
        path: where it is.
        n_rows: how many rows there are; none where that is not known before they are read.
        width: the numbers of a row.
        columns: what the logits of a row are called, for errors.
        others: the schema of what is passed through.
    """

    path: Path
    n_rows: int | None
    width: int
    columns: tuple[str, ...]
    others: pa.Schema

    def spans(self, part_rows: int) -> list[range]:
        """What can be read by itself: rows of an .npz, row groups of a .parquet, everything of a .csv."""

    def span_rows(self, span: range) -> int | None:
        """How many rows there are in a span."""

    def blocks(self, span: range, start: int) -> Iterator[Block]:
        """The rows of a span from its `start`th on."""


class TableSource:
    """A .csv or a .parquet."""

    def __init__(self, path: Path, model: Signature, options: Options) -> None:
        """Find the columns.

        Raises:
            DataError: they are not there, or not those of the model.
        """
        self.path = path
        self.table: Table = open_table(path)
        self.n_rows = self.table.n_rows
        self.group, self.binary = options.group, options.binary
        self.check_group()
        names = self.table.names
        known = [name for name in names if name in (*OTHERS, self.group)]
        classes = None if self.binary else model.labels  # they are two, and the column is one
        chosen = choose_columns(names, self.read_sample, wanted=options.logits, classes=classes, others=known)
        if not chosen.columns:
            raise DataError(f"{path.name} has no column of logits, found {', '.join(names) or 'nothing'}")
        self.logits = chosen.columns
        self.lists = len(self.logits) == 1 and not is_number(self.table.schema.field(self.logits[0]).type)
        self.columns = self.logits
        self.width = len(self.logits)
        if self.lists:
            first = next(self.table.pieces(1, self.logits), None)
            shape = (0,) if first is None else read_lists(first, self.logits[0]).shape[1:]
            self.width = int(np.prod(shape))
            self.columns = tuple(map(str, range(shape[-1])))
        elif chosen.classes is not None and classes is not None:
            check_order(chosen.classes, classes)
        if self.binary:
            self.columns *= 2
        taken = {*self.logits, *(["mask"] if self.lists and "mask" in names else [])}
        self.rest = tuple(name for name in names if name not in taken)
        self.masks = "mask" in taken
        self.needed = (*self.logits, *(["mask"] if self.masks else []))
        self.others = pa.schema([self.table.schema.field(name) for name in self.rest])

    def check_group(self) -> None:
        """Refuse a column of groups that is not there."""
        if self.group is not None and self.group not in self.table.names:
            raise DataError(f"there is no column {self.group!r}, found {', '.join(self.table.names)}")

    def read_sample(self) -> dict[str, NDArray[Any]]:
        """The first rows, column by column."""
        piece = next(self.table.pieces(SAMPLE_ROWS), None)
        if piece is None:
            return {name: np.empty(0) for name in self.table.names}
        return {name: piece.column(name).to_numpy(zero_copy_only=False) for name in piece.schema.names}

    @cached_property
    def piece_rows(self) -> int:
        return max(1, min(PIECE_ROWS, PIECE_NUMBERS // max(1, self.width)))

    def spans(self, part_rows: int) -> list[range]:
        if not isinstance(self.table, Parquet):
            return [range(1)]
        counts, spans, first, rows = self.table.group_rows(), [], 0, 0
        for i, n in enumerate(counts, start=1):
            rows += n
            if rows >= part_rows or (i == len(counts) and rows):
                spans.append(range(first, i))
                first, rows = i, 0
        return spans

    def span_rows(self, span: range) -> int | None:
        return sum(self.table.group_rows()[i] for i in span) if isinstance(self.table, Parquet) else None

    def blocks(self, span: range, start: int) -> Iterator[Block]:
        table = self.table
        names = (*self.needed, *self.rest)
        if isinstance(table, Parquet):
            pieces = table.pieces(self.piece_rows, names, start, span)
            at = start + sum(table.group_rows()[: span.start])
        else:
            pieces, at = table.pieces(self.piece_rows, names, start), start
        for piece in pieces:
            yield self.to_block(piece, at)
            at += len(piece)

    def to_block(self, piece: Piece, start: int) -> Block:
        """The rows of a piece of the table."""
        logits = read_lists(piece, self.logits[0]) if self.lists else read_columns(piece, self.logits, start)
        mask = check_mask(read_lists(piece, "mask"), *logits.shape[:: logits.ndim - 1]) if self.masks else None
        logits = two_classes(logits) if self.binary else logits
        return Block(start, {"logits": logits}, mask, self.read_groups(piece), self.pass_through(piece))

    def read_groups(self, piece: Piece) -> list[str] | None:
        """The group of each row, if there are any."""
        if self.group is None:
            return None
        names: list[str] = piece.column(self.group).cast(pa.string()).to_pylist()
        return names

    def pass_through(self, piece: Piece) -> dict[str, Any]:
        """The columns that are none of the inputs."""
        return {name: piece.column(name) for name in self.rest}


class NpzSource:
    """An .npz: `logits`, perhaps `mask`, perhaps groups; all arrays of one value a row are passed through."""

    def __init__(self, path: Path, options: Options) -> None:
        """Map the arrays.

        Raises:
            CannotStart: the file is not there.
            DataError: without logits, or of another shape.
        """
        if not path.is_file():
            raise CannotStart(f"there is no file {path}")
        self.path = path
        arrays = npz.arrays(path)
        name = options.logits or "logits"
        if name not in arrays:
            raise DataError(f"{path.name} has no array {name!r}, found {', '.join(arrays)}; expected --logits NAME")
        logits = two_classes(arrays[name]) if options.binary else arrays[name]
        if logits.ndim not in (2, 3) or logits.dtype.kind not in "fiu":
            raise DataError(f"logits are {logits.dtype} {list(logits.shape)}; expected floats [rows, classes]")
        self.logits = logits
        n, k = len(logits), logits.shape[-1]
        self.width = int(np.prod(logits.shape[1:]))
        self.columns = tuple(map(str, range(k)))
        self.mask = check_mask(arrays["mask"], n, k) if "mask" in arrays else None
        self.keep_rest(arrays, options, n, {name})

    def keep_rest(self, arrays: Arrays, options: Options, n: int, taken: set[str]) -> None:
        """Note what is passed through of `n` rows, and the groups.

        Raises:
            DataError: the groups are not there.
        """
        self.n_rows: int | None = n
        self.group = options.group
        if self.group is not None and arrays.get(self.group, np.empty(0)).shape != (n,):
            raise DataError(f"there is no array {self.group!r} of {n} values, found {', '.join(arrays)}")
        self.rest = {key: values for key, values in arrays.items() if values.shape == (n,) and key not in taken}
        self.others = pa.schema([(key, pa.array(values[:1]).type) for key, values in self.rest.items()])

    def spans(self, part_rows: int) -> list[range]:
        n = self.n_rows or 0
        return [range(start, min(start + part_rows, n)) for start in range(0, n, part_rows)]

    def span_rows(self, span: range) -> int | None:
        return len(span)

    def blocks(self, span: range, start: int) -> Iterator[Block]:
        step = max(1, min(PIECE_ROWS, PIECE_NUMBERS // max(1, self.width)))
        for at in range(span.start + start, span.stop, step):
            part = slice(at, min(at + step, span.stop))
            logits = as_floats(np.array(self.logits[part]))
            mask = None if self.mask is None else self.mask[part]
            yield Block(at, {"logits": logits}, mask, self.read_groups(part), self.pass_through(part))
            give_back(self.logits)

    def read_groups(self, part: slice) -> list[str] | None:
        """The group of each row, if there are any."""
        if self.group is None:
            return None
        names: list[str] = self.rest[self.group][part].astype(str).tolist()
        return names

    def pass_through(self, part: slice) -> dict[str, Any]:
        """The arrays that are none of the inputs."""
        return {name: pa.array(rows[part]) for name, rows in self.rest.items()}


def open_source(path: Path, model: Signature, options: Options) -> Source:
    """The rows of a file for a model.

    Raises:
        DataError: the sentence names the file, or begins with the row.
    """
    if model.takes == "inputs":
        from service.scoring.classifier_sources import InputArrays, InputTable

        return (InputArrays if path.suffix == ".npz" else InputTable)(path, model, options)
    source: Source = NpzSource(path, options) if path.suffix == ".npz" else TableSource(path, model, options)
    k = len(source.columns)
    if k != (model.classes or k):
        found = ", ".join(source.columns[:5])
        raise DataError(
            f"{path.name} has {k} logits a row ({found}, ...), the model has {model.classes} classes: "
            "expected those of the classes: --logits A,B,C, or --logits 'PREFIX*'"
        )
    return source


def check_order(found: tuple[str, ...], labels: Any) -> None:
    """Refuse columns that are called as the classes, in another order."""
    if sorted(found) == sorted(labels) and list(found) != list(labels):
        raise DataError(
            f"the columns are {', '.join(found[:5])}, the classes {', '.join(labels[:5])}: expected one order"
        )
