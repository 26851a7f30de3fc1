"""The principled BSDF under direct light, as far as grains, spheres and wires need it.

This is the line of the project that shades a point: `evaluate` below. It is Mitsuba's `principled` plugin for an
opaque, dielectric, isotropic surface in one channel (diffuse with retro-reflection, sheen, GGX reflection), written
here so that every particle of one merged mesh can have parameters of its own. Tested against the plugin.

Legend: wi = towards the camera, wo = towards the light, in the frame of the shading normal; cos_d = of the angle
between the light and the half vector.
Source: Burley 2012, "Physically-based shading at Disney".
"""

from __future__ import annotations

import dataclasses
from typing import Any

import drjit as dr

__all__ = ["Surface", "evaluate"]


@dataclasses.dataclass(frozen=True, slots=True)
class Surface:
    """Parameters of the surface under each ray; every field a Dr.Jit float of the wavefront's width."""

    base_color: Any
    roughness: Any
    specular: Any
    spec_tint: Any
    sheen: Any


def evaluate(surface: Surface, wi: Any, wo: Any) -> Any:
    """BSDF for light from wo seen from wi, times pi: what light is worth that is sampled from the cosine lobe.

    Unit vectors above the surface, z along the shading normal. In one channel a colour's tint is 1: `sheen_tint`
    changes nothing and is left out, and `spec_tint` fades from the Fresnel equations to Schlick's approximation.
    """
    cos_i, cos_o = wi.z, wo.z
    # The half vector is along their sum, which is 2 cos_d long; squares of its parts along the normal and across it.
    along, across = dr.square(cos_i + cos_o), dr.square(wi.x + wo.x) + dr.square(wi.y + wo.y)
    cos2_d = (along + across) / 4
    cos_d = dr.sqrt(cos2_d)

    f_i, f_o, f_d = _schlick(cos_i), _schlick(cos_o), _schlick(cos_d)
    retro = 2 * surface.roughness * cos2_d
    diffuse = (1 - f_i / 2) * (1 - f_o / 2) + retro * (f_i + f_o + f_i * f_o * (retro - 1))

    # `specular` stands for an index of refraction: F0 = 0.08 specular.
    f_0 = 0.08 * surface.specular
    fresnel = dr.lerp(_dielectric(cos_d, f_0), f_0 + (1 - f_0) * f_d, surface.spec_tint)
    fresnel = dr.select(f_0 > 0, fresnel, 0)
    # pi D G / (4 cos_i cos_o), with the GGX distribution D and Smith's masking G.
    alpha2 = dr.maximum(1e-6, dr.square(dr.square(surface.roughness)))
    spread = dr.square(across + alpha2 * along) * _smith(cos_i, alpha2) * _smith(cos_o, alpha2)
    reflection = fresnel * alpha2 * dr.square(along + across) / spread
    return surface.base_color * diffuse + dr.pi * surface.sheen * f_d + reflection


def _schlick(cos: Any) -> Any:
    m = dr.clip(1 - cos, 0, 1)
    return dr.square(dr.square(m)) * m


def _dielectric(cos_i: Any, f_0: Any) -> Any:
    """Unpolarised Fresnel reflectance of a dielectric whose reflectance at normal incidence is f_0."""
    root = dr.sqrt(f_0)
    # With the index of refraction eta = (1 + root) / (1 - root), g = eta cos_t.
    g = dr.sqrt(4 * root / dr.square(1 - root) + dr.square(cos_i))
    below, above = cos_i * (g - cos_i) + 1, cos_i * (g + cos_i) - 1
    over = (g - cos_i) / ((g + cos_i) * below)
    return dr.square(over) * (dr.square(below) + dr.square(above)) / 2


def _smith(cos: Any, alpha2: Any) -> Any:
    """2 cos over the masking of one direction."""
    return cos + dr.sqrt(dr.square(cos) + alpha2 * (1 - dr.square(cos)))
