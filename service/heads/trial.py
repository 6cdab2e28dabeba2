"""A classifier that runs: on rows made up for it, or on rows of its own. What its tensors hold shows here alone."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from service.datasets.inputs import batches
from service.engine.probe import STEPS, make_probe
from service.engine.reading import DTYPES
from service.engine.rows import Input
from service.engine.session import InferenceSession, open_session
from service.errors import DataError, HeadError
from service.heads.surgery import first_line, uses

logger = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
Feed = dict[str, NDArray[Any]]

N_ROWS: Final = 16
LARGEST: Final = {"ids": 10, "flags": 2, "ones": 1}
WORDS: Final = ("a", "the", "good", "bad", "0")


class Trial:
    """A classifier in ONNX Runtime, any tensor of which can be looked at.

    Attributes:
        inputs: what a row of it is, name to (dtype, shape without the batch axis; none is open).
    """

    def __init__(self, model: ModelProto, path: Path, tensors: Sequence[str] = ()) -> None:
        """For the outputs of `model`, and `tensors` inside it; `path` is how it is called.

        Raises:
            HeadError: ONNX Runtime cannot load it, or it takes what cannot be served.
        """
        self.path = path
        self.inputs = read_inputs(model)
        shown = ModelProto()
        shown.CopyFrom(model)
        there = {entry.name for entry in shown.graph.output}
        # without a type, which ONNX Runtime finds by itself
        shown.graph.output.extend(ValueInfoProto(name=name) for name in tensors if name not in there)
        self.session: InferenceSession = open_session(path, shown.SerializeToString(), "cpu", 1)
        self.words = words_of(model)

    def run(self, feed: Arrays, names: Sequence[str]) -> Feed:
        """The tensors `names` for one feed."""
        return dict(zip(names, self.session.run(list(names), dict(feed)), strict=True))

    def made_up(self) -> Feed:
        """The first made-up rows that the classifier answers with numbers; else the first that it runs on.

        Raises:
            HeadError: it runs on none of them.
        """
        reason, last = "", None
        for feed in self.rows():
            try:
                answers = self.session.run(None, feed)
            except Exception as error:  # onnxruntime's exceptions share no root
                reason = reason or run_reason(error)
                continue
            if not any(is_nan(values) for values in answers):
                return feed
            last = last or feed
        if last is not None:
            return last
        raise HeadError(
            f"{self.path} does not run on made-up rows, {reason}; expected rows that it takes: --inputs FILE"
        )

    def rows(self) -> Iterator[Feed]:
        """Rows, the most telling first: of growing open sizes, indices, numbers of either sign, words."""
        for size in STEPS if any(None in shape for _, shape in self.inputs.values()) else STEPS[:1]:
            for largest in LARGEST.values():
                for i in range(max(map(len, self.words.values()), default=1)):
                    words = {name: known[i % len(known)] for name, known in self.words.items()}
                    yield self.make_rows(size, largest, words)

    def make_rows(self, size: int, largest: int, words: Mapping[str, Sequence[str]]) -> Feed:
        rng = np.random.default_rng(0)
        feed: Feed = {}
        for name, (dtype, shape) in self.inputs.items():
            full = (N_ROWS, *(size if one is None else one for one in shape))
            if dtype is np.object_:
                feed[name] = rng.choice(np.array(words[name], object), full)
            elif issubclass(dtype, np.floating):
                draw = rng.normal if largest == max(LARGEST.values()) else rng.uniform  # which a logarithm takes, too
                feed[name] = draw(size=full).astype(dtype)
            else:
                feed[name] = rng.integers(0, largest, full).astype(dtype) if largest > 1 else np.ones(full, dtype)
        return feed

    def example(self, rows: Arrays) -> dict[str, Any] | None:
        """The first of `rows` as JSON, where the classifier does not run on what serving makes up to warm up."""
        for size in STEPS:
            try:
                self.session.run(None, make_probe(self.inputs, 2, size))
            except Exception as error:  # onnxruntime's exceptions share no root
                logger.debug("no made-up row of size %d runs: %s", size, run_reason(error))
            else:
                return None
        return {name: rows[name][0].tolist() for name in self.inputs}

    def difference_alone(self, rows: Arrays, tensor: str) -> float:
        """How far the first row's numbers are from what they are beside the others."""
        beside = self.run({name: rows[name] for name in self.inputs}, [tensor])[tensor]
        alone = self.run({name: rows[name][:1] for name in self.inputs}, [tensor])[tensor]
        with np.errstate(invalid="ignore"):
            return float(np.nan_to_num(np.abs(np.asarray(alone[0], np.float64) - beside[0])).max())

    def answers(self, arrays: Arrays, tensor: str, progress: Callable[[str], None] = lambda _: None) -> NDArray[Any]:
        """The tensor `[n, K]`, float32, for all rows of its inputs, in batches; `progress` hears of each.

        Raises:
            DataError: rows that it does not take, with what ONNX Runtime says.
        """
        found = []
        for feed, start in batches({name: arrays[name] for name in self.inputs}):
            n = len(next(iter(feed.values())))
            progress(f"the classifier, from row {start:,}")
            try:
                found.append(np.asarray(self.run(feed, [tensor])[tensor], np.float32))
            except Exception as error:  # onnxruntime's exceptions share no root
                rows = f"rows {start} to {start + n - 1}"
                raise DataError(f"the classifier does not run on {rows}: {run_reason(error)}", row=start) from error
        return np.concatenate(found)


def read_inputs(model: ModelProto) -> dict[str, Input]:
    """What a row of a classifier is.

    Raises:
        HeadError: an input that cannot be served.
    """
    given = {tensor.name for tensor in (*model.graph.initializer,)}
    inputs: dict[str, Input] = {}
    for entry in model.graph.input:
        if entry.name in given:
            continue
        kind = entry.type.WhichOneof("value")
        if kind != "tensor_type":
            what = str(kind).removesuffix("_type")
            raise HeadError(f"the classifier's input {entry.name} is a {what}; expected a tensor")
        tensor = entry.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        dtype = DTYPES.get(f"tensor({type_name(tensor.elem_type)})")
        if dtype is None:
            known = ", ".join(name.removeprefix("tensor(").removesuffix(")") for name in DTYPES)
            raise HeadError(f"the classifier's input {entry.name} is {type_name(tensor.elem_type)}; expected {known}")
        if not dims:
            raise HeadError(f"the classifier's input {entry.name} has no dimensions; expected the batch as the first")
        if dims[0] is not None:
            raise HeadError(
                f"the classifier's input {entry.name} has a batch dimension fixed at {dims[0]}: export the classifier "
                "again with a dynamic first dimension"
            )
        inputs[entry.name] = (dtype, tuple(dims[1:]))
    return inputs


def type_name(elem_type: int) -> str:
    """ONNX Runtime's word for an element type."""
    name = TensorProto.DataType.Name(elem_type).lower()
    return str(name)


def words_of(model: ModelProto) -> dict[str, list[tuple[str, ...]]]:
    """For each input of strings what may be put there: made-up words, or those that the nodes behind it list."""
    strings = [entry.name for entry in model.graph.input if entry.type.tensor_type.elem_type == TensorProto.STRING]
    return {name: [WORDS, *listed_words(model, name)] for name in strings}


def listed_words(model: ModelProto, tensor: str) -> list[tuple[str, ...]]:
    """The lists of strings in the attributes of the nodes that `tensor` reaches, nearest first."""
    reached, found = {tensor}, []
    for node in model.graph.node:  # in topological order
        if reached.intersection(uses(node)):
            reached.update(node.output)
            for attribute in node.attribute:
                values = helper.get_attribute_value(attribute)
                if isinstance(values, list) and values and isinstance(values[0], bytes):
                    found.append(tuple(value.decode(errors="replace") for value in values))
    return found


def is_nan(values: Any) -> bool:
    """Whether it is floats of which each row has one that is none."""
    kind = isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim > 1
    return kind and bool(np.isnan(values).reshape(len(values), -1).any(axis=1).all())


def run_reason(error: Exception) -> str:
    """Why a run failed, as ONNX Runtime says it, without its surroundings."""
    text = first_line(error).rpartition("Status Message: ")[2].rpartition(" was false. ")[2]
    return text.rpartition("[ONNXRuntimeError] : ")[2]
