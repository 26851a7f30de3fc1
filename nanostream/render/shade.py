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

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.geometry import Geometry
    from nanostream.texture.surface import SurfaceTable

__all__ = ["Shader"]

_OFFSET_NM = 0.05
_LEAST_COSINE = 0.05
"""Interpolated normals near an outline may look away from the camera; they are bent back to this cosine."""

_ROOT = 1.1673039782614187
"""Real root of x^5 = x + 1; its negative powers make the additive recurrence of least discrepancy in 4 dimensions."""
_STEPS = tuple(int(2**32 * (_ROOT ** -(k + 1))) for k in range(4))


class Shader:
    """Shades pixels of one loaded geometry with one table of surfaces (row 0: ground, row 1 + i: particle i)."""

    def __init__(self, geometry: Geometry, table: SurfaceTable, *, width: int, pixel_nm: float, seed: int) -> None:
        self._geometry = geometry
        self._columns = {name: mi.Float(column) for name, column in table.columns().items()}
        self._rim_cap = dr.opaque(mi.Float, table.rim_cap)
        self._width = dr.opaque(mi.UInt, width)
        self._pixel_nm = dr.opaque(mi.Float, pixel_nm)
        self._seed = dr.opaque(mi.UInt, seed)
        self._start_nm = dr.opaque(mi.Float, geometry.top_nm + 1)
        self._relief = mi.Float(table.relief.ravel())

    def radiance(self, pixels: npt.NDArray[np.uint32], samples: int) -> npt.NDArray[np.float32]:
        """Mean radiance of each pixel, (P,) float32; the sky's radiance is 1."""
        if not len(pixels):
            return np.zeros(0, np.float32)
        lane = dr.arange(mi.UInt, len(pixels) * samples)
        nth = lane // samples
        pixel = dr.gather(mi.UInt, mi.UInt(pixels), nth)
        value = self._lane(pixel, lane - nth * samples)
        return np.array(dr.block_sum(value, samples) / samples)

    def _lane(self, pixel: Any, sample: Any) -> Any:
        geometry = self._geometry
        u = self._uniform(pixel, sample)
        row = pixel // self._width
        x = (mi.Float(pixel - row * self._width) + u[0]) * self._pixel_nm
        y = (mi.Float(row) + u[1]) * self._pixel_nm
        ray = mi.Ray3f(mi.Point3f(x, y, self._start_nm), mi.Vector3f(0, 0, -1))
        hit = geometry.scene.ray_intersect_preliminary(ray, coherent=True)
        owner = geometry.owner_of(hit)

        normal = geometry.shading_normal(hit)
        normal.z = dr.maximum(normal.z, _LEAST_COSINE)
        frame = mi.Frame3f(dr.normalize(normal))
        wi = frame.to_local(mi.Vector3f(0, 0, 1))
        wo = mi.warp.square_to_cosine_hemisphere(mi.Point2f(u[2], u[3]))

        out = frame.to_world(wo)
        face_normal = geometry.face_normal(hit)
        shadow = mi.Ray3f(geometry.point(hit) + _OFFSET_NM * face_normal, out)
        lit = (dr.dot(face_normal, out) > 0) & ~geometry.scene.ray_test(shadow, active=hit.is_valid())

        surface = Surface(
            **{name: self._of(name, owner) for name in ("base_color", "roughness", "specular", "spec_tint", "sheen")}
        )
        # The cosine lobe's density is cos / pi, and `evaluate` holds the cosine already.
        radiance = evaluate(surface, wi, wo) * dr.pi / dr.maximum(wo.z, 1e-6)
        tilt = dr.minimum(1 / wi.z, self._rim_cap) - 1
        emitted = self._of("gain", owner) * (1 + self._of("rim", owner) * tilt)
        emitted *= dr.select(owner == 0, dr.gather(mi.Float, self._relief, pixel), 1)
        return emitted * radiance * dr.select(lit, 1, self._of("ambient", owner))

    def _of(self, name: str, owner: Any) -> Any:
        return dr.gather(mi.Float, self._columns[name], owner)

    def _uniform(self, pixel: Any, sample: Any) -> list[Any]:
        """Four numbers in [0, 1) a lane: an additive recurrence over samples, shifted at random for each pixel."""
        hashed: Any = mi.sample_tea_32
        shift = [*hashed(pixel, self._seed, 4), *hashed(~pixel, self._seed, 4)]
        # 24 bits, so that the float is below 1.
        return [mi.Float((s + sample * a) >> 8) * 2.0**-24 for s, a in zip(shift, _STEPS, strict=True)]
