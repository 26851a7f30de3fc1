"""The scenes that the parts of render.py measure."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanostream.recipe import Recipe
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.seeding import Purpose, generator
from nanostream.texture.distribution import DistributionTexture

RECIPE = Recipe.preset("tio2-sem")
PICTURE = RECIPE.picture
SIZE = {"height": PICTURE.height, "width": PICTURE.width, "pixel_nm": PICTURE.pixel_nm}
EXTENT = {"height_nm": PICTURE.height * PICTURE.pixel_nm, "width_nm": PICTURE.width * PICTURE.pixel_nm}


def ensemble_of(index: int) -> Any:
    """The sample's particles."""
    assert isinstance(RECIPE.scene, SceneConfig)
    return build_ensemble(RECIPE.scene, **EXTENT, pixel_nm=PICTURE.pixel_nm, rng=generator(0, index, Purpose.SCENE))


def surfaces_of(ensemble: Any, index: int) -> Any:
    """Its surfaces, with every particle on the ground."""
    assert isinstance(RECIPE.texture, DistributionTexture)
    return RECIPE.texture.draw(generator(0, index, Purpose.TEXTURE), lift=np.zeros(len(ensemble)), **SIZE)


def picture_of(counts: tuple[int, int, int], ensemble: Any, table: Any, seed: int) -> Any:
    """Outline and rendered light. counts: samples a pixel on particles, at edges, on the ground."""
    from nanostream.render.camera import Camera
    from nanostream.render.particles import ParticleRenderer

    camera = Camera(particle_samples=counts[0], edge_samples=counts[1], ground_samples=counts[2])
    renderer = ParticleRenderer(camera, **SIZE)
    renderer.load(ensemble)
    renderer.shade(table, seed=seed)
    return renderer.picture()


def rays_in(counts: tuple[int, int, int], owner: np.ndarray) -> int:
    """Camera and occlusion rays of the light; those of the ids are not counted."""
    from nanostream.render.particles import edges

    edge = edges(owner)
    inside = int(((owner > 0) & ~edge).sum())
    ground = owner.size - inside - int(edge.sum())
    return 2 * (inside * counts[0] + int(edge.sum()) * counts[1]) + ground * counts[2]
