"""A head with a temperature for each of the groups a and b."""

from pathlib import Path

import numpy as np

from service.cli import main


def grouped(folder: Path) -> Path:
    """The models folder with the head, as `grouped`."""
    random = np.random.default_rng(0)
    logits = random.standard_normal((400, 3))
    labels = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
    np.savez(folder / "data.npz", logits=3 * logits, labels=labels, groups=random.choice(["a", "b"], 400))
    fit = ["fit", "--data", str(folder / "data.npz"), "--name", "grouped", "--models", str(folder / "models")]
    assert main([*fit, "--group", "groups", "--no-report"]) == 0
    return folder / "models"
