"""The way from torch into Dr.Jit and back: radiance as a torch tensor that carries gradients to the texture.

`ParticleCrossing` goes round the project's own integrator (`shade`), `PublishedCrossing` round Mitsuba's, in the
published scene. Geometry carries no gradient; random numbers are fixed by a seed, so that the same seed gives the same
function of the parameters.

Legend: H, W = picture height and width in pixels, N = particles, k = parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np

from nanostream.render.geometry import Geometry
from nanostream.render.outline import OutlineTrace
from nanostream.render.particles import regions
from nanostream.render.published_scene import CAMERA_HEIGHT, HALF_FOV, PublishedGeometry
from nanostream.render.shade import COLUMNS, DeviceTable, Shader
from nanostream.render.upload import upload

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from nanostream.render.camera import Camera
    from nanostream.scene.ensemble import Ensemble
    from nanostream.scene.published import PublishedSceneConfig
    from nanostream.texture.parameters import Shading

__all__ = ["COLUMNS", "ParticleCrossing", "PublishedCrossing"]

_GRADIENT_SEED = 0x9E3779B9
"""Apart from the picture's seed: the gradient's rays are others than the picture's."""


class ParticleCrossing:
    """Differentiable pictures of one particle ensemble after another."""

    def __init__(self, camera: Camera, *, height: int, width: int, pixel_nm: float) -> None:
        self._camera = camera
        self._height, self._width, self._pixel_nm = height, width, pixel_nm
        self._geometry = Geometry()
        self._render = dr.wrap(source="torch", target="drjit")(self._radiance)
        self._pixels: list[Any] = []

    def load(self, ensemble: Ensemble) -> npt.NDArray[np.int32]:
        """Take the ensemble that the next pictures show; returns what each pixel shows, as `Outline.owner`."""
        self._geometry.load(ensemble)
        size = {"height": self._height, "width": self._width, "pixel_nm": self._pixel_nm}
        owner = OutlineTrace(self._geometry, **size).owner()
        self._pixels = [np.flatnonzero(where).astype(np.uint32) for where in regions(owner)]
        return owner

    def radiance(
        self, columns: torch.Tensor, relief: torch.Tensor, rim_curve: torch.Tensor, *, seed: int
    ) -> torch.Tensor:
        """(H, W) radiance of the ensemble loaded last, with gradients to all three tensors.

        columns: (1 + N, 8) float32, COLUMNS of the ground and of each particle. relief: (H, W) float32.
        rim_curve: (2,) float32, rim_cap and rim_power. seed: 32 bits, of the sampling. As `SurfaceTable` has them.
        """
        return self._render(columns.contiguous(), relief.contiguous(), rim_curve.contiguous(), seed)

    def _radiance(self, columns: Any, relief: Any, rim_curve: Any, seed: int) -> Any:
        # A plain number would be written into the kernel, and every step would compile another.
        cap, power = (dr.gather(mi.Float, rim_curve.array, mi.UInt32(k)) for k in range(2))
        table = DeviceTable(columns.array, relief.array, cap, power)
        shader = Shader(self._geometry, table, width=self._width, pixel_nm=self._pixel_nm, seed=seed)
        image = dr.zeros(mi.Float, self._height * self._width)
        camera = self._camera
        samples = (camera.edge_samples, camera.particle_samples, camera.ground_samples)
        for pixels, count, ground in zip(self._pixels, samples, (False, False, True), strict=True):
            if len(pixels):
                dr.scatter(image, shader.mean(pixels, count, ground=ground), upload(pixels))
        return mi.TensorXf(image, (self._height, self._width))


class PublishedCrossing:
    """Differentiable pictures of a published scene, by Mitsuba's path replay with one bounce."""

    def __init__(self, config: PublishedSceneConfig, *, height: int, width: int) -> None:
        self._geometry = PublishedGeometry(config)
        self._samples = config.optics.samples_per_pixel
        self._integrator: Any = mi.load_dict({"type": "prb", "max_depth": 2})
        transform = mi.ScalarTransform4f
        self._sensor: Any = mi.load_dict(
            {
                "type": "perspective",
                "fov": float(np.degrees(2 * HALF_FOV)),
                "fov_axis": "x",
                # Columns run along -z and rows along x, see `PublishedGeometry.camera_ray`.
                "to_world": transform().look_at(origin=[0, CAMERA_HEIGHT, 0], target=[0, 0, 0], up=[-1, 0, 0]),
                "film": {
                    "type": "hdrfilm",
                    "height": height,
                    "width": width,
                    "pixel_format": "luminance",
                    "rfilter": {"type": "gaussian", "stddev": config.optics.filter_px},
                },
                "sampler": {"type": "independent"},
            }
        )
        self._names: tuple[str, ...] = ()
        self._render = dr.wrap(source="torch", target="drjit")(self._radiance)

    def load(self, positions: npt.NDArray[np.float64], constants: Shading) -> None:
        """Place the particles, (n, 4) in placement units, and set the surfaces that are not learned."""
        self._geometry.load(positions)
        self._geometry.shade(constants)

    def radiance(self, names: tuple[str, ...], values: torch.Tensor, *, seed: int) -> torch.Tensor:
        """(H, W) radiance of the scene as it is loaded, with gradients to the values, (k,) float32.

        names: such as `stage.base_color`. seed: 32 bits, of the rays. Take the gradient before the next `load`.
        """
        self._names = names
        return self._render(values.contiguous(), seed)

    def _radiance(self, values: Any, seed: int) -> Any:
        chosen = {name: dr.gather(mi.Float, values.array, mi.UInt32(k)) for k, name in enumerate(self._names)}
        self._geometry.set_surface(chosen)
        # Opaque: plain numbers would be written into the kernel, and every step would compile another.
        seeds: Any = {
            "seed": dr.opaque(mi.UInt32, seed),
            "seed_grad": dr.opaque(mi.UInt32, seed ^ _GRADIENT_SEED),
        }
        picture: Any = mi.render(
            self._geometry.scene,
            params=self._geometry.parameters,
            sensor=self._sensor,
            integrator=self._integrator,
            spp=self._samples,
            **seeds,
        )
        return picture[:, :, 0]
