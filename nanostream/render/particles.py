"""From an ensemble and its surfaces to radiance and instance ids, seen from straight above.

Legend: H, W = picture height and width in pixels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import drjit as dr
import numpy as np

from nanostream.render.geometry import Geometry
from nanostream.render.lattice import Lattice
from nanostream.render.outline import Outline, OutlineTrace
from nanostream.render.shade import Shader

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.render.camera import Camera
    from nanostream.scene.ensemble import Ensemble
    from nanostream.texture.surface import SurfaceTable

__all__ = ["Light", "ParticleRenderer", "regions"]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Light:
    """radiance: (H, W) float32; the sky's is 1.

    error: (H, W) float32, half the difference between the means of two independent halves of each pixel's samples. Its
    square is an unbiased estimate of the variance of radiance, and stays one behind any linear filter of both.
    """

    radiance: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32]


class ParticleRenderer:
    """Renders one ensemble after another with one kept scene: `load`, `shade`, `picture`.

    Each step queues work on the device and reads what the step before has queued; whoever has several renderers takes
    each step of all of them before the next, and waits no oftener for many pictures than for one.
    """

    def __init__(self, camera: Camera, *, height: int, width: int, pixel_nm: float) -> None:
        self._camera = camera
        self._height, self._width, self._pixel_nm = height, width, pixel_nm
        self._geometry = Geometry()

    def load(self, ensemble: Ensemble) -> None:
        """Take the ensemble, and queue what each pixel shows."""
        self._geometry.load(ensemble)
        size = {"height": self._height, "width": self._width, "pixel_nm": self._pixel_nm}
        self._outline = OutlineTrace(self._geometry, **size)

    def shade(self, table: SurfaceTable, *, seed: int) -> None:
        """Queue the light from its surfaces, and what is hidden; seed: 32 bits, of the sampling."""
        camera = self._camera
        edge, surface, self._ground = regions(self._outline.owner())
        shader = Shader(self._geometry, table, width=self._width, pixel_nm=self._pixel_nm, seed=seed)
        diameter_px = self._geometry.reach_nm / self._pixel_nm if self._geometry.count else math.inf
        self._lattice, self._relief = Lattice(self._ground, diameter_px), table.relief
        self._halves: list[tuple[npt.NDArray[np.uint32], Any]] = []
        for where, samples, ground in (
            (edge, camera.edge_samples, False),
            (surface, camera.particle_samples, False),
            (self._lattice.sampled, camera.ground_samples, True),
        ):
            pixels = np.flatnonzero(where).astype(np.uint32)
            if len(pixels):
                halves = shader.halves(pixels, samples, ground=ground)
                dr.eval(halves)
                self._halves.append((pixels, halves))

    def picture(self) -> tuple[Outline, Light]:
        """What came of it."""
        # Numbers in pairs: numpy puts them in place several times as fast as rows of two.
        both = np.empty((self._height, self._width), np.complex64)
        for pixels, halves in self._halves:
            both.ravel()[pixels] = np.array(halves).view(np.complex64)
        self._lattice.fill(both)
        np.multiply(both, self._relief, out=both, where=self._ground)
        both *= np.float32(0.5)
        return self._outline.outline(), Light(both.real + both.imag, both.real - both.imag)


def regions(owner: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.bool_], ...]:
    """Pixels by what their squares may hold more than their centres show: edges, surfaces and bare ground.

    A border runs between an edge and a pixel beside, above or below it. Surfaces are the rest of the particles and of
    what touches them, whose corners may be cut off.
    """
    beside, under = np.zeros(owner.shape, bool), np.zeros(owner.shape, bool)
    differ = owner[:, 1:] != owner[:, :-1]
    beside[:, 1:] |= differ
    beside[:, :-1] |= differ
    differ = owner[1:] != owner[:-1]
    under[1:] |= differ
    under[:-1] |= differ
    edge = beside | under
    near = edge | (owner > 0)
    near[1:] |= beside[:-1]
    near[:-1] |= beside[1:]
    return edge, near & ~edge, ~near
