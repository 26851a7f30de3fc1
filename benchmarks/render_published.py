"""The published settings against the project's integrator, in the same scenes: part of render.py.

Published: 121 stratified samples a pixel of direct light for the image, 144 path-traced samples a pixel for the mask,
each by Mitsuba's general integrator over one mesh a particle. The scenes are those of the recipe under a constant sky,
with one principled surface for all particles and one for the ground, which both can render. Loading the scene and
building its acceleration structure count for the project's integrator and not for Mitsuba's. One thread each.

Source of the settings: Possart et al. 2025, doi:10.1038/s41524-025-01702-6.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import numpy as np
import scipy.ndimage
from render_scene import EXTENT, PICTURE, RECIPE, SIZE, detector, ensemble_of, every_pixel, picture_of

from nanostream.render import backend
from nanostream.texture.surface import SurfaceTable

SCENES = 5
IMAGE_SAMPLES, MASK_SAMPLES, REFERENCE_SPP = 121, 144, 4096
PARTICLE = {"base_color": 0.9, "roughness": 0.8, "specular": 0.0, "spec_tint": 0.0, "sheen": 2.0}
GROUND = {"base_color": 0.25, "roughness": 0.5, "specular": 0.0, "spec_tint": 0.0, "sheen": 0.0}
CAMERA = RECIPE.camera
PLANS = tuple(
    (times * CAMERA.particle_samples, times * CAMERA.edge_samples, times * CAMERA.ground_samples)
    for times in (1, 2, 4, 8, 16)
)


def table_of(count: int) -> SurfaceTable:
    """The two surfaces."""
    columns = {name: np.array([GROUND[name]] + count * [PARTICLE[name]], np.float32) for name in PARTICLE}
    zero, one = np.zeros(1 + count, np.float32), np.ones(1 + count, np.float32)
    relief = np.ones((PICTURE.height, PICTURE.width), np.float32)
    return SurfaceTable(**columns, gain=one, rim=zero, ambient=zero, rim_cap=4.0, rim_power=1.0, relief=relief)


def mitsuba_scene(ensemble: Any) -> Any:
    """The ensemble with a mesh for each particle, a ground, a sky and a camera from straight above."""
    import mitsuba as mi

    def principled(values: dict[str, float]) -> dict[str, Any]:
        return {"type": "principled", **values, "base_color": {"type": "rgb", "value": values["base_color"]}}

    surface = mi.load_dict({"type": "twosided", "bsdf": principled(PARTICLE)})

    def mesh(particle: int) -> Any:
        faces = ensemble.faces[ensemble.particle == particle]
        own, numbers = np.unique(faces, return_inverse=True)
        properties = mi.Properties()
        properties["bsdf"] = surface
        shape = mi.Mesh(f"particle_{particle}", len(own), len(faces), has_vertex_normals=True, props=properties)
        values = mi.traverse(shape)
        values["faces"], values["vertex_positions"] = numbers.ravel(), ensemble.vertices[own].ravel()
        values.update()
        values["vertex_normals"] = ensemble.normals[own].ravel()
        values.update()
        return shape

    width, height = EXTENT["width_nm"], EXTENT["height_nm"]
    middle = [width / 2, height / 2, 0]
    turn = mi.ScalarTransform4f().look_at([*middle[:2], 5000], middle, [0, -1, 0])
    film = {"width": PICTURE.width, "height": PICTURE.height, "pixel_format": "luminance"}
    scene: dict[str, Any] = {
        "type": "scene",
        "ground": {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f().translate(middle).scale([1000 * width, 1000 * height, 1]),
            "bsdf": principled(GROUND),
        },
        "sky": {"type": "constant", "radiance": 1.0},
        "sensor": {
            "type": "orthographic",
            # Mitsuba's sensors look along +z with x to the left.
            "to_world": turn.scale([-width / 2, height / 2, 1]),
            "sampler": {"type": "stratified", "sample_count": IMAGE_SAMPLES},
            "film": {"type": "hdrfilm", "rfilter": {"type": "box"}, **film},
        },
    }
    scene |= {f"particle_{particle}": mesh(particle) for particle in range(len(ensemble))}
    return mi.load_dict(scene, optimize=False)


def timed(work: Any) -> tuple[Any, float]:
    """What it gives, and seconds."""
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


@dataclasses.dataclass
class Found:
    """Seconds a pair, and mean square error of the image behind the detector's blur, one a scene."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    squares: list[float] = dataclasses.field(default_factory=list)

    def line(self, name: str, beside: Found) -> str:
        """For the table."""
        ratio = statistics.median(a / b for a, b in zip(beside.seconds, self.seconds, strict=True))
        rmse = np.sqrt(np.mean(self.squares))
        return (
            f"  {name:28} {1e3 * statistics.median(self.seconds):8.0f} ms a pair, RMSE {rmse:.4f}, {ratio:6.1f} times"
        )


def published() -> None:
    """Pairs of image and mask a second, and the image's error."""
    backend.start()
    import mitsuba as mi

    image: Any = mi.load_dict({"type": "direct"})
    mask: Any = mi.load_dict({"type": "aov", "aovs": "shape:shape_index", "light": {"type": "path"}})
    general, own = Found(), {counts: Found() for counts in PLANS}
    for index in range(SCENES + 1):
        ensemble = ensemble_of(20 + index)
        table = table_of(len(ensemble))

        def pair(counts: tuple[int, int, int], ensemble: Any = ensemble, table: Any = table) -> Any:
            return picture_of(counts, ensemble, table, 1)

        def seen(picture: np.ndarray) -> np.ndarray:
            return scipy.ndimage.gaussian_filter(picture, detector()["blur_px"])

        with every_pixel():
            truth = seen(picture_of((REFERENCE_SPP, REFERENCE_SPP, REFERENCE_SPP), ensemble, table, 2)[1].radiance)
        scene = mitsuba_scene(ensemble)
        made, image_seconds = timed(
            lambda scene=scene: np.array(mi.render(scene, integrator=image, spp=IMAGE_SAMPLES))[:, :, 0]
        )
        _, mask_seconds = timed(lambda scene=scene: np.array(mi.render(scene, integrator=mask, spp=MASK_SAMPLES)))
        # The first scene compiles the kernels.
        if index:
            general.seconds.append(image_seconds + mask_seconds)
            general.squares.append(float(np.mean((seen(made) - truth) ** 2)))
        for counts, found in own.items():
            (_, light), seconds = timed(lambda counts=counts, pair=pair: pair(counts))
            if index:
                found.seconds.append(seconds)
                found.squares.append(float(np.mean((seen(light.radiance) - truth) ** 2)))
    print(
        f"published pairs of image and mask of {SIZE['width']} x {SIZE['height']}, one thread, times as many a second"
    )
    print(general.line("published settings", general))
    for counts, found in own.items():
        print(found.line(f"{counts}", general))
