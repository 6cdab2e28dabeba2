"""Blocks of rows through a head: the code that answers requests answers them, so the same bits come out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.codec.groups import group_indices
from service.codec.predict.careful import check_contract, read_temperature
from service.codec.predict.contract import PredictRequest
from service.codec.predict.encode import answer_object
from service.codec.priors import read_prior
from service.codec.query import Query
from service.codec.sets import check_sets
from service.engine.feed import build_feed
from service.engine.head import Head
from service.engine.rows import Rows
from service.errors import AnsweredError, DataError, InvalidValue, UsedWrongly
from service.scoring.answers import build_columns
from service.scoring.options import Options
from service.scoring.sources import Block, Source

RUN_ROWS: Final = 4096
RUN_NUMBERS: Final = (
    2**18
)  # what is computed from them stays in the cache: with 16,384 rows of 100 it takes 2.5 times as long
ZERO: Final = np.zeros(1)
SOME_GROUP: Final = np.ones((1, 1), np.int64)


class Scorer:
    """A head, and what is asked of it.

    Attributes:
        signature: of the head, under the name of its file.
        warnings: how many rows were odd, by code.
    """

    def __init__(self, options: Options) -> None:
        """Load the head, and check what is asked.

        Raises:
            HeadError: the file is not a head.
            UsedWrongly: it cannot answer that.
        """
        self.options = options
        self.head = Head(options.model)
        self.signature = replace(self.head.signature, name=str(options.model))
        self.warnings: Counter[str] = Counter()
        try:
            self.request = check_contract(dict(options.request), PredictRequest)
            self.temperature = read_temperature(self.request, 1)
            if self.request.alpha is not None:
                self.check_sets(None if options.group is None else SOME_GROUP)
            if options.group is not None:
                group_indices("", 1, self.signature)
            self.bits = self.signature.bits(self.query(Rows({"logits": np.zeros((1, 1))}), None, ZERO).needs)
        except InvalidValue as error:
            raise UsedWrongly(str(error)) from error

    def check_sets(self, groups: NDArray[np.int64] | None) -> None:
        """Refuse an `alpha` that no guarantee could be given for; raises InvalidValue."""
        check_sets(self.signature, groups, temperature=self.request.temperature, prior=self.request.prior)

    def query(self, rows: Rows, groups: NDArray[np.int64] | None, prior: NDArray[np.float64]) -> Query:
        """The rows with what is asked of each."""
        request = self.request
        return Query(
            rows.with_groups(groups),
            outputs=tuple(request.outputs),
            lead=(rows.n,),
            top_k=request.top_k,
            alpha=request.alpha,
            groups=groups,
            prior=None if request.prior is None else prior,
            abstain_below=request.abstain_below,
        )

    def score(self, block: Block, source: Source) -> Iterator[Any]:
        """The answers of a block as record batches: what is passed through, then what is answered.

        Raises:
            DataError: a number that cannot be scored, with file, row and column.
        """
        step = max(1, min(RUN_ROWS, RUN_NUMBERS // max(1, source.width)))
        for at in range(0, block.n_rows, step):
            part = slice(at, at + step)
            columns = self.answer(cut(block, part), source)
            passed = {name: values[part] for name, values in block.others.items()}
            if twice := [name for name, _ in columns if name in passed]:
                raise DataError(
                    f"the data have a column {twice[0]!r} of their own; expected a --prefix for the answers"
                )
            yield pa.RecordBatch.from_pydict(passed | dict(columns))

    def answer(self, block: Block, source: Source) -> list[tuple[str, Any]]:
        """The columns that answer the rows of a block."""
        try:
            rows = self.to_rows(block)
            groups = None if block.groups is None else group_indices(block.groups, rows.n, self.signature)
            k = block.inputs["logits"].shape[-1] if "logits" in block.inputs else self.signature.classes
            prior = ZERO if self.request.prior is None else read_prior(self.request.prior, k, self.signature)
            query = self.query(rows, groups, prior)
            if query.alpha is not None:
                self.check_sets(groups)
        except InvalidValue as error:
            raise located(error, block, source) from error
        try:
            arrays = self.head.run(build_feed([query.rows], self.head.temperature), self.bits)
        except AnsweredError as error:
            last = block.start + rows.n - 1
            raise DataError(f"{source.path.name}, rows {block.start} to {last}: {error}", row=block.start) from error
        answer = answer_object(query, arrays, self.signature)
        for warning in answer.get("warnings", ()):
            self.warnings[warning["code"]] += len(warning["rows"])
        return build_columns(answer, query, self.signature, self.options)

    def to_rows(self, block: Block) -> Rows:
        """Rows that are safe to run."""
        model = self.signature
        if model.takes == "inputs":
            return Rows(block.inputs, None, self.temperature)
        logits, mask = block.inputs["logits"], block.mask
        if self.options.missing_is_masked and np.isnan(logits.min()):
            known = ~np.isnan(logits if logits.ndim == 2 else logits.max(axis=1))
            mask = known if mask is None else known & mask
        if not model.averages:
            return Rows.from_logits(logits, mask, self.temperature, masks_first=model.masks_first)
        if logits.ndim != 3 or logits.shape[1] != (model.members or logits.shape[1]):
            shape = list(logits.shape[1:])
            raise InvalidValue(f"a row of logits is {shape}; expected [{model.members or 'members'}, classes]")
        return Rows.from_members(logits, mask, self.temperature)


def cut(block: Block, part: slice) -> Block:
    """Some rows of a block, without what is passed through."""
    mask = None if block.mask is None else block.mask[part]
    groups = None if block.groups is None else block.groups[part]
    inputs = {name: values[part] for name, values in block.inputs.items()}
    return Block(block.start + part.start, inputs, mask, groups, {})


def located(error: InvalidValue, block: Block, source: Source) -> DataError:
    """An error of a run with the place in the file."""
    if error.row is None or error.class_ is None:
        return DataError(f"{source.path.name}: {error}")
    logits = block.inputs["logits"]
    values = logits[error.row].reshape(-1, logits.shape[-1])[:, error.class_]
    what = f"the logit is {values.max():g}; expected a number within float32, or -inf"
    if np.isnan(values).any():
        what = "the number is missing, or NaN; expected a logit, or --missing-is-masked"
    row = block.start + error.row
    return DataError(f"{source.path.name}, row {row}, column {source.columns[error.class_]}: {what}", row=row)
