"""The heads that the conformance cases of the families name, made by the command, and a service of them."""

import json
from pathlib import Path
from typing import Any, Final

from service.cli import main

HEADS: Final[dict[str, dict[str, Any]]] = {
    "softmax": {"kind": "softmax"},
    "sigmoid": {"kind": "sigmoid"},
    "sigmoid-affine-a": {"kind": "sigmoid", "scale": [0.75, 1.5, 0.5, 2.0], "bias": [0.5, -1.25, 0.0, 2.0]},
    "sparsemax": {"kind": "sparsemax"},
    "entmax15": {"kind": "entmax15"},
    "entmax-1.25": {"kind": "entmax", "alpha": 1.25},
    "entmax-1.5": {"kind": "entmax", "alpha": 1.5},
    "entmax-1.75": {"kind": "entmax", "alpha": 1.75},
    "entmax-2": {"kind": "entmax", "alpha": 2.0},
    "ensemble-logits": {"kind": "ensemble", "average": "logits"},
    "ensemble-probabilities": {"kind": "ensemble", "average": "probabilities"},
    "ensemble-logits-weighted-a": {"kind": "ensemble", "average": "logits", "weights": [0.5, 0.25, 0.25]},
    "ensemble-probabilities-weighted-a": {"kind": "ensemble", "average": "probabilities", "weights": [0.5, 0.25, 0.25]},
}


def make(models: Path) -> Path:
    """Write all of them into `models`."""
    for name, head in HEADS.items():
        parameters = {key: value for key, value in head.items() if key != "kind"}
        options = ["export", "--models", str(models), "--name", name, "--family", head["kind"]]
        if parameters:
            file = models / "parameters.json"
            models.mkdir(exist_ok=True)
            file.write_text(json.dumps(parameters))
            options += ["--parameters", str(file)]
        assert main(options) == 0
    (models / "parameters.json").unlink()
    return models
