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

from nanostream.render.upload import upload

if TYPE_CHECKING:
    from nanostream.scene.ensemble import Ensemble

__all__ = ["Geometry"]

_GROUND_REACH = 4.0
"""The ground ends this many picture widths beyond the picture: a horizon 14 degrees up is not seen by a cosine lobe."""


class Geometry:
    """The scene that rays are traced against; `load` puts another ensemble into it.

    After `load`: `scene` (mitsuba.Scene), `count` particles, `top_nm` over everything.
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
        faces = np.concatenate([ensemble.faces, np.array([[0, 1, 2]], np.uint32) + np.uint32(first)])
        owner = np.concatenate([ensemble.particle.astype(np.uint32) + np.uint32(1), np.zeros(1, np.uint32)])

        # Rows of four: Dr.Jit gathers them as one packet.
        rows = np.zeros((len(vertices), 4), np.float32)
        rows[:first, :3], rows[first:, 2] = ensemble.normals, 1
        self._normals = upload(rows)
        self._corners = upload(np.concatenate([faces, owner[:, None]], axis=1))
        self._parameters["ensemble.vertex_positions"] = upload(vertices)
        self._parameters["ensemble.faces"] = upload(faces)
        self._parameters.update()
        self.count = len(ensemble.diameter_nm)
        self.top_nm = float(vertices[:, 2].max())

    def surface(self, hit: Any) -> tuple[Any, Any]:
        """What each hit shows: 0 for the ground or 1 + particle, and the interpolated unit normal."""
        corner = dr.gather(mi.Vector4u, self._corners, hit.prim_index, hit.is_valid())
        n0, n1, n2 = (dr.gather(mi.Vector4f, self._normals, corner[k], hit.is_valid()) for k in range(3))
        u, v = hit.prim_uv.x, hit.prim_uv.y
        normal = n0 * (1 - u - v) + n1 * u + n2 * v
        return corner.w, dr.normalize(mi.Vector3f(normal.x, normal.y, normal.z))

    def owner(self, hit: Any) -> Any:
        """0 for the ground and for a miss, 1 + particle otherwise."""
        return dr.gather(mi.UInt, self._corners, 4 * hit.prim_index + 3, hit.is_valid())
