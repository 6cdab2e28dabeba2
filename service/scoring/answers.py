"""What the service would answer, as columns of a table."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from service.codec.query import Query
from service.engine.signature import Signature
from service.families.outputs import PER_CLASS
from service.scoring.options import Options

ONE: Final = {"probabilities": "probability", "log_probabilities": "log_probability"}  # the column of one class
CLASSES: Final = pa.list_(pa.int64())
LABELS: Final = pa.list_(pa.string())
NUMBERS: Final = pa.list_(pa.float32())

Column = tuple[str, Any]  # a name and a pyarrow array


def build_columns(answer: Mapping[str, Any], query: Query, model: Signature, options: Options) -> list[Column]:
    """The columns of an answer: the outputs, then the best classes, then the sets; in a .csv lists are JSON."""
    found: list[Column] = []
    for output in query.outputs:
        if output in PER_CLASS:
            found += per_class(output, answer[output], model, options)
        elif output == "prediction":
            found += predictions(answer, model)
        else:
            found.append((output, pa.array(answer[output], pa.float32())))
    if "top" in answer:
        top = Top(answer["top"])
        found += top.lists() if options.lists else top.each(min(query.top_k or 1, model.classes or query.top_k or 1))
    if "prediction_set" in answer:
        sets = answer["prediction_set"]
        found.append(("prediction_set", pa.array(sets["classes"], CLASSES)))
        if "labels" in sets:
            found.append(("prediction_set_labels", pa.array(sets["labels"], LABELS)))
    return [(options.prefix + name, to_text(values) if options.format == "csv" else values) for name, values in found]


def per_class(output: str, values: Any, model: Signature, options: Options) -> Iterator[Column]:
    """One list column, or a column for each class."""
    k = values.shape[1]
    if options.lists:
        yield output, pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), k)
        return
    for name, column in zip(model.labels or range(k), np.ascontiguousarray(values.T), strict=True):
        yield f"{ONE[output]}_{name}", pa.array(column)


def predictions(answer: Mapping[str, Any], model: Signature) -> Iterator[Column]:
    """The predicted class, or the list of them where several may be right; null where there is none."""
    one = model.family.chooses_one
    yield "prediction", pa.array(answer["prediction"], pa.int64() if one else CLASSES)
    if "labels" in answer:
        yield "prediction_label", pa.array(answer["labels"], pa.string() if one else LABELS)


class Top:
    """The best classes of each row."""

    def __init__(self, top: Mapping[str, Any]) -> None:
        kinds = {"classes": CLASSES, "labels": LABELS, "probabilities": NUMBERS}
        self.columns = {name: (top[name], kind) for name, kind in kinds.items() if name in top}

    def lists(self) -> Iterator[Column]:
        """As lists, best first."""
        for name, (values, kind) in self.columns.items():
            yield f"top_{name}", pa.array(values, kind)

    def each(self, k: int) -> Iterator[Column]:
        """A column for each place, null where fewer classes may be chosen."""
        one = {"classes": "class", "labels": "label", "probabilities": "probability"}
        for i in range(k):
            for name, (values, kind) in self.columns.items():
                cells = [row[i] if i < len(row) else None for row in values]
                yield f"top_{i + 1}_{one[name]}", pa.array(cells, kind.value_type)


def to_text(values: Any) -> Any:
    """Lists as JSON, for a .csv; anything else as it is."""
    if not pa.types.is_list(values.type):
        return values
    cells = values.to_pylist()
    return pa.array([None if cell is None else orjson.dumps(cell).decode() for cell in cells], pa.string())
