"""Finds the data bar that a microscope burns into the lowest rows of its pictures.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["footer_rows"]

_MOST_HEIGHT = 0.25
_UNIFORM = 0.9
_FILLED = 0.5
_MOST_FRAME = 8


def footer_rows(pixels: npt.NDArray[Any]) -> int:
    """How many of the lowest rows are a footer, 0 if there is none.

    pixels: (H, W) as stored. A footer takes at most a quarter of the picture. Its first two rows are at least nine
    tenths one grey level, which noise and dark current never are; that level fills at least half of all that is
    below, whatever is written there, and less than half of the row above, so that a black sky is kept. A frame of
    up to 8 uniform rows above belongs to it. A footer on ground of its own level, or one that a lossy file format
    has blurred, is not found.
    """
    height = len(pixels)
    top = max(height - int(height * _MOST_HEIGHT), 1)
    lowest = pixels[top - 1 :]
    # A level that fills nine tenths of a row is its median; `lower` keeps to levels that occur.
    level = np.quantile(lowest, 0.5, axis=1, method="lower")
    uniform = (lowest == level[:, None]).mean(axis=1) >= _UNIFORM
    for row in range(1, len(lowest) - 1):
        if not (uniform[row] and uniform[row + 1] and level[row] == level[row + 1]):
            continue
        above = row - 1
        while uniform[above] and level[above] != level[row] and above > 0 and row - above <= _MOST_FRAME:
            above -= 1
        parted = (lowest[above] == level[row]).mean() < _FILLED
        if parted and (lowest[row:] == level[row]).mean() >= _FILLED:
            return len(lowest) - above - 1
    return 0
