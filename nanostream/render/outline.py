"""Which particle each pixel shows, and how much of each is hidden: one ray at every pixel's centre.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.upload import upload

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.geometry import Geometry

__all__ = ["Outline", "trace_outline"]

_STEP_NM = 0.05
"""A ray goes on this far behind a surface: over the rounding of a float at 10 micrometres, under any real gap."""


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
    centres = _Centres(geometry, width=width, pixel_nm=pixel_nm)
    pixels = np.arange(height * width, dtype=np.uint32)
    first, below = centres.below(upload(pixels), dr.opaque(mi.Float, geometry.top_nm + 1), active=True)
    dr.eval(first, below)
    owner = np.array(first).astype(np.int32)
    shown = np.flatnonzero(owner)
    return Outline(
        owner=owner.reshape(height, width),
        visible_px=np.bincount(owner, minlength=geometry.count + 1)[1:],
        own_px=_own_px(centres, pixels[shown], owner[shown], np.array(below)[shown]),
    )


class _Centres:
    """Rays down through the centres of pixels."""

    def __init__(self, geometry: Geometry, *, width: int, pixel_nm: float) -> None:
        self.geometry = geometry
        self._width, self._pixel_nm = dr.opaque(mi.UInt, width), dr.opaque(mi.Float, pixel_nm)

    def below(self, pixel: Any, z: Any, *, active: Any) -> tuple[Any, Any]:
        """Owner and height of what lies under each pixel's centre below the height z."""
        row = pixel // self._width
        x, y = (mi.Float(pixel - row * self._width) + 0.5) * self._pixel_nm, (mi.Float(row) + 0.5) * self._pixel_nm
        ray = mi.Ray3f(mi.Point3f(x, y, z), mi.Vector3f(0, 0, -1))
        hit = self.geometry.scene.ray_intersect_preliminary(ray, coherent=True, active=active)
        return self.geometry.owner(hit), z - hit.t


def _own_px(
    centres: _Centres, pixels: npt.NDArray[np.uint32], owner: npt.NDArray[np.int32], z: npt.NDArray[np.float32]
) -> npt.NDArray[np.int64]:
    """Pixels whose ray meets the particle at all, (N,): on from the first hits, through to the ground."""
    columns = centres.geometry.count + 1
    seen = np.zeros((len(pixels), columns), bool)
    if not len(pixels):
        return seen.sum(axis=0)[1:]
    seen[np.arange(len(pixels)), owner] = True
    met, pixel = upload(seen), upload(pixels)
    row_start = dr.arange(mi.UInt, len(pixels)) * dr.opaque(mi.UInt, columns)
    going = dr.full(mi.Bool, True, len(pixels))

    def body(z: Any, going: Any) -> tuple[Any, Any]:
        particle, below = centres.below(pixel, z - _STEP_NM, active=going)
        going = going & (particle > 0)
        dr.scatter(met, going, row_start + particle, going)
        return below, going

    dr.while_loop((upload(z), going), lambda _, going: going, body)
    return np.array(met).reshape(seen.shape).sum(axis=0)[1:]
