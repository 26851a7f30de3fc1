"""Which particle each pixel shows, and how much of each is hidden: one ray at every pixel's centre.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import drjit as dr
import mitsuba as mi
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.geometry import Geometry

__all__ = ["Outline", "trace_outline"]

_STEP_NM = 0.05
"""A ray goes on this far behind a surface: over the rounding of a float at 10 micrometres, under any real gap."""

_MAX_LAYERS = 256


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """owner: (H, W) int32, 0 ground, 1 + particle otherwise.

    visible_px, own_px: (N,) int64, pixel centres that show the particle, and that would if it were alone.
    """

    owner: npt.NDArray[np.int32]
    visible_px: npt.NDArray[np.int64]
    own_px: npt.NDArray[np.int64]


def trace_outline(geometry: Geometry, *, height: int, width: int, pixel_nm: float) -> Outline:
    """Trace the pixel centres through all layers of the pile."""
    pixels = np.arange(height * width, dtype=np.uint32)
    z = np.full(height * width, geometry.top_nm + 1, np.float32)
    owner = np.zeros(height * width, np.int32)
    seen = np.zeros((0, 0), bool)
    rows = pixels
    for layer in range(_MAX_LAYERS):
        particle, z = _next_surface(geometry, pixels, z, width, pixel_nm)
        on_particle = particle > 0
        if layer == 0:
            owner = particle
            seen = np.zeros((int(on_particle.sum()), geometry.count + 1), bool)
            rows = np.arange(len(pixels), dtype=np.uint32)[: len(seen)]
            rows_now = rows
        else:
            rows_now = rows[on_particle]
        if not len(rows_now):
            break
        seen[rows_now, particle[on_particle]] = True
        pixels, z, rows = pixels[on_particle], z[on_particle] - np.float32(_STEP_NM), rows_now
    return Outline(
        owner=owner.reshape(height, width),
        visible_px=np.bincount(owner, minlength=geometry.count + 1)[1:],
        own_px=seen.sum(axis=0)[1:],
    )


def _next_surface(
    geometry: Geometry, pixels: npt.NDArray[np.uint32], z: npt.NDArray[np.float32], width: int, pixel_nm: float
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    pixel = mi.UInt(pixels)
    across, size = dr.opaque(mi.UInt, width), dr.opaque(mi.Float, pixel_nm)
    row = pixel // across
    column = pixel - row * across
    start = mi.Float(z)
    ray = mi.Ray3f(
        mi.Point3f((mi.Float(column) + 0.5) * size, (mi.Float(row) + 0.5) * size, start), mi.Vector3f(0, 0, -1)
    )
    hit = geometry.scene.ray_intersect_preliminary(ray, coherent=True)
    particle, below = geometry.owner_of(hit), start - hit.t
    dr.eval(particle, below)
    return np.array(particle).astype(np.int32), np.array(below)
