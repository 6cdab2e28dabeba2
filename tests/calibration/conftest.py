"""Logits to fit on: small ones made here, and the published ones where the folder is at hand."""

from pathlib import Path

import numpy as np
import pytest

from service.datasets.dataset import Dataset

PUBLISHED = Path(__file__).parents[2].parent / "shared" / "logits"


def drawn(n: int = 2000, k: int = 5, temperature: float = 2.0, seed: int = 0, masked: bool = False) -> Dataset:
    """Labels drawn from softmax(z), and the logits z times `temperature`: what a fit should find."""
    random = np.random.default_rng(seed)
    z = random.standard_normal((n, k)) * 1.5
    mask = random.random((n, k)) < 0.6 if masked else None
    if mask is not None:
        mask[np.arange(n), random.integers(0, k, n)] = True
    chosen = z + random.gumbel(size=z.shape)
    labels = (chosen if mask is None else np.where(mask, chosen, -np.inf)).argmax(axis=1)
    return Dataset.from_arrays((z * temperature).astype(np.float32), labels, mask)


def published() -> Path:
    """The folder of published logits, or a skipped test."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published logits are not at hand")
    return PUBLISHED


def published_names() -> list[str]:
    """The sets in the folder; none where it is not at hand."""
    return sorted(path.stem for path in PUBLISHED.glob("*.npz"))
