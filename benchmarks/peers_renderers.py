"""What the workers of the peers render with: Mitsuba as its tutorials do, and `nanostream.render`'s own way."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostream.recipe import Recipe
from nanostream.synth import Synth

SPP = 16
"""Samples a pixel everywhere; the recipes take as many on particles."""


class OwnRenderer:
    """A `Synth` a process."""

    def __init__(self, recipe: str, *, seed: int) -> None:
        self._synth, self._seed = Synth(Recipe.named(recipe)), seed

    def __call__(self, index: int) -> dict[str, Any]:
        """Index, image (1, H, W) float32 in [0, 1] and mask (H, W) int32."""
        sample = self._synth.render(seed=self._seed, index=index)
        image = sample.image[None].astype(np.float32) / 255
        return {"index": index, "image": image, "mask": sample.mask.astype(np.int32)}


class MitsubaRenderer:
    """The same scenes by `mi.load_dict` and `mi.render`, with ids from an AOV integrator, one scene a sample.

    Direct light of a constant sky on principled surfaces, 16 samples a pixel; no detector: its noise would be
    one line of numpy. Mitsuba's tutorials: mitsuba.readthedocs.io, "Rendering a scene", "Integrators" (aov).
    """

    def __init__(self, recipe: str, *, seed: int) -> None:
        del seed
        from nanostream.render import backend

        backend.start()
        import mitsuba as mi
        from render_published import mitsuba_scene
        from render_scene import ensemble_of

        assert recipe == "tio2-sem", "the scenes of render_scene.py are those of tio2-sem"
        self._ensemble, self._scene, self._mi = ensemble_of, mitsuba_scene, mi
        self._integrator = mi.load_dict({"type": "aov", "aovs": "id:shape_index", "light": {"type": "direct"}})

    def __call__(self, index: int) -> dict[str, Any]:
        """Index, image (1, H, W) float32 and mask (H, W) int32."""
        scene = self._scene(self._ensemble(index))
        pixels: Any = self._mi.render(scene, integrator=self._integrator, spp=SPP, seed=index)
        channels = np.array(pixels)
        mask = np.round(channels[:, :, -1]).astype(np.int32)
        return {"index": index, "image": channels[None, :, :, 0].astype(np.float32), "mask": mask}


RENDERERS = {"own": OwnRenderer, "mitsuba": MitsubaRenderer}
