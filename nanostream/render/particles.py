"""From an ensemble and its surfaces to radiance and instance ids, seen from straight above.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.ndimage

from nanostream.render.geometry import Geometry
from nanostream.render.outline import Outline, trace_outline
from nanostream.render.shade import Shader

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.camera import Camera
    from nanostream.scene.ensemble import Ensemble
    from nanostream.texture.surface import SurfaceTable

__all__ = ["ParticleRenderer"]


class ParticleRenderer:
    """Renders one ensemble after another with one kept scene."""

    def __init__(self, camera: Camera, *, height: int, width: int, pixel_nm: float) -> None:
        self._camera = camera
        self._height, self._width, self._pixel_nm = height, width, pixel_nm
        self._geometry = Geometry()

    def outline(self, ensemble: Ensemble) -> Outline:
        """Load the ensemble and find what each pixel shows."""
        size = self._pixel_nm
        self._geometry.load(ensemble, height_nm=self._height * size, width_nm=self._width * size)
        return trace_outline(self._geometry, height=self._height, width=self._width, pixel_nm=size)

    def radiance(self, outline: Outline, table: SurfaceTable, *, seed: int) -> npt.NDArray[np.float32]:
        """(H, W) float32 radiance of the ensemble loaded last; seed: 32 bits, of the sampling."""
        shader = Shader(self._geometry, table, width=self._width, pixel_nm=self._pixel_nm, seed=seed)
        # A pixel's square may hold a particle where its centre does not: its neighbours count as particle too.
        particle = np.asarray(scipy.ndimage.binary_dilation(outline.owner > 0, np.ones((3, 3), bool)), bool).ravel()
        radiance = np.empty(self._height * self._width, np.float32)
        on_particle, on_ground = (np.flatnonzero(where).astype(np.uint32) for where in (particle, ~particle))
        radiance[on_particle] = shader.radiance(on_particle, self._camera.particle_samples)
        radiance[on_ground] = shader.ground_radiance(on_ground, self._camera.ground_samples)
        return radiance.reshape(self._height, self._width)
