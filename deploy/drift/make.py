"""Make deploy/drift/digits.npz: what the classifier of models/digits says of scans, clean ones and noisy ones.

    python -m deploy.drift.make

The clean scans are the third of the digits that measured the head. The noisy ones are the same digits on a scanner
that has got dirty, twice: noise of 0.4 on top of the 0.2 that the classifier knows, in pixels from 0 to 1.
"""

from pathlib import Path
from typing import Final

import numpy as np

from models.digits.make import logits_of, train

NOISE: Final = 0.4
TIMES: Final = 2


def make(path: Path) -> None:
    """Write logits float16 `[n, 10]`, noisy_logits `[2 n, 10]`, and the labels of both."""
    digits = train()
    pixels = np.tile(digits.test, (TIMES, 1))
    noisy = pixels + np.random.default_rng(1).normal(scale=NOISE, size=pixels.shape)
    np.savez_compressed(
        path,
        logits=logits_of(digits.classifier, digits.test).astype(np.float16),
        labels=digits.test_digits.astype(np.uint8),
        noisy_logits=logits_of(digits.classifier, noisy).astype(np.float16),
        noisy_labels=np.tile(digits.test_digits, TIMES).astype(np.uint8),
    )


if __name__ == "__main__":
    make(Path(__file__).with_name("digits.npz"))
