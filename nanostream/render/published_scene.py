"""Meshes, lights and camera of the published scene in Mitsuba, loaded once and then moved and shaded anew.

Each mesh file is loaded once and placed as instances, so that moving particles builds no triangles anew.
The scene's y axis points to the camera; placements have z there.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.errors import MeshError
from nanostream.render.published_body import Body, measure
from nanostream.texture.parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from nanostream.scene.published import PublishedSceneConfig
    from nanostream.texture.parameters import Shading

__all__ = ["CAMERA_HEIGHT", "HALF_FOV", "Bodies", "PublishedGeometry"]

CAMERA_HEIGHT = 6.0
"""Of the camera over the origin, in scene units."""

HALF_FOV = math.radians(20)
"""Half of the field of view across the picture's width."""

_NEAR = 0.1
"""Distance from the camera at which rays start."""

_STEP = 1e-4
"""By how much a ray goes on behind a hit, in scene units: far less than a particle, far more than rounding."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """Particles as placed, in scene units. center: (n, 3); diameter, length: (n,)."""

    center: npt.NDArray[np.float64]
    diameter: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]


class PublishedGeometry:
    """The scene; raises MeshError if a mesh file is missing or cannot be read.

    scene, integrator, parameters: Mitsuba's.
    """

    def __init__(self, config: PublishedSceneConfig) -> None:
        self._config = config
        files = sorted(set(config.meshes))
        for name in (*files, config.stage, config.upper_light, config.lower_light):
            if not (config.folder / name).is_file():
                msg = (
                    f"expected the mesh {name} in {config.folder}, found none: name the folder of the published meshes"
                )
                raise MeshError(msg)
        try:
            self.scene: Any = mi.load_dict(_description(config, files), optimize=False)
        except RuntimeError as error:
            msg = f"expected meshes that Mitsuba can read in {config.folder}, but: {error}"
            raise MeshError(msg) from error
        self.integrator: Any = mi.load_dict({"type": "direct"})
        self.parameters: Any = mi.traverse(self.scene)
        self._recompute_normals(len(files))
        shapes = {shape.id(): shape for shape in self.scene.shapes()}
        self.ground = float(shapes["stage"].bbox().max.y)
        # Ids of the instances in Dr.Jit's registry, which a hit's pointer gives, to 1 + particle.
        pointers = [mi.ShapePtr(shapes[_instance(i)]) for i in range(len(config.meshes))]
        registry = [int(np.array(dr.reinterpret_array(mi.UInt32, pointer))[0]) for pointer in pointers]
        self._particle_of = np.zeros(max(registry) + 1, np.int32)
        self._particle_of[registry] = np.arange(1, len(registry) + 1)
        by_file = [self._body(number) for number in range(len(files))]
        self._bodies = [by_file[files.index(name)] for name in config.meshes]
        self._positions = np.zeros((len(config.meshes), 4))

    def load(self, positions: npt.NDArray[np.float64]) -> None:
        """Move the particles. positions: (n, 4), x, y, z, r in placement units."""
        placement = self._config.placement
        # As published: the generator's float32 positions; the mesh scale is in the loaded mesh once already.
        x, y, z, r = positions.astype(np.float32).astype(np.float64).T
        self._positions = np.stack((x, z, y, np.zeros_like(x)), axis=1) * placement.mesh_unit
        self._positions[:, 3] = r * placement.mesh_scale
        for i, (px, py, pz, scale) in enumerate(self._positions.tolist()):
            matrix = [[scale, 0, 0, px], [0, scale, 0, py], [0, 0, scale, pz], [0, 0, 0, 1]]
            entries: Any = [[dr.opaque(mi.Float, entry) for entry in row] for row in matrix[:3]]
            self.parameters[f"{_instance(i)}.to_world"] = mi.AffineTransform4f(mi.Matrix4f([*entries, matrix[3]]))
        self.parameters.update()

    def shade(self, shading: Shading) -> None:
        """Set the surfaces of stage and particles."""
        for surface, material in (("particle", shading.particle), ("stage", shading.stage)):
            # Opaque: a plain number would be written into the kernel, and every sample would compile another.
            self.set_surface({f"{surface}.{name}": dr.opaque(mi.Float, getattr(material, name)) for name in PARAMETERS})

    def set_surface(self, values: Mapping[str, Any]) -> None:
        """Set parameters by name, such as `stage.base_color`, to Dr.Jit floats, which may carry gradients."""
        for name, value in values.items():
            surface, parameter = name.split(".")
            key = f"{surface}_bsdf.{parameter}"
            self.parameters[key if parameter == "specular" else f"{key}.value"] = value
        self.parameters.update()

    def camera_ray(self, across: Any, down: Any) -> Any:
        """Rays from the camera.

        across: 0 at the picture's left edge, 1 at its right; down: 0 at its middle row, in the same unit.
        """
        tangent = 2 * math.tan(HALF_FOV)
        # Seen from the camera as it is turned there, columns run along -z and rows along x.
        d: Any = dr.normalize(mi.Vector3f(down * tangent, -1, (0.5 - across) * tangent))
        start: Any = mi.Point3f(0, CAMERA_HEIGHT, 0)
        return mi.Ray3f(start + d * (_NEAR / -d.y), d)

    def project(self, points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """`across` and `down` of (m, 3) points, as camera_ray has them."""
        depth = (CAMERA_HEIGHT - points[:, 1]) * 2 * math.tan(HALF_FOV)
        return 0.5 - points[:, 2] / depth, points[:, 0] / depth

    def next_hit(self, ray: Any) -> tuple[npt.NDArray[np.int32], Any]:
        """1 + particle that each ray meets first, 0 for none, and the rays from there on."""
        hit = self.scene.ray_intersect_preliminary(ray, coherent=True)
        instance = dr.reinterpret_array(mi.UInt32, hit.instance)
        ahead = mi.Ray3f(ray)
        ahead.o = dr.select(hit.is_valid(), ray(hit.t + _STEP), ray.o)
        dr.eval(instance, ahead)
        found = np.array(instance)
        return self._particle_of[np.where(found < len(self._particle_of), found, 0)], ahead

    def bodies(self) -> Bodies:
        """Centres and sizes of the particles as placed."""
        scale = self._positions[:, 3]
        center = np.stack([body.center for body in self._bodies]) * scale[:, None] + self._positions[:, :3]
        return Bodies(
            center=center,
            diameter=np.array([body.diameter for body in self._bodies]) * scale,
            length=np.array([body.length for body in self._bodies]) * scale,
        )

    def _recompute_normals(self, files: int) -> None:
        # The published code moves vertices, at which Mitsuba replaces the file's normals by its own.
        for number in range(files):
            key = f"{_group(number)}.mesh.vertex_positions"
            positions = self.parameters[key]
            self.parameters[key] = type(positions)(positions)
        self.parameters.update()

    def _body(self, number: int) -> Body:
        vertices = np.array(self.parameters[f"{_group(number)}.mesh.vertex_positions"]).reshape(-1, 3)
        faces = np.array(self.parameters[f"{_group(number)}.mesh.faces"]).reshape(-1, 3)
        return measure(vertices, faces)


def _instance(number: int) -> str:
    return f"particle_{number:05d}"


def _group(number: int) -> str:
    return f"group_{number:05d}"


def _description(config: PublishedSceneConfig, files: list[str]) -> dict[str, Any]:
    """The scene as Mitsuba reads it; `shade` sets the surfaces."""
    transform = mi.ScalarTransform4f

    def ply(name: str, to_world: Any, **more: Any) -> dict[str, Any]:
        return {"type": "ply", "filename": str(config.folder / name), "to_world": to_world, **more}

    def light(radiance: float) -> dict[str, Any]:
        return {"type": "area", "radiance": {"type": "rgb", "value": radiance}}

    surface = {"type": "principled", **dict.fromkeys(PARAMETERS, 0.0), "base_color": {"type": "rgb", "value": 0.0}}
    wide = transform().scale([10, 1, 10])
    scene: dict[str, Any] = {
        "type": "scene",
        "particle_bsdf": surface,
        "stage_bsdf": surface,
        "upper_light": ply(
            config.upper_light,
            transform().scale([15, 200, 15]) @ transform().rotate([1, 0, 0], -90),
            emitter=light(config.optics.upper_radiance),
        ),
        "stage": ply(config.stage, wide @ transform().translate([0, -4, 0]), bsdf={"type": "ref", "id": "stage_bsdf"}),
        "lower_light": ply(
            config.lower_light,
            wide @ transform().translate([0, 8, 0]) @ transform().rotate([1, 0, 0], -180),
            emitter=light(config.optics.lower_radiance),
        ),
    }
    scale = transform().scale(config.placement.mesh_scale)
    for number, name in enumerate(files):
        mesh = ply(name, scale, bsdf={"type": "ref", "id": "particle_bsdf"})
        scene[_group(number)] = {"type": "shapegroup", "mesh": mesh}
    for i, name in enumerate(config.meshes):
        scene[_instance(i)] = {"type": "instance", "group": {"type": "ref", "id": _group(files.index(name))}}
    return scene
