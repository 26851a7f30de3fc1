"""The textural rendering parameters by name, and the limits that a generator keeps them in.

The names are those of Mitsuba's `principled` BSDF (after Burley 2012, "Physically based shading at Disney").
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Self

import pydantic

__all__ = ["PARAMETERS", "Bounds", "Material", "Shading"]

PARAMETERS = {
    "base_color": "diffuse reflectance; the published generators go over 1, brighter than any real surface",
    "sheen": "extra light at grazing angles, which makes bright rims",
    "spec_tint": "how much the specular lobe takes the base colour",
    "metallic": "0 dielectric, 1 metal",
    "specular": "strength of the dielectric's specular lobe",
    "anisotropic": "stretch of the specular lobe",
    "spec_trans": "share of light that passes through",
    "clearcoat_gloss": "sharpness of the second specular lobe",
    "clearcoat": "strength of the second specular lobe",
    "flatness": "blend towards a subsurface-like diffuse lobe",
    "sheen_tint": "how much the sheen takes the base colour",
    "roughness": "0 mirror, 1 matt",
}
"""BSDF parameters and what they do, in the order in which a generator gives those that are learned.

A generator's outputs are: the stage's learned parameters, the particles', and last the standard deviation of the
picture's Gaussian noise, on the scale where 1 is white.
"""

_Value = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]


class Bounds(pydantic.BaseModel):
    """Least and greatest value that a generator can give; low < high."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    low: _Value
    """Least value."""
    high: _Value
    """Greatest value."""

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            msg = f"expected low < high, got {self.low:g} and {self.high:g}"
            raise ValueError(msg)
        return self


class Material(pydantic.BaseModel):
    """All parameters of one surface; see PARAMETERS."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    base_color: _Value = 0.0
    """See PARAMETERS, here and below."""
    sheen: _Value = 0.0
    spec_tint: _Value = 0.0
    metallic: _Value = 0.0
    specular: _Value = 0.0
    anisotropic: _Value = 0.0
    spec_trans: _Value = 0.0
    clearcoat_gloss: _Value = 0.0
    clearcoat: _Value = 0.0
    flatness: _Value = 0.0
    sheen_tint: _Value = 0.0
    roughness: _Value = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Shading:
    """What one draw from a generator decides."""

    particle: Material
    """Surface of every particle."""
    stage: Material
    """Surface of the ground."""
    noise_std: float
    """Standard deviation of the picture's noise; 1 is white."""
