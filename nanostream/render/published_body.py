"""Centre and sizes of a mesh, in its own units."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.spatial

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Body", "measure"]

_WIRE = 8.0
"""A body this many times longer than it is thick counts as a wire."""

_DIRECTIONS = 400
"""Directions in which extents are taken: the longest is missed by less than half a per cent."""

_TWICE = 1.2
"""A signed volume this many times the hull's cannot be one shell's."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Body:
    """center: (3,) of the volume. diameter: of the sphere of that volume, or of the wire. length: longest extent."""

    center: npt.NDArray[np.float64]
    diameter: float
    length: float


def measure(vertices: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> Body:
    """Centre and sizes of a closed mesh. vertices: (V, 3), faces: (F, 3)."""
    points = vertices.astype(np.float64)
    corners = points[faces]
    # Six times the signed volume of the tetrahedron from the origin to each face.
    six = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    center = np.einsum("f,fi->i", six, corners.sum(axis=1)) / (4 * six.sum())
    directions = _directions()
    low, high = (
        np.array([choose(points @ direction) for direction in directions]) for choose in (np.argmin, np.argmax)
    )
    extent = np.einsum("di,di->d", points[high] - points[low], directions)
    # A mesh may hold a shell twice, as a published sphere does: it has no more volume than its hull.
    hull = scipy.spatial.ConvexHull(points[np.union1d(low, high)]).volume
    volume = hull if abs(six.sum()) / 6 > _TWICE * hull else abs(six.sum()) / 6
    length, thickness = float(extent.max()), float(np.ptp(points, axis=0).min())
    wire = length > _WIRE * thickness
    return Body(center, thickness if wire else float((6 * volume / np.pi) ** (1 / 3)), length)


def _directions() -> npt.NDArray[np.float64]:
    """(_DIRECTIONS, 3) unit vectors, evenly over half a sphere (Fibonacci lattice)."""
    step = np.arange(_DIRECTIONS) + 0.5
    height = step / _DIRECTIONS
    azimuth = np.pi * (1 + math.sqrt(5)) * step
    ring = np.sqrt(1 - height**2)
    return np.column_stack((ring * np.cos(azimuth), ring * np.sin(azimuth), height))
