"""Direct light from a constant sky, with occlusion: the radiance of chosen pixels.

For each sample of a pixel: a camera ray, one light direction from the cosine lobe, one occlusion ray. The light
reaches the camera by the principled BSDF (`principled.evaluate`), times the detector's yield from tilted surfaces.

Legend: P = pixels, S = samples a pixel, N = particles; lane = one sample of one pixel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.principled import Surface, evaluate
from nanostream.render.upload import upload

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from nanostream.render.geometry import Geometry
    from nanostream.texture.surface import SurfaceTable

__all__ = ["Shader"]

_OFFSET_NM = 0.05
_LEAST_COSINE = 0.05
"""Interpolated normals near an outline may look away from the camera; they are bent back to this cosine."""

_COLUMNS = ("base_color", "roughness", "specular", "spec_tint", "sheen", "gain", "rim", "ambient")

_ROOT = 1.1673039782614187
"""Real root of x^5 = x + 1; its negative powers make the additive recurrence of least discrepancy in 4 dimensions."""
_STEPS = tuple(int(2**32 * (_ROOT ** -(k + 1))) for k in range(4))


class Shader:
    """Shades pixels of one loaded geometry with one table of surfaces (row 0: ground, row 1 + i: particle i)."""

    def __init__(self, geometry: Geometry, table: SurfaceTable, *, width: int, pixel_nm: float, seed: int) -> None:
        self._geometry = geometry
        # Rows of twice four: Dr.Jit gathers them as two packets.
        self._columns = upload(np.stack([getattr(table, name) for name in _COLUMNS], axis=1))
        self._rim_cap = dr.opaque(mi.Float, table.rim_cap)
        self._width = dr.opaque(mi.UInt, width)
        self._pixel_nm = dr.opaque(mi.Float, pixel_nm)
        self._seed = dr.opaque(mi.UInt, seed)
        self._start_nm = dr.opaque(mi.Float, geometry.top_nm + 1)
        self._relief = upload(table.relief)

    def radiance(self, pixels: npt.NDArray[np.uint32], samples: int) -> npt.NDArray[np.float32]:
        """Mean radiance of each pixel, (P,) float32; the sky's radiance is 1."""
        return self._mean(pixels, samples, self._surface_sample)

    def ground_radiance(self, pixels: npt.NDArray[np.uint32], samples: int) -> npt.NDArray[np.float32]:
        """The same for pixels that show the ground alone: no camera ray has to find it."""
        return self._mean(pixels, samples, self._ground_sample)

    def _mean(
        self, pixels: npt.NDArray[np.uint32], samples: int, radiance: Callable[..., Any]
    ) -> npt.NDArray[np.float32]:
        if not len(pixels):
            return np.zeros(0, np.float32)
        # A pixel's samples are neighbours: their rays meet the same triangles.
        lane = dr.arange(mi.UInt, len(pixels) * samples)
        nth = lane // samples
        pixel, sample = dr.gather(mi.UInt, upload(pixels), nth), lane - nth * samples
        row = pixel // self._width
        u = [_unit(shift + sample * step) for shift, step in zip(self._shift(pixel), _STEPS, strict=True)]
        x, y = (mi.Float(pixel - row * self._width) + u[0]) * self._pixel_nm, (mi.Float(row) + u[1]) * self._pixel_nm
        wo = mi.warp.square_to_cosine_hemisphere(mi.Point2f(u[2], u[3]))
        relief = dr.gather(mi.Float, self._relief, pixel)
        return np.array(dr.block_sum(radiance(x, y, wo, relief), samples) / samples)

    def _surface_sample(self, x: Any, y: Any, wo: Any, relief: Any) -> Any:
        geometry = self._geometry
        ray = mi.Ray3f(mi.Point3f(x, y, self._start_nm), mi.Vector3f(0, 0, -1))
        hit = geometry.scene.ray_intersect_preliminary(ray, coherent=True)
        owner, normal = geometry.surface(hit)
        normal.z = dr.maximum(normal.z, _LEAST_COSINE)
        frame = mi.Frame3f(dr.normalize(normal))
        # Inward of its own triangle, the occlusion ray meets that triangle.
        n = frame.n * _OFFSET_NM
        shadow = mi.Ray3f(mi.Point3f(x + n.x, y + n.y, self._start_nm - hit.t + n.z), frame.to_world(wo))
        lit = ~geometry.scene.ray_test(shadow, active=hit.is_valid())
        wi = frame.to_local(mi.Vector3f(0, 0, 1))
        return self._seen(owner, wi, wo, lit) * dr.select(owner == 0, relief, 1)

    def _ground_sample(self, x: Any, y: Any, wo: Any, relief: Any) -> Any:
        shadow = mi.Ray3f(mi.Point3f(x, y, _OFFSET_NM), wo)
        return self._seen(mi.UInt(0), mi.Vector3f(0, 0, 1), wo, ~self._geometry.scene.ray_test(shadow)) * relief

    def _seen(self, owner: Any, wi: Any, wo: Any, lit: Any) -> Any:
        first, second = (dr.gather(mi.Vector4f, self._columns, 2 * owner + k) for k in range(2))
        base_color, roughness, specular, spec_tint = first
        sheen, gain, rim, ambient = second
        surface = Surface(base_color, roughness, specular, spec_tint, sheen)
        # The cosine lobe's density is cos / pi, and `evaluate` holds the cosine already.
        radiance = evaluate(surface, wi, wo) * dr.pi / dr.maximum(wo.z, 1e-6)
        tilt = dr.minimum(1 / wi.z, self._rim_cap) - 1
        return radiance * gain * (1 + rim * tilt) * dr.select(lit, 1, ambient)

    def _shift(self, pixel: Any) -> list[Any]:
        """Where each of a pixel's four recurrences starts: 16 random bits each."""
        hashed: Any = mi.sample_tea_32
        first, second = hashed(pixel, self._seed, 4)
        return [first & 0xFFFF0000, first << 16, second & 0xFFFF0000, second << 16]


def _unit(bits: Any) -> Any:
    """A float in [0, 1) of an unsigned integer's upper 24 bits."""
    return mi.Float(bits >> 8) * 2.0**-24
