"""Parts: groups of particles with as many vertices each, joined into one mesh.

Legend: n = particles of a part, V = vertices, F = faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Joined", "Part", "join"]


class Part(NamedTuple):
    """n particles with as many vertices each."""

    vertices: npt.NDArray[np.float64]
    """(n, V, 3) in nm."""
    normals: npt.NDArray[np.float64]
    """(n, V, 3), outward unit vectors."""
    faces: npt.NDArray[np.int64]
    """(F, 3), the same for all, or (n, F, 3); faces with the same corner twice are left out."""
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
    first = 0
    columns: list[Joined] = []
    for vertices, normals, faces, members in parts:
        n, k = vertices.shape[:2]
        a, b, c = faces[..., 0], faces[..., 1], faces[..., 2]
        whole = np.broadcast_to((a != b) & (b != c) & (c != a), (n, faces.shape[-2]))
        starts = (first + k * np.arange(n)).astype(np.uint32)
        numbers = faces.astype(np.uint32) + starts[:, None, None]
        columns.append(
            Joined(
                vertices.reshape(-1, 3).astype(np.float32),
                normals.reshape(-1, 3).astype(np.float32),
                numbers.reshape(-1, 3) if whole.all() else numbers[whole],
                np.repeat(members, whole.sum(axis=1)).astype(np.int32),
                np.repeat(members, k).astype(np.int32),
            )
        )
        first += n * k
    none, three = np.empty(0, np.int32), np.empty((0, 3), np.float32)
    empty = Joined(three, three, three.astype(np.uint32), none, none)
    return Joined(*(np.concatenate(column) for column in zip(empty, *columns, strict=True)))
