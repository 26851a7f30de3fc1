"""Meshes: the user's own solids, read from PLY, OBJ and STL files."""

from __future__ import annotations

import functools
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import trimesh
from pydantic import BaseModel, Field

from nanostream.errors import MeshError
from nanostream.scene.solid import Solids, signed_volume, unit_scale

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MeshShape", "load_solid", "mesh_digests", "mesh_solids"]

SUFFIXES = (".obj", ".ply", ".stl")
MOST_BYTES = 256 * 2**20


class MeshShape(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Solids from files, each particle one of them, scaled and turned."""

    kind: Literal["mesh"] = "mesh"
    files: Annotated[tuple[Path, ...], Field(min_length=1)]
    """PLY, OBJ or STL files; each must hold one closed mesh. Units and place do not matter."""
    lying: Annotated[float, Field(ge=0, le=1)] = 0.0
    """0: turned freely; 1: the file's z axis upright or upside down, turned about it only."""

    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each file's bytes; raises MeshError for one that cannot be read."""
        return mesh_digests(self.files)


def mesh_digests(files: tuple[Path, ...]) -> tuple[str, ...]:
    """SHA-256 of each file's bytes; raises MeshError for one that cannot be read."""
    return tuple(hashlib.sha256(_read(path)).hexdigest() for path in files)


def mesh_solids(shape: MeshShape) -> tuple[Solids, ...]:
    """One solid a file, read once as long as the files do not change. Raises MeshError."""
    return tuple(_solid(path, *_stamp(path)) for path in shape.files)


def load_solid(path: Path) -> Solids:
    """Read a closed mesh as a solid of unit volume-equivalent diameter about its centre of mass.

    Raises MeshError if the file cannot be read, or its mesh is empty, not finite or not closed.
    """
    vertices, faces = _parse(path)
    if len(faces) == 0 or len(vertices) == 0:
        msg = f"expected a mesh with faces in {path}, got an empty one: export the solid's surface"
        raise MeshError(msg)
    if not np.isfinite(vertices).all():
        msg = f"expected finite coordinates in {path}, got nan or infinity: export the mesh again"
        raise MeshError(msg)
    mesh = trimesh.Trimesh(vertices=vertices, faces=faces, process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    # STL stores each corner on its own, and exporters leave slivers: both are harmless.
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    if not (mesh.is_watertight and mesh.is_winding_consistent):
        msg = f"expected a closed mesh in {path}, got one with open or inconsistent edges: repair it"
        raise MeshError(msg)
    points, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    points = points - points.mean(axis=0)
    volume = float(signed_volume(points, faces))
    if not abs(volume) > 1e-9 * np.prod(np.ptp(points, axis=0)):
        msg = f"expected a mesh that encloses a volume in {path}, got a flat one: model the solid"
        raise MeshError(msg)
    if volume < 0:
        faces = faces[:, ::-1]
    a, b, c = (points[faces[:, k]] for k in range(3))
    cones = np.sum(a * np.cross(b, c), axis=1, keepdims=True)
    points = (points - (cones * (a + b + c) / 4).sum(axis=0) / cones.sum()) * unit_scale(np.abs(volume))
    return Solids(points[None], _normals(points, faces)[None], np.ascontiguousarray(faces), np.zeros(1))


@functools.lru_cache(maxsize=256)
def _solid(path: Path, _modified: int, _size: int) -> Solids:
    return load_solid(path)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        msg = f"expected a mesh file at {path}, got {error.strerror}: check the path"
        raise MeshError(msg) from None
    return status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes:
    _, size = _stamp(path)
    if size > MOST_BYTES:
        msg = f"expected a mesh file below 256 MiB, got {size} bytes in {path}: simplify the mesh"
        raise MeshError(msg)
    try:
        return path.read_bytes()
    except OSError as error:
        msg = f"expected a mesh file at {path}, got {error.strerror}: check the path"
        raise MeshError(msg) from None


def _parse(path: Path) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        msg = f"expected a .ply, .obj or .stl file, got {path}: export the mesh as one of them"
        raise MeshError(msg)
    data = _read(path)
    try:
        # Bytes without a resolver: materials and textures beside the file are never opened.
        mesh = trimesh.load_mesh(
            io.BytesIO(data),
            file_type=suffix[1:],
            process=False,
            skip_materials=True,
        )
        vertices = np.asarray(mesh.vertices, np.float64).reshape(-1, 3)
        faces = np.asarray(mesh.faces, np.int64).reshape(-1, 3)
    except Exception as error:  # noqa: BLE001 - the parsers raise whatever damaged bytes lead to
        msg = f"expected a readable {suffix[1:].upper()} mesh in {path}, got damaged data ({error!r})"
        raise MeshError(msg + ": export the mesh again") from None
    if faces.size and not (faces.min() >= 0 and faces.max() < len(vertices)):
        msg = f"expected faces of existing vertices in {path}, got others: export the mesh again"
        raise MeshError(msg)
    return vertices, faces


def _normals(points: npt.NDArray[np.float64], faces: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    # Weighted by the angle at each corner, so that a flat side's triangulation does not show.
    corner = points[faces]
    flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    normals = np.zeros_like(points)
    for k in range(3):
        a = corner[:, (k + 1) % 3] - corner[:, k]
        b = corner[:, (k + 2) % 3] - corner[:, k]
        cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        np.add.at(normals, faces[:, k], flat * np.arccos(np.clip(cosine, -1, 1))[:, None])
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
