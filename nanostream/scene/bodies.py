"""Bodies: particles that have a size, a shape and an orientation but no place yet.

Legend: N = bodies, K = points of a proxy, D = directions.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from nanostream.scene.grain import GrainShape, draw_stretch, grain_solids
from nanostream.scene.mesh import MeshShape, mesh_solids
from nanostream.scene.solid import Solids, icosphere
from nanostream.scene.sphere import SphereShape, sphere_solids

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

__all__ = ["Bodies", "directions", "draw_bodies", "solids_for", "transform"]

DETAIL = (3, 4, 5, 6, 8, 11, 16, 24, 32)
"""Parts of an icosahedron's edge, from 92 to 10,242 vertices."""

PROXY = 4
"""Detail of the points that stand for a solid where bodies touch: 162."""

OUTLINE_PX = {"grain": 0.3, "sphere": 0.1}
"""An outline may be this many pixels off before a finer level is taken; a round one shows its corners sooner."""


@functools.cache
def directions() -> npt.NDArray[np.float64]:
    """Unit vectors (81, 3) spread evenly over the upper half sphere; the others are opposite.

    A divided icosahedron, tilted so that none of its vectors is level.
    """
    a, b = 0.17, 0.29
    turn = np.array(
        [
            [np.cos(a), 0, np.sin(a)],
            [np.sin(a) * np.sin(b), np.cos(b), -np.cos(a) * np.sin(b)],
            [-np.sin(a) * np.cos(b), np.sin(b), np.cos(a) * np.cos(b)],
        ]
    )
    u = np.einsum("ij,dj->di", turn, icosphere(PROXY)[0])
    return np.ascontiguousarray(u[u[:, 2] > 0])


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """N turned and scaled bodies about the origin, in nanometres.

    diameter_nm: (N,). solid: (N,) place in the shape's pool. matrix: (N, 3, 3) from a unit solid to
    the body. above, below: (N, 81) support along `directions()` and against them. floor_nm: (N,)
    height of the centre when the body rests on the ground. top_nm: (N,) height over the centre.
    radius_nm: (N,) of the upright cylinder
    around it.
    """

    diameter_nm: npt.NDArray[np.float64]
    solid: npt.NDArray[np.int64]
    matrix: npt.NDArray[np.float64]
    above: npt.NDArray[np.float64]
    below: npt.NDArray[np.float64]
    floor_nm: npt.NDArray[np.float64]
    top_nm: npt.NDArray[np.float64]
    radius_nm: npt.NDArray[np.float64]

    @property
    def width_nm(self) -> npt.NDArray[np.float64]:
        """Widths (N, 81) along `directions()`."""
        return self.above + self.below


def draw_bodies(
    shape: GrainShape | SphereShape | MeshShape,
    diameter_nm: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Bodies:
    """Bodies of the given volume-equivalent diameters (N,), with drawn shape and orientation."""
    count = len(diameter_nm)
    proxy = _proxy(shape)
    solid = rng.integers(len(proxy), size=count)
    matrix = np.broadcast_to(np.eye(3), (count, 3, 3))
    if isinstance(shape, GrainShape):
        # Turned before and after the stretch: the long axis has no fixed place on a grain.
        matrix = draw_stretch(shape, count, rng)[:, :, None] * _turns(rng, count)
    if not isinstance(shape, SphereShape):
        matrix = _product(_poses(rng, count, shape.lying), matrix)
    matrix = matrix * diameter_nm[:, None, None]
    points = transform(proxy[solid], matrix)
    above, below = _support(points)
    height = points[..., 2]
    return Bodies(
        diameter_nm=diameter_nm,
        solid=solid,
        matrix=matrix,
        above=above,
        below=below,
        floor_nm=-height.min(axis=1),
        top_nm=height.max(axis=1),
        radius_nm=np.sqrt((points[..., 0] ** 2 + points[..., 1] ** 2).max(axis=1)),
    )


def solids_for(
    shape: GrainShape | SphereShape | MeshShape,
    solid: npt.NDArray[np.int64],
    diameter_px: npt.NDArray[np.float64],
) -> Iterator[tuple[Solids, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Detail for bodies seen so large: solids, which bodies they serve, and their rows in them."""
    if isinstance(shape, MeshShape):
        for row, solids in enumerate(mesh_solids(shape)):
            members = np.flatnonzero(solid == row)
            if len(members):
                yield solids, members, np.zeros(len(members), np.int64)
        return
    left = np.ones(len(solid), bool)
    for parts in DETAIL:
        if not left.any():
            return
        solids = _detail(shape, parts)
        fine = left & ((solids.error[solid] * diameter_px < OUTLINE_PX[shape.kind]) | (parts == DETAIL[-1]))
        left &= ~fine
        members = np.flatnonzero(fine)
        if len(members):
            yield solids, members, solid[members]


def transform(points: npt.NDArray[np.float64], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points (N, K, 3), each set multiplied by its (N, 3, 3) matrix.

    Written out, because a BLAS may round differently with another number of threads.
    """
    x, y, z = np.ascontiguousarray(np.moveaxis(points, -1, 0))
    turned = np.empty(points.shape)
    for row in range(3):
        m = matrix[:, None, row]
        turned[..., row] = x * m[..., 0] + y * m[..., 1] + z * m[..., 2]
    return turned


def _detail(shape: GrainShape | SphereShape, parts: int) -> Solids:
    return grain_solids(shape, parts) if isinstance(shape, GrainShape) else sphere_solids(parts)


def _proxy(shape: GrainShape | SphereShape | MeshShape) -> npt.NDArray[np.float64]:
    # (P, K, 3) points that stand for the solids where bodies touch.
    if isinstance(shape, MeshShape):
        return _outermost(mesh_solids(shape))
    return _detail(shape, PROXY).vertices


@functools.lru_cache(maxsize=8)
def _outermost(meshes: tuple[Solids, ...]) -> npt.NDArray[np.float64]:
    # The vertices that reach farthest in evenly spread directions.
    spread = icosphere(PROXY)[0]
    return np.stack([m.vertices[0][np.argmax(np.einsum("dc,vc->dv", spread, m.vertices[0]), axis=1)] for m in meshes])


def _support(
    points: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    u = directions().astype(np.float32)
    count = points.shape[1]
    # Coordinates first: numpy multiplies numbers that lie side by side several at a time.
    small = np.ascontiguousarray(np.moveaxis(points, -1, 0), dtype=np.float32).reshape(3, -1)
    above = np.empty((len(points), len(u)))
    below = np.empty_like(above)
    # A few bodies at a time stay in the cache.
    for start in range(0, len(points), 8):
        x, y, z = small[:, start * count : (start + 8) * count]
        along = x * u[:, 0:1]
        along += y * u[:, 1:2]
        along += z * u[:, 2:3]
        along = along.reshape(len(u), -1, count)
        above[start : start + 8] = along.max(axis=-1).T
        below[start : start + 8] = -along.min(axis=-1).T
    return above, below


def _product(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return (a[:, :, :, None] * b[:, None]).sum(axis=2)


def _turns(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    # Uniform rotations from unit quaternions.
    q = rng.standard_normal((4, count))
    w, x, y, z = q / np.sqrt((q**2).sum(axis=0))
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1),
        ],
        axis=1,
    )


def _poses(rng: np.random.Generator, count: int, lying: float) -> npt.NDArray[np.float64]:
    """Rotations that are uniform for lying = 0 and leave x level and z upright for lying = 1."""
    yaw = rng.uniform(-np.pi, np.pi, count)
    pitch = np.arcsin(rng.uniform(-1, 1, count)) * (1 - lying)
    roll = rng.uniform(-np.pi, np.pi, count)
    # Upside down is as flat as upright, so the roll shrinks towards the nearer of the two.
    level = np.pi * np.round(roll / np.pi)
    roll = level + (roll - level) * (1 - lying)
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (yaw, pitch, roll))
    return np.stack(
        [
            np.stack([cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr], axis=1),
            np.stack([sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr], axis=1),
            np.stack([-sp, cp * sr, cp * cr], axis=1),
        ],
        axis=1,
    )
