"""One ensemble's triangles on the device, with the acceleration structure over them.

All particles and the ground are one merged mesh in one scene that is kept and updated: no virtual calls, no kernel
compiled anew for another number of triangles, and nothing of `load_dict` that could leak.

Units: nanometres; z is up, the camera looks down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

if TYPE_CHECKING:
    from nanostream.scene.ensemble import Ensemble

__all__ = ["Geometry"]

_GROUND_REACH = 4.0
"""The ground ends this many picture widths beyond the picture: a horizon 14 degrees up is not seen by a cosine lobe."""


class Geometry:
    """The scene that rays are traced against; `load` puts another ensemble into it.

    After `load`: `scene` (mitsuba.Scene), `vertices` and `normals` (3V floats), `faces` (3F unsigned integers),
    `owner` (F unsigned integers: 0 ground, 1 + particle otherwise), `count` particles, `top_nm` over everything.
    """

    def __init__(self) -> None:
        mesh = mi.Mesh("ensemble", 3, 1)
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = [0, 0, 0, 1, 0, 0, 0, 1, 0]
        parameters["faces"] = [0, 1, 2]
        parameters.update()
        self.scene: Any = mi.load_dict({"type": "scene", "ensemble": mesh})
        self._parameters = mi.traverse(self.scene)
        self.count = 0
        self.top_nm = 0.0

    def load(self, ensemble: Ensemble, *, height_nm: float, width_nm: float) -> None:
        """Upload the ensemble and a ground under it, and build the acceleration structure."""
        reach = _GROUND_REACH * max(height_nm, width_nm)
        # One triangle, so that no edge crosses the picture for a ray to slip through.
        span = 4 * reach
        ground = np.array([(-reach, -reach, 0), (-reach + span, -reach, 0), (-reach, -reach + span, 0)], np.float32)
        first = len(ensemble.vertices)
        vertices = np.concatenate([ensemble.vertices, ground])
        up = np.tile(np.array([0, 0, 1], np.float32), (3, 1))
        faces = np.concatenate([ensemble.faces, np.array([[0, 1, 2]], np.uint32) + np.uint32(first)])
        owner = np.concatenate([ensemble.particle.astype(np.uint32) + np.uint32(1), np.zeros(1, np.uint32)])

        self.vertices = mi.Float(vertices.ravel())
        self.normals = mi.Float(np.concatenate([ensemble.normals, up]).ravel())
        self.faces = mi.UInt(faces.ravel())
        self.owner = mi.UInt(owner)
        self.count = len(ensemble.diameter_nm)
        self.top_nm = float(vertices[:, 2].max())
        self._parameters["ensemble.vertex_positions"] = self.vertices
        self._parameters["ensemble.faces"] = self.faces
        self._parameters.update()

    def point(self, hit: Any) -> Any:
        """Point of the surface under each hit, by interpolation: more exact than along the ray."""
        return self._interpolate(self.vertices, hit)

    def shading_normal(self, hit: Any) -> Any:
        """Interpolated unit normal under each hit."""
        return dr.normalize(self._interpolate(self.normals, hit))

    def face_normal(self, hit: Any) -> Any:
        """Unit normal of each hit triangle."""
        p0, p1, p2 = self._corners(self.vertices, hit)
        return dr.normalize(dr.cross(p1 - p0, p2 - p0))

    def owner_of(self, hit: Any) -> Any:
        """0 for the ground and for a miss, 1 + particle otherwise."""
        return dr.gather(mi.UInt, self.owner, hit.prim_index, hit.is_valid())

    def _corners(self, buffer: Any, hit: Any) -> tuple[Any, Any, Any]:
        valid = hit.is_valid()
        corner = dr.gather(mi.Vector3u, self.faces, hit.prim_index, valid)
        p0, p1, p2 = (dr.gather(mi.Vector3f, buffer, corner[k], valid) for k in range(3))
        return p0, p1, p2

    def _interpolate(self, buffer: Any, hit: Any) -> Any:
        p0, p1, p2 = self._corners(buffer, hit)
        u, v = hit.prim_uv.x, hit.prim_uv.y
        return p0 * (1 - u - v) + p1 * u + p2 * v
