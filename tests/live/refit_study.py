"""How soon a refit earns its place, and how often one does that is not needed, at full size.

`python -m tests.live.refit_study FILE FACTOR STREAMS LENGTH`, such as `cifar10_vgg19_bn_chenyaofo.npz 1.2 400 10000`:
labels drawn from what the head of a published set says once it is divided by FACTOR. The tests run a short form.
"""

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.calibration import temperature
from service.datasets import files
from service.datasets.dataset import Floats
from service.live.refit import Labelled, Shadow, temper

PIECE: Final = 1000
NEVER: Final = 10**9


def answers(path: Path) -> Floats:
    """Log-probabilities of the test rows of a published set, with the temperature of its validation rows."""
    parts = files.load(path)
    fitted = temperature.fit(parts["val"]).value
    logits = np.asarray(parts["test"].logits, np.float64)
    return temper(logits, np.ones(logits.shape[1]), fitted)


def first_earned(log_p: Floats, factor: float, length: int, seed: int) -> tuple[int, Shadow]:
    """The label at which a shadow's E reaches 100, to a piece, and the shadow; `NEVER` if it does not."""
    random = np.random.default_rng(seed)
    sizes = np.ones(log_p.shape[1])
    shadow = Shadow()
    for start in range(0, length, PIECE):
        rows = log_p[random.integers(len(log_p), size=PIECE)]
        noise = random.gumbel(size=rows.shape)
        piece = Labelled.of(rows, sizes, (temper(rows, sizes, factor) + noise).argmax(axis=1))
        before = shadow.state()
        shadow.update(piece)
        if shadow.has_earned:
            return start + first_within(before, piece), shadow
    return NEVER, shadow


def first_within(state: dict[str, Any], rows: Labelled) -> int:
    """How many of `rows` a shadow needs, by halving."""
    low, high = 0, len(rows.columns)
    while high - low > 1:
        middle = (low + high) // 2
        shadow = Shadow.restore(state)
        shadow.update(rows.part(0, middle))
        low, high = (low, middle) if shadow.has_earned else (middle, high)
    return high


def main(path: Path, factor: float, streams: int, length: int) -> None:
    """Print the share of streams in which the shadow earned its place, and after how many labels."""
    log_p = answers(path)
    found = [first_earned(log_p, factor, length, seed) for seed in range(streams)]
    at = np.array([label for label, _ in found])
    worse = sum(is_worse(log_p, factor, shadow.factor or 1.0) for label, shadow in found if label < NEVER)
    median, late = np.quantile(at, [0.5, 0.9], method="inverted_cdf")
    earned = np.mean(at < NEVER)
    print(f"{path.stem} {factor}: {earned:.2%} earned, {median:,} / {late:,} labels, {worse} of them worse")  # noqa: T201 - a study


def is_worse(log_p: Floats, truth: float, factor: float) -> bool:
    """Whether a factor has a larger expected loss than 1."""
    sizes = np.ones(log_p.shape[1])
    p = np.exp(temper(log_p, sizes, truth))
    return bool((p * (log_p - temper(log_p, sizes, factor))).sum() > 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
