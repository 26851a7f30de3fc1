"""Which particle each pixel shows, and how much of each is hidden: one ray at every pixel's centre.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.upload import several, upload

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.geometry import Geometry

__all__ = ["Outline", "OutlineTrace", "trace_outline"]

_STEP_NM = 0.05
"""A ray goes on this far behind a surface: over the rounding of a float at 10 micrometres, under any real gap."""
_TILE = 4
"""Rays of a square of so many pixels go down together: they meet the same triangles."""


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
    tracing = OutlineTrace(geometry, height=height, width=width, pixel_nm=pixel_nm)
    tracing.owner()
    return tracing.outline()


class OutlineTrace:
    """The same in steps, each queued on the device and read by the next, for whoever has other work meanwhile."""

    def __init__(self, geometry: Geometry, *, height: int, width: int, pixel_nm: float) -> None:
        """Queue the first hits of the ensemble that is loaded."""
        self._shape = (height, width)
        self._centres = _Centres(geometry, width=width, pixel_nm=pixel_nm)
        self._layers = _layers(geometry.boxes_nm / pixel_nm, height, width).ravel()
        order = _by_tiles(height, width)
        self._near = order[self._layers[order] > 0]
        if len(self._near):
            start = dr.opaque(mi.Float, geometry.top_nm + 1)
            self._first = self._centres.below(upload(several(self._near)), start, active=True)
            dr.eval(self._first)

    def owner(self) -> npt.NDArray[np.int32]:
        """Which particle each pixel shows, as `Outline` has it; queues what lies behind."""
        owner, z = np.zeros(self._layers.size, np.int32), np.zeros(self._layers.size, np.float32)
        if len(self._near):
            count = len(self._near)
            owner[self._near], z[self._near] = (np.array(column)[:count] for column in self._first)
        piled = self._near[(self._layers[self._near] > 1) & (owner[self._near] > 0)]
        self._owner, self._front = owner, owner[piled]
        self._met = _all_met(self._centres, several(piled), several(z[piled]))
        return owner.reshape(self._shape)

    def outline(self) -> Outline:
        """The whole, once `owner` has been called."""
        columns = self._centres.geometry.count + 1
        behind = np.array(self._met).reshape(-1, columns)[: len(self._front)]
        behind[np.arange(len(behind)), self._front] = False
        visible_px = np.bincount(self._owner, minlength=columns)[1:]
        own_px = visible_px + np.count_nonzero(behind, axis=0)[1:]
        return Outline(owner=self._owner.reshape(self._shape), visible_px=visible_px, own_px=own_px)


@functools.lru_cache(maxsize=4)
def _by_tiles(height: int, width: int) -> npt.NDArray[np.uint32]:
    """Numbers of all pixels, (H * W,), tile by tile."""
    row, column = np.divmod(np.arange(height * width), width)
    return np.lexsort((column, row, column // _TILE, row // _TILE)).astype(np.uint32)


def _layers(boxes_px: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.int32]:
    """(H, W): particles whose boxes reach to within a pixel of each pixel's centre. boxes_px: (N, 4)."""
    low, high = np.floor(boxes_px[:, :2]) - 1, np.ceil(boxes_px[:, 2:]) + 1
    layers = np.zeros((height, width), np.int32)
    for left, upper, right, lower in np.maximum(np.concatenate([low, high], axis=1), 0).astype(np.int64).tolist():
        layers[upper:lower, left:right] += 1
    return layers


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


def _all_met(centres: _Centres, pixels: npt.NDArray[np.uint32], z: npt.NDArray[np.float32]) -> Any:
    """Whether each pixel's ray meets each particle below the height z, rows of 1 + N flags; queued."""
    columns = centres.geometry.count + 1
    met = dr.zeros(mi.Bool, len(pixels) * columns)
    if not len(pixels):
        return met
    pixel = upload(pixels)
    row_start = dr.arange(mi.UInt, len(pixels)) * dr.opaque(mi.UInt, columns)

    def body(z: Any, going: Any) -> tuple[Any, Any]:
        particle, below = centres.below(pixel, z - _STEP_NM, active=going)
        going = going & (particle > 0)
        dr.scatter(met, going, row_start + particle, going)
        return below, going

    dr.while_loop((upload(z), dr.full(mi.Bool, True, len(pixels))), lambda _, going: going, body)
    dr.eval(met)
    return met
