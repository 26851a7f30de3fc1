"""The published film's Gaussian pixel filter, over a grid of strata.

Legend: H, W = picture height and width in pixels, b = border in pixels, s = strata a pixel's edge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["blur", "film_border"]

_CUT = 4.0
"""Mitsuba's Gaussian ends at this many standard deviations, lowered so that it is 0 there."""


def film_border(sigma_px: float) -> int:
    """b: pixels around the picture that the filter reaches into."""
    return math.ceil(_CUT * sigma_px - 0.5)


def blur(
    total: npt.NDArray[np.float64], count: npt.NDArray[np.float64], *, strata: int, border: int, sigma_px: float
) -> npt.NDArray[np.float32]:
    """(H, W) float32, the weighted mean of the samples around each pixel's centre.

    total, count: ((H + 2b) s, (W + 2b) s), sum and number of the samples in each stratum.
    """
    # Offset of each stratum's centre from the pixel's centre, over the pixels that the filter reaches.
    reach = np.arange((2 * border + 1) * strata)
    offset = (reach + 0.5) / strata - (border + 0.5)
    lowest = math.exp(-0.5 * _CUT**2)
    weight = np.maximum(0, np.exp(-0.5 * (offset / sigma_px) ** 2) - lowest) * (np.abs(offset) < _CUT * sigma_px)
    blurred, norm = (_slide(_slide(grid, weight, strata).T, weight, strata).T for grid in (total, count))
    return (blurred / norm).astype(np.float32)


def _slide(grid: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], strata: int) -> npt.NDArray[np.float64]:
    """Weighted sum over the first axis at every pixel; added in a fixed order, so that no thread count shows."""
    pixels = (len(grid) - len(weight)) // strata + 1
    out = np.zeros((pixels, grid.shape[1]))
    for step, factor in enumerate(weight):
        if factor:
            out += factor * grid[step : step + (pixels - 1) * strata + 1 : strata]
    return out
