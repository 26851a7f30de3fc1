"""Solids: closed triangle meshes of unit volume-equivalent diameter, before they become particles.

Legend: P = solids, V = vertices, F = faces.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Solids", "icosphere", "signed_volume", "unit_scale"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Solids:
    """P solids that share their faces.

    vertices: (P, V, 3) float64, in units of the volume-equivalent diameter, about the centre of
    the solid. normals: (P, V, 3) float64, outward unit vectors. faces: (F, 3) int64, wound so that
    they face outward. error: (P,) distance of the edges' middles from the true surface, in diameters, which nine
    in ten do not exceed; 0 where the mesh is the truth.
    """

    vertices: npt.NDArray[np.float64]
    normals: npt.NDArray[np.float64]
    faces: npt.NDArray[np.int64]
    error: npt.NDArray[np.float64]


@functools.cache
def icosphere(parts: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Unit vectors (10 * parts^2 + 2, 3) and faces (20 * parts^2, 3), spread almost evenly.

    An icosahedron's edges are cut into `parts`. Opposite vectors come in pairs. The arrays are
    shared and read-only.
    """
    corners, triangles = _icosahedron()
    # Weights of a triangle's corners at the points of its grid, row by row.
    grid = [(parts - i - j, i, j) for i in range(parts + 1) for j in range(parts + 1 - i)]
    number = {(i, j): k for k, (_, i, j) in enumerate(grid)}
    small = [(number[i, j], number[i + 1, j], number[i, j + 1]) for i in range(parts) for j in range(parts - i)] + [
        (number[i + 1, j], number[i + 1, j + 1], number[i, j + 1]) for i in range(parts) for j in range(parts - 1 - i)
    ]
    weights = np.array(grid, np.float64) / parts
    points = np.einsum("gk,fkc->fgc", weights, corners[triangles]).reshape(-1, 3)
    faces = (np.arange(20)[:, None, None] * len(grid) + np.array(small)).reshape(-1, 3)
    # Points on shared edges come once from each triangle.
    _, first, which = np.unique(np.round(points, 9), axis=0, return_index=True, return_inverse=True)
    vertices = points[first] / np.linalg.norm(points[first], axis=1, keepdims=True)
    faces = which.reshape(-1)[faces]
    vertices.setflags(write=False)
    faces.setflags(write=False)
    return vertices, faces


def signed_volume(vertices: npt.NDArray[np.float64], faces: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Volume enclosed by (..., V, 3) vertices under common faces, positive if they face outward."""
    a, b, c = (vertices[..., faces[:, k], :] for k in range(3))
    return np.sum(a * np.cross(b, c), axis=(-1, -2)) / 6


def unit_scale(volume: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Factor that gives a solid of this volume the volume of a sphere of diameter 1."""
    return np.cbrt(math.pi / 6 / volume)


def _icosahedron() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    g = (1 + math.sqrt(5)) / 2
    rows = [(-1, g, 0), (1, g, 0), (-1, -g, 0), (1, -g, 0)]
    vertices = np.array([np.roll(row, turn) for turn in range(3) for row in rows], np.float64)
    vertices /= math.hypot(1, g)
    # The 20 faces are the triples whose corners are all one edge apart.
    near = (vertices @ vertices.T > 0) & ~np.eye(12, dtype=bool)
    faces = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    outward = [face if np.linalg.det(vertices[list(face)]) > 0 else (face[0], face[2], face[1]) for face in faces]
    return vertices, np.array(outward, np.int64)
