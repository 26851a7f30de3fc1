"""A batch of small pictures with gradients to the effects that made them: scene, surfaces, light, detector.

The same steps as `synth` takes with a learned texture, in torch.

Legend: B = pictures, P = their edge in pixels, N = particles of one, L = numbers of the latent.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import torch

from nanostream.gan.exposure import expose
from nanostream.render import backend
from nanostream.render.camera import Camera
from nanostream.texture.film import draw_noise, film_relief, skin_relief
from nanostream.texture.learned import DETECTOR, surface_columns
from nanostream.texture.surface import particle_lift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from nanostream.scene.ensemble import Ensemble

__all__ = ["LookRenderer", "Patches"]

_CAMERA = Camera(particle_samples=8, edge_samples=16, ground_samples=4)
"""Half of the rays that a recipe takes: the blur and the detector's noise hide the difference."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """pictures: (B, P, P) in [0, 1], with gradients. coverage: (B,) share that particles cover."""

    pictures: torch.Tensor
    coverage: npt.NDArray[np.float64]


class LookRenderer:
    """Renders B patches at a time; each has a scene of its own, which is kept until the gradients are taken."""

    def __init__(self, *, batch: int, patch_px: int, pixel_nm: float) -> None:
        # Mitsuba is imported behind the choice of its backend.
        backend.start()
        from nanostream.render.crossing import COLUMNS, ParticleCrossing

        self._patch_px, self._pixel_nm, self._names = patch_px, pixel_nm, COLUMNS
        size = {"height": patch_px, "width": patch_px, "pixel_nm": pixel_nm}
        self._crossings = [ParticleCrossing(_CAMERA, **size) for _ in range(batch)]

    def render(
        self, ensembles: Sequence[Ensemble], values: Mapping[str, torch.Tensor], rng: np.random.Generator
    ) -> Patches:
        """Patches of at most B ensembles. values: effects by name, (B,) each."""
        P, count = self._patch_px, len(ensembles)
        owners, radiance = [], []
        relief, skin = self._reliefs(values, count, rng)
        for k, (ensemble, crossing) in enumerate(zip(ensembles, self._crossings, strict=False)):
            owners.append(crossing.load(ensemble))
            columns = self._columns({name: value[k] for name, value in values.items()}, ensemble, rng)
            seed = int(rng.integers(2**32))
            curve = torch.stack([values["rim_cap"][k], values["rim_power"][k]])
            radiance.append(crossing.radiance(columns, relief[k], curve, seed=seed))
        shown = torch.from_numpy(np.stack(owners) > 0)
        pictures = expose(
            torch.where(shown, torch.stack(radiance) * skin, torch.stack(radiance)),
            {name: values[name] for name in DETECTOR},
            noise=torch.from_numpy(rng.standard_normal((count, P, P), np.float32)),
            lines=torch.from_numpy(rng.standard_normal((count, P, 1), np.float32)),
        )
        return Patches(pictures, shown.float().mean((1, 2)).double().numpy())

    def _reliefs(
        self, values: Mapping[str, torch.Tensor], count: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        P = self._patch_px
        noise = torch.from_numpy(np.stack([draw_noise(rng, height=P, width=P) for _ in range(count)]))
        light = torch.from_numpy(rng.uniform(0, 2 * np.pi, (count, 1, 1)).astype(np.float32))
        spread = {name: value[:, None, None] for name, value in values.items()}
        relief = film_relief(spread, noise, width=P, pixel_nm=self._pixel_nm, light=light, xp=torch)
        return relief, skin_relief(spread, noise, width=P, pixel_nm=self._pixel_nm, xp=torch)

    def _columns(
        self, values: Mapping[str, torch.Tensor], ensemble: Ensemble, rng: np.random.Generator
    ) -> torch.Tensor:
        """(1 + N, 8), with gradients."""
        gain, rim = (torch.from_numpy(row) for row in rng.standard_normal((2, len(ensemble)), np.float32))
        lift = torch.from_numpy(particle_lift(ensemble.center_nm[:, 2], ensemble.diameter_nm).astype(np.float32))
        columns = surface_columns(values, gain=gain, rim=rim, lift=lift, xp=torch)
        return torch.stack([columns[name] for name in self._names], dim=1)
