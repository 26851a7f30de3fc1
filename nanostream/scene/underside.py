"""Undersides: what of a body cannot be seen from above needs few faces, as it only casts shadows.

Legend: n = bodies, V = vertices, F = faces of one body.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from nanostream.scene.solid import icosphere

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["coarsen"]

COARSE = 2
"""Parts of an icosahedron's edge on the underside: 42 vertices all around."""

LEVEL = -0.05
"""A vertex whose normal points further down cannot be seen."""


def coarsen(parts: int, normal_z: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """For each vertex of bodies on an icosphere of these parts the vertex that takes its place, (n, V).

    normal_z: (n, V), upward part of the normals. Most vertices stay; on the underside, next to none that can be
    seen, those around a vertex of a coarser icosphere fall together in it. Faces whose corners fall together vanish,
    and the body stays closed.
    """
    neighbours, coarse = _tables(parts)
    free = np.asarray((normal_z <= LEVEL)[:, neighbours].all(axis=2))
    return np.where(free & free[:, coarse], coarse, np.arange(len(coarse)))


@functools.cache
def _tables(parts: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Each vertex with its neighbours, (V, 7), and its vertex of the coarser icosphere, (V,)."""
    points, faces = icosphere(parts)
    # A vertex has 5 or 6 neighbours; itself fills up.
    neighbours = np.repeat(np.arange(len(points))[:, None], 7, axis=1)
    for vertex in range(len(points)):
        around = np.unique(faces[(faces == vertex).any(axis=1)])
        neighbours[vertex, : len(around)] = around
    chosen = np.unique(np.argmax(np.einsum("cx,vx->cv", icosphere(COARSE)[0], points), axis=1))
    coarse = chosen[np.argmax(np.einsum("vx,cx->vc", points, points[chosen]), axis=1)]
    return neighbours, coarse
