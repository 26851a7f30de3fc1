"""Parts: groups of particles that share their faces, joined into one mesh.

Legend: n = particles of a part, V = vertices, F = faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Joined", "Part", "join"]


class Part(NamedTuple):
    """n particles with the same faces."""

    vertices: npt.NDArray[np.float64]
    """(n, V, 3) in nm."""
    normals: npt.NDArray[np.float64]
    """(n, V, 3), outward unit vectors."""
    faces: npt.NDArray[np.int64]
    """(F, 3)."""
    members: npt.NDArray[np.int64]
    """(n,) numbers of the particles."""


class Joined(NamedTuple):
    """The mesh arrays of an ensemble, in its order."""

    vertices: npt.NDArray[np.float32]
    normals: npt.NDArray[np.float32]
    faces: npt.NDArray[np.uint32]
    particle: npt.NDArray[np.int32]
    vertex_particle: npt.NDArray[np.int32]


def join(parts: list[Part]) -> Joined:
    """One mesh of all particles of all parts."""
    total_v = sum(p.vertices.shape[0] * p.vertices.shape[1] for p in parts)
    total_f = sum(len(p.members) * len(p.faces) for p in parts)
    vertices, normals = np.empty((total_v, 3), np.float32), np.empty((total_v, 3), np.float32)
    faces = np.empty((total_f, 3), np.uint32)
    particle, owner = np.empty(total_f, np.int32), np.empty(total_v, np.int32)
    v = f = 0
    for part in parts:
        n, k = part.vertices.shape[:2]
        here, there = slice(v, v + n * k), slice(f, f + n * len(part.faces))
        vertices[here] = part.vertices.reshape(-1, 3)
        normals[here] = part.normals.reshape(-1, 3)
        owner[here] = np.repeat(part.members, k)
        shift = v + k * np.arange(n)[:, None, None]
        faces[there] = (part.faces + shift).reshape(-1, 3)
        particle[there] = np.repeat(part.members, len(part.faces))
        v, f = here.stop, there.stop
    return Joined(vertices, normals, faces, particle, owner)
