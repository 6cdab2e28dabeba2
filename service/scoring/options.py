"""What a score is asked for, as one value that goes to other processes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Format = Literal["parquet", "csv"]


@dataclass(frozen=True)
class Options:
    """What to run, and how to say it.

    Attributes:
        model: a head file.
        request: what a request to `/predict` would have beside its rows: outputs, top_k, alpha, prior and so on.
        logits: the columns of the logits, as `datasets.columns` reads them; none where their names say it.
        group: the column of groups.
        missing_is_masked: an empty cell or NaN is a class that may not be chosen, instead of an error.
        binary: the logits are one number a row, for the second of two classes.
        format: what is written.
        lists: a list a row, instead of a column for each class and each of the best classes.
        prefix: before the name of every column that is answered.
    """

    model: Path
    request: Mapping[str, Any] = field(default_factory=dict)
    logits: str | None = None
    group: str | None = None
    missing_is_masked: bool = False
    binary: bool = False
    format: Format = "parquet"
    lists: bool = True
    prefix: str = ""

    def to_json(self) -> dict[str, Any]:
        """What decides about the numbers that are written; of the model only the content does."""
        return {name: value for name, value in asdict(self).items() if name != "model"}
