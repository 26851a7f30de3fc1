"""Faint relief of the ground: the film under the particles is wrinkled, and its wrinkles catch light at their edges.

A network that never saw wrinkles takes them for small particles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydantic
import scipy.special

from nanostream.texture.blur import blur
from nanostream.texture.spread import Spread

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Relief"]


class Relief(pydantic.BaseModel):
    """Short curved ridges and a slow mottling, as brightness relative to a flat ground."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ridge: Spread = Spread(mean=0.0)
    """Brightness that a ridge adds at its crest, relative to the ground."""
    ridge_scale_nm: float = pydantic.Field(default=45.0, gt=0)
    """Size of the features whose edges are the ridges."""
    ridge_width_nm: float = pydantic.Field(default=8.0, gt=0)
    """Half width of a ridge."""
    ridge_share: float = pydantic.Field(default=0.35, gt=0, lt=1)
    """About the share of the ground where ridges show at all."""
    mottle: Spread = Spread(mean=0.0)
    """Standard deviation of the slow mottling, relative to the ground."""
    mottle_scale_nm: float = pydantic.Field(default=150.0, gt=0)
    """Size of the mottling."""

    def draw(self, rng: np.random.Generator, *, height: int, width: int, pixel_nm: float) -> npt.NDArray[np.float32]:
        """(H, W) float32, brightness of the ground relative to a flat one."""
        crest, mottle = self.ridge.one(rng), self.mottle.one(rng)
        level, light = rng.uniform(0.3, 1.8), rng.uniform(0, 2 * np.pi)
        size = (height, width)
        relief = np.ones(size, np.float32)
        if mottle:
            relief += np.float32(mottle) * _smooth_noise(rng, size, self.mottle_scale_nm / pixel_nm)
        if crest:
            # The film's features are where a smooth field is over a level; a ridge is the band along that contour.
            field = _smooth_noise(rng, size, self.ridge_scale_nm / pixel_nm) - np.float32(level)
            down, right = _slope(field), _slope(field.T).T
            steepness = np.square(down) + np.square(right) + np.float32(1e-12)
            distance = np.square(field) / steepness * np.float32((pixel_nm / self.ridge_width_nm) ** 2)
            lit = right * np.float32(0.65 * np.cos(light)) + down * np.float32(0.65 * np.sin(light))
            facing = np.float32(0.35) + lit / np.sqrt(steepness)
            where = _smooth_noise(rng, size, 2 * self.ridge_scale_nm / pixel_nm)
            shown = np.clip(where - np.float32(scipy.special.ndtri(1 - self.ridge_share)), 0, 1)
            relief += np.float32(crest) * np.exp(-distance) * facing * shown
        return relief


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], sigma_px: float) -> npt.NDArray[np.float32]:
    """Noise of about unit variance with a gaussian correlation, drawn no finer than the correlation needs."""
    step = max(1, int(sigma_px / 2))
    coarse = rng.standard_normal([-(-edge // step) + 3 for edge in size], np.float32)
    coarse = blur(coarse, sigma_px / step, "wrap")
    coarse /= coarse.std()
    if step == 1:
        return coarse[: size[0], : size[1]]
    # Rows last, so that they lie in memory as all other fields' do.
    return _between(np.ascontiguousarray(_between(coarse.T, size[1], step).T), size[0], step)


def _slope(field: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Central differences along the first axis, one-sided at its ends."""
    slope = np.empty_like(field)
    np.subtract(field[2:], field[:-2], out=slope[1:-1])
    slope[1:-1] *= np.float32(0.5)
    slope[:1], slope[-1:] = field[1:2] - field[:1], field[-1:] - field[-2:-1]
    return slope


def _between(rows: npt.NDArray[np.float32], count: int, step: int) -> npt.NDArray[np.float32]:
    """`count` rows, linearly between the given ones, `step` for each."""
    share = np.linspace(0, 1, step, endpoint=False, dtype=np.float32)[:, None]
    some = rows[: -(-count // step) + 1]
    between = some[:-1, None] + (some[1:] - some[:-1])[:, None] * share
    return np.asarray(between.reshape(-1, rows.shape[1])[:count], np.float32)
