"""The scene that a fit renders: what the user says of the particles, or what the pictures tell."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import pydantic

from nanostream.errors import RecipeError
from nanostream.gan.particle_sizes import estimate_sizes
from nanostream.recipe import Recipe, preset_names
from nanostream.scene.agglomerates import Agglomerates
from nanostream.scene.config import SceneConfig
from nanostream.scene.sizes import LognormalSizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["estimate_scene", "read_particles"]

_LARGEST = 2.5
"""Sizes end this many standard deviations over the median, as sieved and milled powders do."""
_LEAST_COVERAGE = 0.01


def read_particles(name: str) -> tuple[SceneConfig, float | None]:
    """Scene of a preset's name or a JSON file, and the edge of a pixel in nm if a recipe says it.

    The file holds a scene or a recipe. Raises RecipeError for anything else.
    """
    if name.endswith(".json"):
        path = pathlib.Path(name)
        try:
            values = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            msg = f"expected a scene or a recipe in JSON at {path}, but it cannot be read: {error}"
            raise RecipeError(msg) from error
        if not (isinstance(values, dict) and "scene" in values):
            try:
                return SceneConfig.model_validate_json(path.read_text("utf-8")), None
            except pydantic.ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in first["loc"]) or "the scene"
                msg = f"{path}: {where}: {first['msg']}, got {first['input']!r}"[:500]
                raise RecipeError(msg) from error
        recipe = Recipe.load(path)
    elif name in preset_names():
        recipe = Recipe.preset(name)
    else:
        msg = f"expected particles as FILE.json or a preset, one of {', '.join(preset_names())}, got {name!r}"
        raise RecipeError(msg)
    if not isinstance(recipe.scene, SceneConfig):
        msg = f"expected a scene of particles, got the published scene of {recipe.name}: use --method published"
        raise RecipeError(msg)
    return recipe.scene, recipe.picture.pixel_nm


def estimate_scene(
    pictures: Sequence[npt.NDArray[np.float32]], *, pixel_nm: float, scene: SceneConfig | None = None
) -> SceneConfig:
    """A scene with the sizes and the crowding of the pictures; shape and placement of `scene`, grains by default.

    Crowding is drawn evenly, with the pictures' mean: from their least to as much over the mean.
    Raises PictureError if hardly any particle is found.
    """
    found = estimate_sizes(pictures)
    median, sigma = found.median_px * pixel_nm, found.sigma
    sizes = LognormalSizes(
        median_nm=round(median, 1), sigma=round(sigma, 3), max_nm=round(median * 2.718281828 ** (_LARGEST * sigma), 1)
    )
    low, mean = max(float(found.coverage.min()), _LEAST_COVERAGE), float(found.coverage.mean())
    crowding = (round(low, 3), round(min(max(2 * mean - low, 1.5 * low), 0.9), 3))
    base = scene or SceneConfig()
    placement = base.placement
    if hasattr(placement, "coverage"):
        placement = placement.model_copy(update={"coverage": crowding})
    return SceneConfig(sizes=sizes, shape=base.shape, placement=placement or Agglomerates(coverage=crowding))
