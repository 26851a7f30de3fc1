"""Ensemble: the particles of one picture as one triangle mesh in nanometres.

Legend: N = particles, V = vertices, F = faces.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from nanostream.errors import RecipeError
from nanostream.scene.agglomerates import Agglomerates, place_agglomerates
from nanostream.scene.bodies import draw_bodies, solids_for, transform
from nanostream.scene.cover import check_count, draw_to_cover
from nanostream.scene.field import Field
from nanostream.scene.network import Network, stack_lines
from nanostream.scene.parts import Part, join
from nanostream.scene.scattered import Scattered, place_scattered
from nanostream.scene.sizes import draw_sizes, size_limits, typical_size
from nanostream.scene.wire import WireShape, draw_lines, sweep, wire_nodes

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.config import SceneConfig
    from nanostream.scene.grain import GrainShape
    from nanostream.scene.mesh import MeshShape
    from nanostream.scene.sizes import AnySizes
    from nanostream.scene.sphere import SphereShape

__all__ = ["Ensemble", "build_ensemble"]

SHOWN = 0.85
"""Share of the discs' area that is seen from above, on average."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Closed particles over the ground plane z = 0; x to the right, y down, z to the viewer.

    The picture's upper left corner is the origin. vertices: (V, 3) float32 nm. normals: (V, 3)
    float32, outward unit vectors, smooth. faces: (F, 3) uint32, facing outward. particle: (F,)
    int32, the particle 0..N-1 a face belongs to. vertex_particle: (V,) int32. center_nm: (N, 3)
    float64. diameter_nm: (N,) float64, of the sphere with the particle's volume; for wires, of the
    wire. length_nm: (N,) float64, longest extent. aspect: (N,) float64, longest over shortest.
    """

    vertices: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    faces: npt.NDArray[np.uint32]
    particle: npt.NDArray[np.int32]
    vertex_particle: npt.NDArray[np.int32]
    center_nm: npt.NDArray[np.float64]
    diameter_nm: npt.NDArray[np.float64]
    length_nm: npt.NDArray[np.float64]
    aspect: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Particles."""
        return len(self.diameter_nm)

    def boxes_nm(self) -> npt.NDArray[np.float32]:
        """Extent of each particle as seen from above, (N, 4) float32: left, upper, right, lower."""
        boxes = np.zeros((len(self), 4), np.float32)
        if len(self.vertices):
            # A particle's vertices lie together.
            starts = np.flatnonzero(np.diff(self.vertex_particle, prepend=-1))
            of = self.vertex_particle[starts]
            boxes[of, :2] = np.minimum.reduceat(self.vertices[:, :2], starts)
            boxes[of, 2:] = np.maximum.reduceat(self.vertices[:, :2], starts)
        return boxes


def build_ensemble(
    config: SceneConfig,
    *,
    height_nm: float,
    width_nm: float,
    pixel_nm: float,
    rng: np.random.Generator,
) -> Ensemble:
    """Draw the particles of one picture of this height and width.

    pixel_nm only decides how fine the meshes are: the same rng gives the same particles for any.
    Particles beyond the border stay if they can be seen or can shade what is seen. Raises
    RecipeError for a picture that would hold more than MOST_PARTICLES, MeshError for bad files.
    """
    for name, value in (("height_nm", height_nm), ("width_nm", width_nm), ("pixel_nm", pixel_nm)):
        if not (math.isfinite(value) and value > 0):
            msg = f"expected {name} to be above 0, got {value!r}"
            raise RecipeError(msg)
    picture = (float(width_nm), float(height_nm))
    shape, placement = config.shape, config.placement
    if isinstance(shape, WireShape) and isinstance(placement, Network):
        return _wires(config.sizes, shape, placement, picture=picture, pixel_nm=pixel_nm, rng=rng)
    # SceneConfig lets wires be with networks alone.
    assert not isinstance(shape, WireShape)
    assert not isinstance(placement, Network)
    return _solids(config.sizes, shape, placement, picture=picture, pixel_nm=pixel_nm, rng=rng)


def _solids(
    sizes: AnySizes,
    shape: GrainShape | SphereShape | MeshShape,
    placement: Agglomerates | Scattered,
    *,
    picture: tuple[float, float],
    pixel_nm: float,
    rng: np.random.Generator,
) -> Ensemble:
    area = Field(picture[1], picture[0], margin_nm=typical_size(sizes))
    coverage = rng.uniform(*placement.coverage)
    # Seen from above, particles hide part of each other.
    diameter = draw_to_cover(sizes, coverage * area.area_nm2 / SHOWN, rng)
    bodies = draw_bodies(shape, diameter, rng)
    if isinstance(placement, Agglomerates):
        center = place_agglomerates(placement, bodies, area, rng)
    else:
        center = place_scattered(placement, bodies, area, rng)
    reach = bodies.radius_nm + center[:, 2] + bodies.top_nm
    kept = np.flatnonzero(_near(center[:, :2] - reach[:, None], center[:, :2] + reach[:, None], picture))
    parts = []
    turned = _cofactors(bodies.matrix)
    groups = solids_for(shape, bodies.solid[kept], bodies.diameter_nm[kept] / pixel_nm)
    for solids, members, rows in groups:
        of = kept[members]
        vertices = transform(solids.vertices[rows], bodies.matrix[of]) + center[of, None]
        normals = transform(solids.normals[rows], turned[of])
        normals /= np.sqrt(np.sum(normals**2, axis=-1, keepdims=True))
        parts.append(Part(vertices, normals, solids.faces, members))
    width = bodies.width_nm[kept]
    return Ensemble(
        *join(parts),
        center_nm=center[kept],
        diameter_nm=bodies.diameter_nm[kept],
        length_nm=width.max(axis=1),
        aspect=width.max(axis=1) / width.min(axis=1),
    )


def _wires(
    sizes: AnySizes,
    shape: WireShape,
    placement: Network,
    *,
    picture: tuple[float, float],
    pixel_nm: float,
    rng: np.random.Generator,
) -> Ensemble:
    # A wire with its middle far outside can still reach into the picture.
    area = Field(picture[1], picture[0], margin_nm=size_limits(shape.length_nm)[1] / 2)
    coverage = rng.uniform(*placement.coverage)
    # Wires fall anywhere, also on each other: N of mean area A leave exp(-N A / area) bare.
    target = -math.log(1 - coverage) * area.area_nm2
    diameter, length = _draw_wires(sizes, shape, target, rng)
    lines = draw_lines(shape, length - diameter, wire_nodes(diameter, length), rng)
    lines += np.stack(area.draw(len(diameter), rng), axis=-1)[:, None]
    # Wires out of reach neither show nor carry another one that does, but for a hair's breadth.
    reach = 3 * diameter.max(initial=0.0)
    kept = np.flatnonzero(_near(lines.min(axis=1) - reach, lines.max(axis=1) + reach, picture))
    lines, diameter, length = lines[kept], diameter[kept], length[kept]
    if not len(kept):
        return Ensemble(*join([]), np.empty((0, 3)), diameter, length, length / diameter)
    heights = stack_lines(placement, lines, diameter / 2)
    lines = np.concatenate([lines, heights[..., None]], axis=-1)
    # Particles shade what lies as far away as they are high.
    reach = (lines[..., 2] + diameter[:, None])[..., None]
    near = _near(lines[..., :2] - reach, lines[..., :2] + reach, picture)
    part = Part(*sweep(lines, diameter / 2, near, pixel_nm), np.arange(len(kept)))
    extent = np.sqrt(np.sum((lines[:, -1] - lines[:, 0]) ** 2, axis=-1)) + diameter
    return Ensemble(
        *join([part]),
        center_nm=lines.mean(axis=1),
        diameter_nm=diameter,
        length_nm=extent,
        aspect=extent / diameter,
    )


def _draw_wires(
    sizes: AnySizes, shape: WireShape, area_nm2: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # Diameters and lengths of as many wires as it takes until they add up to the area.
    diameter, length = np.empty(0), np.empty(0)
    while True:
        area = np.cumsum(diameter * length)
        if area_nm2 <= 0 or (len(area) and area[-1] >= area_nm2):
            count = int(np.searchsorted(area, area_nm2)) + 1 if area_nm2 > 0 else 0
            return diameter[:count], length[:count]
        check_count(len(diameter))
        diameter = np.concatenate([diameter, draw_sizes(sizes, 64, rng)])
        more = draw_sizes(shape.length_nm, 64, rng)
        length = np.maximum(np.concatenate([length, more]), 2 * diameter)


def _near(
    low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], picture: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    # Whether boxes (..., 2) meet the picture; boxes with nan do not.
    return (high[..., 0] > 0) & (high[..., 1] > 0) & (low[..., 0] < picture[0]) & (low[..., 1] < picture[1])


def _cofactors(m: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # Normals turn with the inverse transposed, which is this but for a factor.
    return np.stack([np.cross(m[:, 1], m[:, 2]), np.cross(m[:, 2], m[:, 0]), np.cross(m[:, 0], m[:, 1])], axis=1)
