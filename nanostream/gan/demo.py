"""Pictures that stand in for a microscope's where a user has none: the package renders them itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanostream.recipe import Recipe
from nanostream.synth import Synth

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.config import SceneConfig

__all__ = ["demo_pictures"]

_PRESET = "tio2-sem"
_PICTURES = 12
_SEED = 2**41
"""Apart from the seeds that people use: no stream renders these."""


def demo_pictures() -> tuple[list[npt.NDArray[np.float32]], SceneConfig, float]:
    """Twelve pictures of 256x256 in [0, 1], the scene that they show, and the edge of a pixel in nm."""
    recipe = Recipe.preset(_PRESET)
    scene = recipe.scene
    assert scene.kind == "particles"
    synth = Synth(recipe)
    samples = (synth.render(seed=_SEED, index=index) for index in range(_PICTURES))
    return [sample.image.astype(np.float32) / np.float32(255) for sample in samples], scene, recipe.picture.pixel_nm
