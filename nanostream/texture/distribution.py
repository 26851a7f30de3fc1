"""A texture written as distributions of its parameters: what the presets that ship with the package hold.

One draw sets a picture's parameters; each particle then varies around them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pydantic

from nanostream.texture.ground import Relief
from nanostream.texture.spread import Spread
from nanostream.texture.surface import SurfaceTable

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DistributionTexture", "GroundTexture", "ParticleTexture"]


class _Surface(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base_color: Spread
    """Of the `principled` BSDF; the published generators use values over 1."""
    roughness: Spread = Spread(mean=0.5, low=0.0, high=1.0)
    """Of the `principled` BSDF, 0 to 1."""
    specular: Spread = Spread(mean=0.0, low=0.0, high=1.0)
    """Of the `principled` BSDF; 0 is no reflection."""
    spec_tint: Spread = Spread(mean=0.0, low=0.0, high=1.0)
    """Of the `principled` BSDF."""
    sheen: Spread = Spread(mean=0.0, low=0.0)
    """Of the `principled` BSDF: light at grazing angles, which makes bright rims."""
    ambient: Spread = Spread(mean=0.0, low=0.0, high=1.0)
    """Share of the light that reaches occluded points all the same."""


class ParticleTexture(_Surface):
    """Surfaces of the particles."""

    rim: Spread = Spread(mean=0.0, low=0.0)
    """Growth of the brightness with tilt, the secondary-electron effect: it is 1 + rim (1/cos(tilt) - 1)^rim_power."""
    rim_cap: float = pydantic.Field(default=4.0, ge=1)
    """Greatest 1/cos(tilt) that still counts."""
    rim_power: float = pydantic.Field(default=1.0, gt=0)
    """Over 1, rims are narrower and brighter."""
    gain_sd: Spread = Spread(mean=0.0, low=0.0)
    """Standard deviation of the logarithm of a particle's brightness around the picture's."""
    height_gain: Spread = Spread(mean=0.0)
    """Relative brightness that a particle gains for each of its own radii that it lies higher than on the ground."""


class GroundTexture(_Surface):
    """Surface of the ground."""

    relief: Relief = Relief()
    """Wrinkles and mottling."""


class DistributionTexture(pydantic.BaseModel):
    """Distributions of the textural parameters of a picture."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["distribution"] = "distribution"
    particle: ParticleTexture
    """Surfaces of the particles."""
    ground: GroundTexture
    """Surface of the ground."""
    source: str = ""
    """Where the numbers come from."""

    def draw(
        self,
        rng: np.random.Generator,
        *,
        lift: npt.NDArray[np.float64],
        height: int,
        width: int,
        pixel_nm: float,
    ) -> SurfaceTable:
        """Surfaces of one picture.

        lift: (N,) float64, how much higher each particle lies than on the ground, in its own radii.
        """
        count = len(lift)
        particle, ground = self.particle, self.ground
        columns = {}
        for name in ("base_color", "roughness", "specular", "spec_tint", "sheen", "ambient"):
            of_particle, of_ground = getattr(particle, name).one(rng), getattr(ground, name).one(rng)
            columns[name] = np.full(1 + count, of_particle, np.float32)
            columns[name][0] = of_ground
        rim, gain_sd, height_gain = particle.rim.one(rng), particle.gain_sd.one(rng), particle.height_gain.one(rng)
        columns["rim"] = np.full(1 + count, rim, np.float32)
        columns["rim"][0] = 0
        gain = np.exp(gain_sd * rng.standard_normal(count)) * np.maximum(0.2, 1 + height_gain * lift)
        columns["gain"] = np.concatenate([[1], gain]).astype(np.float32)
        relief = ground.relief.draw(rng, height=height, width=width, pixel_nm=pixel_nm)
        return SurfaceTable(**columns, rim_cap=particle.rim_cap, rim_power=particle.rim_power, relief=relief)
