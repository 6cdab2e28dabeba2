"""Files of a classifier's own inputs to blocks of rows, as `datasets.inputs` reads them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.datasets import inputs, npz
from service.datasets.arrow import is_list, read_lists
from service.datasets.dataset import give_back
from service.datasets.table_arrays import Arrays, to_numpy
from service.datasets.tables import Piece, Table, open_table
from service.engine.rows import Input
from service.engine.signature import Signature
from service.errors import CannotStart, DataError, UsedWrongly
from service.scoring.options import Options
from service.scoring.sources import OTHERS, PIECE_NUMBERS, PIECE_ROWS, Block, NpzSource, TableSource


class InputTable(TableSource):
    """A .csv or a .parquet with columns for each input."""

    def __init__(self, path: Path, model: Signature, options: Options) -> None:
        """Find the columns.

        Raises:
            DataError: an input has none.
        """
        check_options(options)
        self.path = path
        self.table: Table = open_table(path)
        self.n_rows = self.table.n_rows
        self.group = options.group
        self.check_group()
        self.inputs = model.inputs
        names = self.table.names
        free = [name for name in names if name not in OTHERS and name != self.group]
        self.needed = tuple(column for name in model.inputs for column in columns_of(name, names, free, model.inputs))
        self.columns = self.needed
        self.rest = tuple(name for name in names if name not in self.needed)
        self.others = pa.schema([self.table.schema.field(name) for name in self.rest])
        self.width = 1  # for the first piece
        first = next(self.table.pieces(1, self.needed), None)
        self.width = 1 if first is None else count_numbers(self.read_inputs(first, 0))

    def read_inputs(self, piece: Piece, start: int) -> dict[str, NDArray[Any]]:
        """The inputs of some rows, each `[m, ...]` of its dtype.

        Raises:
            DataError: another number of columns, or a cell that is no number, with its row.
        """
        lists = {name for name in self.inputs if name in self.needed and is_list(piece.column(name).type)}
        arrays: dict[str, NDArray[Any]] = {name: read_lists(piece, name) for name in lists}
        columns = {name: to_numpy(piece, name) for name in self.needed if name not in lists}
        try:
            arrays |= inputs.from_columns(columns, {n: one for n, one in self.inputs.items() if n not in lists}, None)
        except DataError as error:
            if error.row is None:
                raise
            raise DataError(f"{self.path.name}, from row {start} on: {error}", row=start + error.row) from error
        found = {name: values for name, values in inputs.checked(arrays, self.inputs).items() if name in self.inputs}
        check_missing(self.path, arrays, self.inputs, start)
        return found

    def to_block(self, piece: Piece, start: int) -> Block:
        """The rows of a piece of the table."""
        return Block(start, self.read_inputs(piece, start), None, self.read_groups(piece), self.pass_through(piece))


class InputArrays(NpzSource):
    """An .npz with an array for each input."""

    def __init__(self, path: Path, model: Signature, options: Options) -> None:
        """Map the arrays.

        Raises:
            CannotStart: the file is not there.
            DataError: an input has none, or one of another shape.
        """
        check_options(options)
        if not path.is_file():
            raise CannotStart(f"there is no file {path}")
        self.path = path
        arrays = npz.arrays(path)
        checked = inputs.checked(arrays, model.inputs)
        self.inputs = model.inputs
        self.arrays = {name: checked[name] for name in model.inputs}
        n = len(next(iter(self.arrays.values())))
        self.width = count_numbers({name: values[:1] for name, values in self.arrays.items()})
        self.columns = tuple(model.inputs)
        self.mask = None
        self.keep_rest(arrays, options, n, {*model.inputs})

    def blocks(self, span: range, start: int) -> Iterator[Block]:
        step = max(1, min(PIECE_ROWS, PIECE_NUMBERS // max(1, self.width)))
        for at in range(span.start + start, span.stop, step):
            part = slice(at, min(at + step, span.stop))
            feed = {name: np.array(values[part]) for name, values in self.arrays.items()}
            check_missing(self.path, feed, self.inputs, at)
            yield Block(at, feed, None, self.read_groups(part), self.pass_through(part))
            for values in self.arrays.values():
                give_back(values)


def check_options(options: Options) -> None:
    """Refuse what is said of logits.

    Raises:
        UsedWrongly: one of the options.
    """
    for option, given in (
        ("--logits", options.logits),
        ("--binary", options.binary),
        ("--missing-is-masked", options.missing_is_masked),
    ):
        if given:
            raise UsedWrongly(f"{option} is for logits; the head takes a classifier's inputs")


def columns_of(name: str, names: tuple[str, ...], free: list[str], all_inputs: Mapping[str, Input]) -> list[str]:
    """The columns of an input: of its name, or numbered behind it, or all where it is the only one."""
    if name in names:
        return [name]
    numbered = [one for one in free if inputs.is_numbered(one, name)]
    return numbered or (free if len(all_inputs) == 1 else [])


def count_numbers(feed: Mapping[str, NDArray[Any]]) -> int:
    """The numbers of a row."""
    return sum(int(np.prod(values.shape[1:])) for values in feed.values())


def check_missing(path: Path, arrays: Arrays, own: Mapping[str, Input], start: int) -> None:
    """Refuse NaN, as it stands for a number that is missing.

    Raises:
        DataError: with its row.
    """
    for name in own:
        values = arrays[name]
        if values.dtype.kind == "f" and np.isnan(values).any():
            row = start + int(np.isnan(values).reshape(len(values), -1).any(axis=1).argmax())
            raise DataError(f"{path.name}, row {row}, input {name}: a number is missing, or NaN; expected one", row=row)
