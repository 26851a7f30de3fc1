"""Smoothing of a picture by a gaussian or a square, several times as fast as scipy's general filters.

Sums of shifted pictures, in single precision and always in the same order. Legend: H, W = height and width in pixels.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["blur", "box"]

_REACH = 3.0
"""A gaussian ends at this many standard deviations."""


def blur(
    picture: npt.NDArray[np.float32], sigma_px: float, mode: Literal["edge", "wrap"] = "edge"
) -> npt.NDArray[np.float32]:
    """(H, W) float32, blurred by a gaussian of this standard deviation; the picture goes on as `numpy.pad`'s mode."""
    return _convolve(picture, _gaussian(float(sigma_px)), mode)


def box(picture: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.float32]:
    """(H, W) float32, the mean over a square of 2 reach + 1 pixels around each."""
    return _convolve(picture, np.full(reach + 1, 1 / (2 * reach + 1), np.float32), "edge")


@functools.lru_cache(maxsize=16)
def _gaussian(sigma_px: float) -> npt.NDArray[np.float32]:
    """Weights from the middle outwards."""
    away = np.arange(math.floor(_REACH * sigma_px + 0.5) + 1)
    weights = np.exp(-0.5 * np.square(away / sigma_px)) if sigma_px > 0 else np.ones(1)
    return (weights / (2 * weights.sum() - weights[0])).astype(np.float32)


def _convolve(
    picture: npt.NDArray[np.float32], weights: npt.NDArray[np.float32], mode: Literal["edge", "wrap"]
) -> npt.NDArray[np.float32]:
    """Along both axes, by a symmetric kernel with these weights from the middle outwards."""
    reach = len(weights) - 1
    height, width = picture.shape
    padded = np.pad(picture, reach, mode)
    rows = padded[reach : reach + height] * weights[0]
    for k in range(1, reach + 1):
        rows += (padded[reach - k : reach - k + height] + padded[reach + k : reach + k + height]) * weights[k]
    out = rows[:, reach : reach + width] * weights[0]
    for k in range(1, reach + 1):
        out += (rows[:, reach - k : reach - k + width] + rows[:, reach + k : reach + k + width]) * weights[k]
    return out
