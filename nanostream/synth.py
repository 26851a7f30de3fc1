"""(recipe, seed, index) -> Sample: a pure function, whichever process, worker, batch or engine asks for it.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble, n = particles that are seen.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nanostream.errors import NanostreamError, RenderError
from nanostream.render import backend
from nanostream.sample import Sample
from nanostream.scene.ensemble import Ensemble, build_ensemble
from nanostream.scene.published import PublishedSceneConfig
from nanostream.seeding import Purpose, check_index, check_seed, generator
from nanostream.texture.distribution import DistributionTexture
from nanostream.texture.generator import GeneratorTexture

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from nanostream.recipe import Recipe
    from nanostream.render.outline import Outline
    from nanostream.scene.config import SceneConfig

    Drawn: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], dict[str, list[Any]]]

__all__ = ["Synth", "render"]

_MOST_LIFT = 4.0
"""A particle this many radii up is as bright as it gets."""


class Synth:
    """Renders samples of one recipe; holds what is worth keeping between them, and nothing that changes a pixel."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.backend = backend.start()
        self._hashes = {"recipe": recipe.hash, "build": recipe.build_hash(self.backend), "backend": self.backend}
        self._draw = _drawing(recipe)

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample; raises SampleIndexError, or RenderError with recipe, seed and index."""
        seed, index = check_seed(seed), check_index(index)
        try:
            image, mask, particles = self._draw(seed=seed, index=index)
        except NanostreamError:
            raise
        except Exception as error:
            msg = f"sample {index} of seed {seed} of recipe {self.recipe.name} could not be rendered: {error}"
            raise RenderError(msg) from error
        meta = {
            **self._hashes,
            "seed": seed,
            "index": index,
            "pixel_nm": self.recipe.picture.pixel_nm,
            "particles": particles,
        }
        return Sample(seed=seed, index=index, image=image, mask=mask, meta=meta)


def render(recipe: Recipe, index: int, seed: int = 0) -> Sample:
    """The sample of that index and seed; the same arguments give the same bytes on one backend.

    Raises SampleIndexError for an index or seed out of 0..2^53, BackendError where nothing can render.
    """
    return _kept(recipe).render(seed=seed, index=index)


@functools.lru_cache(maxsize=4)
def _kept(recipe: Recipe) -> Synth:
    return Synth(recipe)


def _drawing(recipe: Recipe) -> Callable[..., Drawn]:
    """What draws image, mask and particles of a seed and an index."""
    scene, texture, picture = recipe.scene, recipe.texture, recipe.picture
    if isinstance(scene, PublishedSceneConfig):
        from nanostream.render.published import PublishedRenderer

        assert isinstance(texture, GeneratorTexture)
        size = {"height": picture.height, "width": picture.width}
        return PublishedRenderer(scene, texture, **size, pixel_nm=picture.pixel_nm).render
    assert isinstance(texture, DistributionTexture)
    return _Particles(recipe, scene, texture).draw


class _Particles:
    """Draws pictures of particle scenes."""

    def __init__(self, recipe: Recipe, scene: SceneConfig, texture: DistributionTexture) -> None:
        from nanostream.render.particles import ParticleRenderer

        self._scene, self._texture, self._detector = scene, texture, recipe.detector
        self._picture = recipe.picture
        self._renderer = ParticleRenderer(
            recipe.camera, height=self._picture.height, width=self._picture.width, pixel_nm=self._picture.pixel_nm
        )

    def draw(self, *, seed: int, index: int) -> Drawn:
        """Scene, ids, surfaces, light, detector: each with random numbers of its own."""
        height, width, pixel_nm = self._picture.height, self._picture.width, self._picture.pixel_nm
        ensemble = build_ensemble(
            self._scene,
            height_nm=height * pixel_nm,
            width_nm=width * pixel_nm,
            pixel_nm=pixel_nm,
            rng=generator(seed, index, Purpose.SCENE),
        )
        outline = self._renderer.outline(ensemble)
        table = self._texture.draw(
            generator(seed, index, Purpose.TEXTURE),
            lift=np.clip(2 * ensemble.center_nm[:, 2] / ensemble.diameter_nm - 1, 0, _MOST_LIFT),
            height=height,
            width=width,
            pixel_nm=pixel_nm,
        )
        ray_seed = int(generator(seed, index, Purpose.RAYS).integers(2**32))
        radiance = self._renderer.radiance(outline, table, seed=ray_seed)
        image = self._detector.expose(radiance, generator(seed, index, Purpose.DETECTOR))
        return image, *_labelled(ensemble, outline, pixel_nm)


def _labelled(
    ensemble: Ensemble, outline: Outline, pixel_nm: float
) -> tuple[npt.NDArray[np.uint16], dict[str, list[Any]]]:
    """Number the particles that are seen 1..n without gaps, and tell of each."""
    height, width = outline.owner.shape
    seen = np.flatnonzero(outline.visible_px)
    label = np.zeros(len(outline.visible_px) + 1, np.uint16)
    label[1 + seen] = np.arange(1, len(seen) + 1)

    size = np.array([width, height]) * pixel_nm
    beyond = ((ensemble.vertices[:, :2] < 0) | (ensemble.vertices[:, :2] > size)).any(axis=1)
    cut = np.bincount(ensemble.vertex_particle[beyond], minlength=len(ensemble)) > 0
    particles = {
        "label": label[1 + seen],
        "x_px": ensemble.center_nm[seen, 0] / pixel_nm,
        "y_px": ensemble.center_nm[seen, 1] / pixel_nm,
        "z_nm": ensemble.center_nm[seen, 2],
        "diameter_nm": ensemble.diameter_nm[seen],
        "length_nm": ensemble.length_nm[seen],
        "visible_px": outline.visible_px[seen],
        "hidden_fraction": 1 - outline.visible_px[seen] / outline.own_px[seen],
        "cut": cut[seen],
    }
    return label[outline.owner], {name: column.tolist() for name, column in particles.items()}
