"""The principled BSDF under direct light, as far as grains, spheres and wires need it.

This is the line of the project that shades a point: `evaluate` below. It is Mitsuba's `principled` plugin for an
opaque, dielectric, isotropic surface in one channel (diffuse with retro-reflection, sheen, GGX reflection), written
here so that every particle of one merged mesh can have parameters of its own. Tested against the plugin.

Legend: wi = towards the camera, wo = towards the light, wh = half vector, all in the frame of the shading normal;
D, F, G = distribution, Fresnel and shadowing terms of the reflection.
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
    """BSDF times cosine for light from wo seen from wi; unit vectors, z along the shading normal.

    In one channel a colour's tint is 1: `sheen_tint` changes nothing and is left out, and `spec_tint` fades from the
    Fresnel equations to Schlick's approximation of them.
    """
    cos_i, cos_o = wi.z, wo.z
    wh = dr.normalize(wi + wo)
    cos_d = dr.dot(wh, wo)

    f_i, f_o, f_d = _schlick(cos_i), _schlick(cos_o), _schlick(cos_d)
    retro = 2 * surface.roughness * dr.square(cos_d)
    diffuse = (1 - f_i / 2) * (1 - f_o / 2) + retro * (f_i + f_o + f_i * f_o * (retro - 1))

    # `specular` stands for an index of refraction: F0 = 0.08 specular.
    f_0 = 0.08 * surface.specular
    fresnel = dr.lerp(_dielectric(cos_d, f_0), f_0 + (1 - f_0) * f_d, surface.spec_tint)
    fresnel = dr.select(f_0 > 0, fresnel, 0)
    alpha = dr.maximum(1e-3, dr.square(surface.roughness))
    reflection = _ggx(wh.z, alpha) * fresnel * _smith(cos_i, alpha) * _smith(cos_o, alpha) / (4 * cos_i)

    value = (surface.base_color * diffuse * dr.inv_pi + surface.sheen * f_d) * cos_o + reflection
    return dr.select((cos_i > 0) & (cos_o > 0), value, 0)


def _schlick(cos: Any) -> Any:
    m = dr.clip(1 - cos, 0, 1)
    return dr.square(dr.square(m)) * m


def _dielectric(cos_i: Any, f_0: Any) -> Any:
    """Unpolarised Fresnel reflectance of a dielectric whose reflectance at normal incidence is f_0."""
    root = dr.sqrt(f_0)
    eta = (1 + root) / (1 - root)
    cos_t = dr.safe_sqrt(1 - (1 - dr.square(cos_i)) / dr.square(eta))
    a_s = (cos_i - eta * cos_t) / (cos_i + eta * cos_t)
    a_p = (eta * cos_i - cos_t) / (eta * cos_i + cos_t)
    return (dr.square(a_s) + dr.square(a_p)) / 2


def _ggx(cos_h: Any, alpha: Any) -> Any:
    a2 = dr.square(alpha)
    return a2 / (dr.pi * dr.square(dr.square(cos_h) * (a2 - 1) + 1))


def _smith(cos: Any, alpha: Any) -> Any:
    tan2 = (1 - dr.square(cos)) / dr.square(cos)
    return 2 / (1 + dr.sqrt(1 + dr.square(alpha) * tan2))
