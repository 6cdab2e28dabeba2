"""The smooth calibration error of Blasiok and Nakkiran 2023: residuals smoothed by a reflected Gaussian kernel.

On a grid of [0,1], as their package relplot does it: every row is shared between its two neighbouring points, both
ends mirror, and the bandwidth sigma is the smallest one that is not smaller than the error it gives.
"""

from typing import Final

import numpy as np

from service.datasets.dataset import Floats

LEAST: Final = 0.001  # bandwidths below this are not told apart
HALVINGS: Final = 10
CELLS: Final = 2000  # of the grid, at least
CELLS_PER_SIGMA: Final = 20
POINTS: Final = 200  # where the smoothed residual is read, at least
POINTS_PER_SIGMA: Final = 10


def smooth_error(confidence: Floats, residuals: Floats, weights: Floats, sigma: float | None = None) -> float:
    """smECE of `confidence` `[n]` in [0,1] with `residuals` `[n]` = weight * (confidence - correct)."""
    sigma = bandwidth(confidence, residuals, weights) if sigma is None else sigma
    points = np.linspace(0, 1, max(round(POINTS_PER_SIGMA / sigma), POINTS))
    smoothed = smooth(confidence, residuals, sigma, points)
    return float(np.abs(smoothed).sum() / smooth(confidence, weights, sigma, points).sum())


def bandwidth(confidence: Floats, residuals: Floats, weights: Floats) -> float:
    """The sigma of `smooth_error`, found by bisection."""

    def enough(sigma: float) -> bool:
        return sigma < LEAST or sigma < smooth_error(confidence, residuals, weights, sigma)

    if enough(1.0):
        return 1.0
    large, small = 1.0, 0.0
    for _ in range(HALVINGS):
        middle = (large + small) / 2
        large, small = (large, middle) if enough(middle) else (middle, small)
    return large


def smooth(at: Floats, values: Floats, sigma: float, points: Floats) -> Floats:
    cells = max(CELLS, round(CELLS_PER_SIGMA / sigma)) // 2 + 1
    grid = np.linspace(0, 1, cells)
    place = at * (cells - 1)
    left = np.minimum(place.astype(np.int64), cells - 2)
    share = place - left
    summed = np.bincount(left, values * (1 - share), cells) + np.bincount(left + 1, values * share, cells)
    kernel = np.exp(-((grid - 0.5) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    mirrored = np.concatenate([summed[:0:-1], summed, summed[-2::-1]])
    smoothed = convolve(mirrored, kernel)[cells // 2 :][:cells]
    return np.asarray(np.interp(points, grid, smoothed))


def convolve(long: Floats, short: Floats) -> Floats:
    """The part of their convolution in which `short` `[m]` lies within `long` `[n]`: `[n - m + 1]`."""
    size = 1 << (len(long) + len(short) - 2).bit_length()  # a power of 2 is what an FFT likes
    product = np.fft.rfft(long, size) * np.fft.rfft(short, size)
    return np.asarray(np.fft.irfft(product, size)[len(short) - 1 : len(long)])
