"""What the renderer needs to know of every surface of one picture.

Legend: N = particles, H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["SurfaceTable", "particle_lift"]

_MOST_LIFT = 4.0
"""A particle this many radii up is as bright as it gets."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SurfaceTable:
    """Parameters of the ground (row 0) and of each particle (row 1 + i); every column (1 + N,) float32.

    base_color, roughness, specular, spec_tint, sheen: of Mitsuba's `principled` BSDF, in one channel.
    gain: brightness of the surface relative to the BSDF's; a secondary-electron yield.
    rim: growth of the yield with tilt, where no neighbour is in the way: 1 + rim (1/cos(tilt) - 1)^rim_power.
    ambient: share of the light that reaches occluded points all the same.
    rim_cap: greatest 1/cos(tilt). rim_power: over 1, rims are narrower and brighter.
    relief: (H, W) float32, brightness of the ground relative to a flat one.
    """

    base_color: npt.NDArray[np.float32]
    roughness: npt.NDArray[np.float32]
    specular: npt.NDArray[np.float32]
    spec_tint: npt.NDArray[np.float32]
    sheen: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]
    rim: npt.NDArray[np.float32]
    ambient: npt.NDArray[np.float32]
    rim_cap: float
    rim_power: float
    relief: npt.NDArray[np.float32]


def particle_lift(z_nm: npt.NDArray[np.float64], diameter_nm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How much higher each particle's centre lies than on the ground, in its own radii, (N,) float64."""
    return np.clip(2 * z_nm / diameter_nm - 1, 0, _MOST_LIFT)
