"""How many particles: as many as it takes to cover an area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nanostream.errors import RecipeError
from nanostream.scene.sizes import draw_sizes

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.sizes import AnySizes

__all__ = ["MOST_PARTICLES", "check_count", "draw_to_cover"]

MOST_PARTICLES = 20_000
"""More in one picture is taken for a slip of units."""


def draw_to_cover(sizes: AnySizes, area_nm2: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """As many diameters in nm as it takes until their discs add up to the area.

    Raises RecipeError for more than MOST_PARTICLES.
    """
    chunks: list[npt.NDArray[np.float64]] = []
    total, count = 0.0, 0
    while total < area_nm2:
        check_count(count)
        chunk = draw_sizes(sizes, 64, rng)
        covered = total + np.cumsum(math.pi / 4 * chunk**2)
        chunk = chunk[: int(np.searchsorted(covered, area_nm2)) + 1]
        total, count = float(covered[-1]), count + len(chunk)
        chunks.append(chunk)
    return np.concatenate([*chunks, np.empty(0)])


def check_count(count: int) -> None:
    """Raise RecipeError if a picture would hold more than MOST_PARTICLES."""
    if count > MOST_PARTICLES:
        msg = (
            f"expected at most {MOST_PARTICLES} particles in and around a picture, got more: "
            f"check sizes, coverage and picture size"
        )
        raise RecipeError(msg)
