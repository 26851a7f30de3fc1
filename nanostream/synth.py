"""(recipe, seed, index) -> Sample: a pure function, whichever process, worker, batch or engine asks for it.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble, n = particles that are seen.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from nanostream.errors import NanostreamError, RenderError
from nanostream.render import backend
from nanostream.sample import Sample
from nanostream.scene.ensemble import Ensemble, build_ensemble
from nanostream.seeding import Purpose, check_index, check_seed, generator

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.recipe import Recipe
    from nanostream.render.outline import Outline

__all__ = ["Synth", "render"]

_MOST_LIFT = 4.0
"""A particle this many radii up is as bright as it gets."""


class Synth:
    """Renders samples of one recipe; holds what is worth keeping between them, and nothing that changes a pixel."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.backend = backend.start()
        self._hashes = {"recipe": recipe.hash, "build": recipe.build_hash(self.backend), "backend": self.backend}
        picture = recipe.picture
        size = {"height": picture.height, "width": picture.width}
        if recipe.scene.kind == "published":
            from nanostream.render.published import PublishedRenderer  # noqa: PLC0415 - needs the chosen variant

            self._published = PublishedRenderer(recipe.scene, recipe.texture, **size)
        else:
            from nanostream.render.particles import ParticleRenderer  # noqa: PLC0415 - needs the chosen variant

            self._particles = ParticleRenderer(recipe.camera, **size, pixel_nm=picture.pixel_nm)

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample; raises SampleIndexError, or RenderError with recipe, seed and index."""
        seed, index = check_seed(seed), check_index(index)
        try:
            if self.recipe.scene.kind == "published":
                image, mask, particles = self._published.render(seed=seed, index=index)
            else:
                image, mask, particles = self._render(seed, index)
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

    def _render(
        self, seed: int, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], dict[str, list[Any]]]:
        recipe = self.recipe
        picture, pixel_nm = recipe.picture, recipe.picture.pixel_nm

        def numbers(purpose: Purpose) -> np.random.Generator:
            return generator(seed, index, purpose)

        ensemble = build_ensemble(
            recipe.scene,
            height_nm=picture.height * pixel_nm,
            width_nm=picture.width * pixel_nm,
            pixel_nm=pixel_nm,
            rng=numbers(Purpose.SCENE),
        )
        outline = self._particles.outline(ensemble)
        table = recipe.texture.draw(
            numbers(Purpose.TEXTURE),
            lift=np.clip(2 * ensemble.center_nm[:, 2] / ensemble.diameter_nm - 1, 0, _MOST_LIFT),
            height=picture.height,
            width=picture.width,
            pixel_nm=pixel_nm,
        )
        ray_seed = int(numbers(Purpose.RAYS).integers(2**32))
        radiance = self._particles.radiance(outline, table, seed=ray_seed)
        image = recipe.detector.expose(radiance, numbers(Purpose.DETECTOR))
        return image, *_labelled(ensemble, outline, pixel_nm)


@functools.lru_cache(maxsize=4)
def _kept(recipe: Recipe) -> Synth:
    return Synth(recipe)


def render(recipe: Recipe, index: int, seed: int = 0) -> Sample:
    """The sample of that index and seed; the same arguments give the same bytes on one backend.

    Raises SampleIndexError for an index or seed out of 0..2^53, BackendError where nothing can render.
    """
    return _kept(recipe).render(seed=seed, index=index)


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
