"""How the classifiers are laid down: NAME/classifier.onnx, and NAME/rows.npz with what the package itself answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray


def save(
    folder: Path, name: str, model: Any, inputs: Mapping[str, NDArray[Any]], labels: NDArray[Any], **own: NDArray[Any]
) -> None:
    """Write a classifier, a model or a path, with rows of `inputs`, their labels, and the package's own answers.

    `own` is `logits` or `probabilities` [n, K], in the file as `own_logits` or `own_probabilities`.
    """
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    if model is not None:
        onnx.save(model, place / "classifier.onnx")
    arrays: dict[str, Any] = {**inputs, "labels": labels, **{f"own_{key}": value for key, value in own.items()}}
    np.savez(place / "rows.npz", **arrays)
