"""The scenes that the parts of render.py measure."""

from __future__ import annotations

import contextlib
import functools
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.recipe import Recipe
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.seeding import Purpose, generator
from nanostream.texture.learned import DETECTOR, LearnedTexture

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = Recipe.preset("tio2-sem")
PICTURE = RECIPE.picture
SIZE = {"height": PICTURE.height, "width": PICTURE.width, "pixel_nm": PICTURE.pixel_nm}
PICTURES = 101
EXTENT = {"height_nm": PICTURE.height * PICTURE.pixel_nm, "width_nm": PICTURE.width * PICTURE.pixel_nm}


def ensemble_of(index: int) -> Any:
    """The sample's particles."""
    assert isinstance(RECIPE.scene, SceneConfig)
    return build_ensemble(RECIPE.scene, **EXTENT, pixel_nm=PICTURE.pixel_nm, rng=generator(0, index, Purpose.SCENE))


def surfaces_of(ensemble: Any, index: int) -> Any:
    """Its surfaces, with every particle on the ground."""
    return look_of(index, len(ensemble)).table


def look_of(index: int, count: int = 0) -> Any:
    """Its surfaces and detector; count: its particles."""
    return learned().draw(generator(0, index, Purpose.TEXTURE), lift=np.zeros(count), **SIZE)


@functools.cache
def learned() -> Any:
    """The recipe's texture."""
    assert isinstance(RECIPE.texture, LearnedTexture)
    return RECIPE.texture.load()


@functools.cache
def detector() -> dict[str, float]:
    """The median of each of the detector's settings over pictures."""
    drawn = [look_of(index).detector for index in range(PICTURES)]
    return {name: statistics.median(each[name] for each in drawn) for name in DETECTOR}


def picture_of(counts: tuple[int, int, int], ensemble: Any, table: Any, seed: int) -> Any:
    """Outline and rendered light. counts: samples a pixel on particles, at edges, on the ground."""
    from nanostream.render.camera import Camera
    from nanostream.render.particles import ParticleRenderer

    camera = Camera(particle_samples=counts[0], edge_samples=counts[1], ground_samples=counts[2])
    renderer = ParticleRenderer(camera, **SIZE)
    renderer.load(ensemble)
    renderer.shade(table, seed=seed)
    return renderer.picture()


class EveryPixel:
    """What `Lattice` would be if each pixel of the ground had samples of its own."""

    def __init__(self, ground: np.ndarray, diameter_px: float) -> None:
        del diameter_px
        self.sampled = ground

    def fill(self, light: np.ndarray) -> None:
        """Nothing is left to fill."""


@contextlib.contextmanager
def every_pixel() -> Iterator[None]:
    """Render without the lattice."""
    from nanostream.render import particles

    kept = particles.Lattice
    particles.Lattice = EveryPixel
    try:
        yield
    finally:
        particles.Lattice = kept


def rays_in(counts: tuple[int, int, int], ensemble: Any, owner: np.ndarray) -> int:
    """Most rays of the light: to a particle, to the sky and, from tilted surfaces, below the horizon.

    Those of the ids are not counted.
    """
    from nanostream.render import particles

    edge, surface, ground = particles.regions(owner)
    lattice = particles.Lattice(ground, ensemble.diameter_nm.mean() / PICTURE.pixel_nm)
    pixels = [int(each.sum()) for each in (surface, edge, lattice.sampled)]
    return 3 * (pixels[0] * counts[0] + pixels[1] * counts[1]) + pixels[2] * counts[2]
