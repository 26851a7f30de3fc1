"""Direct light from a constant sky, with occlusion: the radiance of chosen pixels.

For each sample of a pixel: a camera ray, one direction from the cosine lobe above the horizon, one occlusion ray. The
light reaches the camera by the principled BSDF (`principled.evaluate`), times the detector's yield from tilted
surfaces. Below the horizon the endless ground hides the sky, which takes no ray to find out. A ray goes there from
tilted surfaces all the same: electrons that leave them sideways are what makes rims bright, and where a neighbour
stands in their way, nearer than a particle is wide, there is no rim.

Legend: P = pixels, N = particles, lane = one sample of one pixel; in the frame of a surface's normal: wi = towards the
camera, wo = towards the sky, t, b, n = tangents and normal; cos, sin = of the angle between normal and camera.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.principled import Surface, evaluate
from nanostream.render.sampler import points
from nanostream.render.upload import several, upload
from nanostream.texture.surface import SurfaceTable

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.geometry import Geometry

__all__ = ["COLUMNS", "DeviceTable", "Shader"]

_OFFSET_NM = 0.05
_LEAST_COSINE = 0.05
"""Interpolated normals near an outline may look away from the camera; they are bent back to this cosine."""
_LEAST_TILT = 1e-6
"""Of 1/cos(tilt) - 1: the logarithm of 0 would have no gradient."""
_TILTED = 0.2
"""A surface of a smaller sine of its tilt has hardly more yield than a level one: nothing is traced for it."""
_FLAT = 1e-4
"""A surface with a smaller sine of its tilt has no direction in which it is steep."""

COLUMNS = ("base_color", "roughness", "specular", "spec_tint", "sheen", "gain", "rim", "ambient")
"""Order of a surface's numbers in a row of `DeviceTable.columns`."""


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceTable:
    """A SurfaceTable in Dr.Jit floats, which may carry gradients.

    columns: rows of COLUMNS, flattened. relief: (H * W). rim_cap, rim_power: one number each, opaque.
    """

    columns: Any
    relief: Any
    rim_cap: Any
    rim_power: Any

    @classmethod
    def of(cls, table: SurfaceTable) -> DeviceTable:
        """The table, uploaded."""
        # Rows of twice four: Dr.Jit gathers them as two packets.
        columns = upload(np.stack([getattr(table, name) for name in COLUMNS], axis=1))
        cap, power = (dr.opaque(mi.Float, value) for value in (table.rim_cap, table.rim_power))
        return cls(columns, upload(table.relief), cap, power)


class Shader:
    """Shades pixels of one loaded geometry with one table of surfaces (row 0: ground, row 1 + i: particle i)."""

    def __init__(
        self, geometry: Geometry, table: SurfaceTable | DeviceTable, *, width: int, pixel_nm: float, seed: int
    ) -> None:
        self._geometry = geometry
        self._table = DeviceTable.of(table) if isinstance(table, SurfaceTable) else table
        self._width = dr.opaque(mi.UInt, width)
        self._pixel_nm = dr.opaque(mi.Float, pixel_nm)
        self._seed = dr.opaque(mi.UInt, seed)
        self._start_nm = dr.opaque(mi.Float, geometry.top_nm + 1)
        self._reach_nm = dr.opaque(mi.Float, geometry.reach_nm)

    def mean(self, pixels: npt.NDArray[np.uint32], samples: int, *, ground: bool = False) -> Any:
        """Mean radiance of each pixel, (P,), the sky's being 1.

        A Dr.Jit float that is not yet evaluated and carries the table's gradients; P > 0, samples even. ground: the
        pixels show the ground alone, and no camera ray has to find it.
        """
        mean = dr.block_sum(self.halves(pixels, samples, ground=ground), 2) / 2
        return mean * dr.gather(mi.Float, self._table.relief, upload(several(pixels))) if ground else mean

    def halves(self, pixels: npt.NDArray[np.uint32], samples: int, *, ground: bool = False) -> Any:
        """The same from each half of the samples, (2 P,): both of a pixel lie together, and are independent.

        That of the ground alone without its relief.
        """
        half = samples // 2
        # A pixel's samples are neighbours: their rays meet the same triangles.
        lane = dr.arange(mi.UInt, len(pixels) * 2 * half)
        nth = lane // half
        pixel = dr.gather(mi.UInt, upload(several(pixels)), nth // 2)
        row = pixel // self._width
        column = pixel - row * self._width
        u = points(row, column, lane - nth * half, half, self._seed + (nth & 1))
        x, y = (mi.Float(column) + u[0]) * self._pixel_nm, (mi.Float(row) + u[1]) * self._pixel_nm
        disk: Any = mi.warp.square_to_uniform_disk_concentric(mi.Point2f(u[2], u[3]))
        if ground:
            return dr.block_sum(self._ground_sample(x, y, disk), half) / half
        relief = dr.gather(mi.Float, self._table.relief, pixel)
        return dr.block_sum(self._surface_sample(x, y, disk, relief), half) / half

    def _surface_sample(self, x: Any, y: Any, disk: Any, relief: Any) -> Any:
        geometry = self._geometry
        ray = mi.Ray3f(mi.Point3f(x, y, self._start_nm), mi.Vector3f(0, 0, -1))
        hit = geometry.scene.ray_intersect_preliminary(ray, coherent=True)
        owner, n = geometry.surface(hit)
        n.z = dr.maximum(n.z, _LEAST_COSINE)
        n = dr.normalize(n)
        cos, sin = n.z, dr.safe_sqrt(1 - dr.square(n.z))
        # Tangents: t as steep as the surface, b level.
        t = dr.select(sin > _FLAT, mi.Vector3f(-n.x * cos, -n.y * cos, dr.square(sin)) / sin, mi.Vector3f(1, 0, 0))
        b = dr.cross(n, t)
        # The lobe's disk is cut in two by the horizon, an ellipse whose half axis along t is cos: each part of a chord
        # along t is mapped to the whole of it, so that the disk's points stay even.
        half_chord = dr.safe_sqrt(1 - dr.square(disk.y))
        above = (disk.x * (1 + cos) + half_chord * (1 - cos)) / 2
        below = (disk.x * (1 - cos) - half_chord * (1 + cos)) / 2
        wo, beneath = (_onto_sphere(along, disk.y) for along in (above, below))
        z = dr.select(hit.is_valid(), self._start_nm - hit.t, 0)
        # Inward of its own triangle, the occlusion ray meets that triangle.
        start = mi.Point3f(x, y, z) + n * _OFFSET_NM

        def toward(way: Any) -> Any:
            return mi.Ray3f(start, t * way.x + b * way.y + n * way.z)

        lit = ~geometry.scene.ray_test(toward(wo))
        sideways = toward(beneath)
        sideways.maxt = self._reach_nm
        free = ~geometry.scene.ray_test(sideways, active=sin > _TILTED)
        return self._seen(owner, mi.Vector3f(sin, 0, cos), wo, lit, (beneath, free)) * dr.select(owner == 0, relief, 1)

    def _ground_sample(self, x: Any, y: Any, disk: Any) -> Any:
        wo = _onto_sphere(disk.x, disk.y)
        lit = ~self._geometry.scene.ray_test(mi.Ray3f(mi.Point3f(x, y, _OFFSET_NM), wo))
        # As wide as the rays, so that gradients are summed once, by the gather, and not behind every operation.
        ground = dr.zeros(mi.UInt, dr.width(x))
        return self._seen(ground, mi.Vector3f(0, 0, 1), wo, lit, None)

    def _seen(self, owner: Any, wi: Any, wo: Any, lit: Any, under: tuple[Any, Any] | None) -> Any:
        first, second = (dr.gather(mi.Vector4f, self._table.columns, 2 * owner + k) for k in range(2))
        base_color, roughness, specular, spec_tint = first
        sheen, gain, rim, ambient = second
        surface = Surface(base_color, roughness, specular, spec_tint, sheen)

        radiance = evaluate(surface, wi, wo) * dr.select(lit, 1, ambient) * gain
        if under is None:
            return radiance
        beneath, free = under
        # Shares of the lobe over and under the horizon; from under it comes what reaches occluded points.
        radiance = radiance * (1 + wi.z) / 2 + evaluate(surface, wi, beneath) * ambient * gain * (1 - wi.z) / 2
        tilt = dr.maximum(dr.minimum(1 / wi.z, self._table.rim_cap) - 1, _LEAST_TILT)
        return radiance * (1 + dr.select(free, rim * dr.power(tilt, self._table.rim_power), 0))


def _onto_sphere(x: Any, y: Any) -> Any:
    return mi.Vector3f(x, y, dr.safe_sqrt(1 - dr.square(x) - dr.square(y)))
