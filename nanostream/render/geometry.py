"""One ensemble's triangles on the device, with the acceleration structure over them.

All particles are one merged mesh in one scene that is kept and updated: no virtual calls, no kernel compiled anew for
another number of triangles, and nothing of `load_dict` that could leak. The ground is no triangle: it is the endless
plane z = 0 that a ray from above reaches if it meets nothing, and that hides the sky below the horizon.

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


class Geometry:
    """The scene that rays are traced against; `load` puts another ensemble into it.

    After `load`: `scene` (mitsuba.Scene), `count` particles, `boxes_nm` around them, `top_nm` over everything,
    `reach_nm`, their mean diameter: neighbours that are no farther away stand in the way of what leaves sideways.
    """

    def __init__(self) -> None:
        mesh = mi.Mesh("ensemble", 3, 1)
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = [0, 0, 0, 1, 0, 0, 0, 1, 0]
        parameters["faces"] = [0, 1, 2]
        parameters.update()
        # Mitsuba asks Embree for its best structure, which splits triangles. For robust intersections Embree builds its
        # ordinary one: five times as fast, and rays through triangles as small as these take hardly longer.
        description = {"type": "scene", "ensemble": mesh, "embree_use_robust_intersections": True}
        self.scene: Any = mi.load_dict(description)
        self._parameters = mi.traverse(self.scene)
        self.count, self.boxes_nm = 0, np.zeros((0, 4), np.float32)
        self.top_nm = self.reach_nm = 0.0

    def load(self, ensemble: Ensemble) -> None:
        """Upload the ensemble and build the acceleration structure."""
        vertices, normals, faces, owner = ensemble.vertices, ensemble.normals, ensemble.faces, ensemble.particle
        if not len(faces):
            # A structure needs a triangle: one that no ray can meet.
            vertices, normals = np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
            faces, owner = np.zeros((1, 3), np.uint32), np.zeros(1, np.int32)
        # Rows of four: Dr.Jit gathers them as one packet.
        self._normals = upload(np.concatenate([normals, np.zeros((len(normals), 1), np.float32)], axis=1))
        self._corners = upload(np.concatenate([faces, owner.astype(np.uint32)[:, None] + np.uint32(1)], axis=1))
        self._parameters["ensemble.vertex_positions"] = upload(vertices)
        self._parameters["ensemble.faces"] = upload(faces)
        self._parameters.update()
        self.count, self.boxes_nm = len(ensemble), ensemble.boxes_nm()
        self.reach_nm = float(ensemble.diameter_nm.mean()) if len(ensemble) else 0.0
        self.top_nm = float(vertices[:, 2].max())

    def surface(self, hit: Any) -> tuple[Any, Any]:
        """What each ray from above shows: 0 for the ground or 1 + particle, and the interpolated normal."""
        found = hit.is_valid()
        corner = dr.gather(mi.Vector4u, self._corners, hit.prim_index, found)
        n0, n1, n2 = (dr.gather(mi.Vector4f, self._normals, corner[k], found) for k in range(3))
        u, v = hit.prim_uv.x, hit.prim_uv.y
        normal = n0 * (1 - u - v) + n1 * u + n2 * v
        return corner.w, dr.select(found, mi.Vector3f(normal.x, normal.y, normal.z), mi.Vector3f(0, 0, 1))

    def owner(self, hit: Any) -> Any:
        """0 for the ground, 1 + particle otherwise."""
        return dr.gather(mi.UInt, self._corners, 4 * hit.prim_index + 3, hit.is_valid())
