"""Where in a pixel, and from where in the sky, each sample is taken: points that are even together.

The samples of a pixel, and those of neighbouring pixels, follow each other in one Owen-scrambled Sobol sequence along a
Morton curve: whatever block of 2 x 2, 4 x 4, ... pixels the detector's blur takes together has evenly spread points.
The sequence is a table over a tile of pixels, made once; each tile of each picture shifts its digits at random, which
keeps the points as even as they are and makes every mean of them unbiased.

Legend: S = samples a pixel, T = edge of a tile in pixels.
Sources: Ahmed and Wonka 2020, "Screen-space blue-noise diffusion of Monte Carlo sampling error via hierarchical
ordering of pixels"; Burley 2020, "Practical hash-based Owen scrambling"; Vegdahl 2021 for the hash's constants.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.upload import upload

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["points"]

_ENTRIES = 2**14
"""Points of a table at most, if a pixel does not need more: what the processor's second cache holds."""

_KEYS = (0x2C9277B5, 0xA5D61C97, 0x5DE8A7B3, 0x91E10DA5, 0x68BC21EB, 0x02E5BE93)
"""Of the scrambles; any odd numbers serve."""


def points(row: Any, column: Any, sample: Any, samples: int, key: Any) -> tuple[Any, Any, Any, Any]:
    """Four numbers in (0, 1) for one sample of one pixel: place in the pixel, and direction.

    row, column: of the pixel. sample: 0..samples - 1. key: what the random shift depends on, besides the tile.
    """
    table, tile = _table(samples)
    tiles_down, tiles_right = row // tile, column // tile
    within = (row - tiles_down * tile) * tile + column - tiles_right * tile
    digits = dr.gather(mi.Vector2u, table, within * samples + sample)
    hashed: Any = mi.sample_tea_32
    shift = hashed(tiles_down * 0x10000 + tiles_right, key, 4)
    first, second = digits.x ^ shift[0], digits.y ^ shift[1]
    return _low(first), _high(first), _low(second), _high(second)


def _low(digits: Any) -> Any:
    return (mi.Float(digits & 0xFFFF) + 0.5) * 2.0**-16


def _high(digits: Any) -> Any:
    return (mi.Float(digits >> 16) + 0.5) * 2.0**-16


@functools.cache
def _table(samples: int) -> tuple[Any, int]:
    """The points of a tile as Dr.Jit numbers of twice 16 bits, two to a point, and T."""
    tile = 1
    while 4 * tile * tile * samples <= _ENTRIES:
        tile *= 2
    pixel, sample = np.divmod(np.arange(tile * tile * samples, dtype=np.uint32), np.uint32(samples))
    row, column = np.divmod(pixel, np.uint32(tile))
    index = (_spread(column) | _spread(row) << np.uint32(1)) * np.uint32(samples) + sample
    words = []
    for order, first, second in (_KEYS[:3], _KEYS[3:]):
        # Two of Sobol's dimensions at a time, each pair in an order of its own.
        nth = _reverse(_scramble(_reverse(index), order))
        x = _reverse(_scramble(nth, first))
        y = _reverse(_scramble(_reverse(_pascal(_reverse(nth))), second))
        words.append(x >> np.uint32(16) | y & np.uint32(0xFFFF0000))
    return upload(np.stack(words, axis=1)), tile


def _spread(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """A zero behind each of the lower 16 bits: half of a Morton code."""
    for shift, mask in ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = (bits | bits << np.uint32(shift)) & np.uint32(mask)
    return bits


def _reverse(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The 32 bits in reverse."""
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        bits = (bits >> np.uint32(shift)) & np.uint32(mask) | (bits & np.uint32(mask)) << np.uint32(shift)
    return bits >> np.uint32(16) | bits << np.uint32(16)


def _pascal(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Pascal's triangle modulo 2, by which Sobol's second dimension comes from the first (first digit on top)."""
    for shift, mask in ((16, 0xFFFF), (8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555)):
        bits = bits ^ (bits & np.uint32(mask)) << np.uint32(shift)
    return bits


def _scramble(bits: npt.NDArray[np.uint32], key: int) -> npt.NDArray[np.uint32]:
    """Owen scrambling of the reversed digits: a bit turns by a hash of those below it."""
    seed = np.uint32(key)
    bits = bits ^ bits * np.uint32(0x3D20ADEA)
    bits = (bits + seed) * (seed >> np.uint32(16) | np.uint32(1))
    bits = bits ^ bits * np.uint32(0x05526C56)
    return bits ^ bits * np.uint32(0x53A22864)
