"""(recipe, seed, index) -> Sample: a pure function, whichever process, worker, batch or engine asks for it.

Legend: H, W = picture height and width in pixels, N = particles of the ensemble, n = particles that are seen.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nanostream.errors import NanostreamError, RenderError
from nanostream.render import backend
from nanostream.render.detector import Exposure
from nanostream.sample import Sample
from nanostream.scene.ensemble import build_ensemble
from nanostream.scene.published import PublishedSceneConfig
from nanostream.seeding import Purpose, check_index, check_seed, generator
from nanostream.texture.distribution import DistributionTexture
from nanostream.texture.generator import GeneratorTexture
from nanostream.texture.learned import LearnedLook, LearnedTexture, Look
from nanostream.texture.surface import particle_lift

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import numpy.typing as npt

    from nanostream.recipe import Picture, Recipe
    from nanostream.render.camera import Camera
    from nanostream.render.detector import Detector
    from nanostream.render.outline import Outline
    from nanostream.render.particles import ParticleRenderer
    from nanostream.scene.config import SceneConfig
    from nanostream.scene.ensemble import Ensemble

    Drawn: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], dict[str, list[Any]]]

__all__ = ["ParticlePictures", "Synth", "render"]

_TOGETHER = 8
"""Samples in flight at a time, unless another number is asked for."""


class Synth:
    """Renders samples of one recipe; holds what is worth keeping between them, and nothing that changes a pixel."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.backend = backend.start()
        self._hashes = {"recipe": recipe.hash, "build": recipe.build_hash(self.backend), "backend": self.backend}
        self._draw = _drawing(recipe)

    def render(self, *, seed: int, index: int) -> Sample:
        """The sample; raises SampleIndexError, or RenderError with recipe, seed and index."""
        return next(self.render_many(seed=seed, indices=[index]))

    def render_many(self, *, seed: int, indices: Sequence[int], together: int = _TOGETHER) -> Iterator[Sample]:
        """The samples in this order, byte for byte those of `render`, `together` of them in flight at a time.

        A graphics card computes one while the next is prepared; on the CPU, one process has nothing to gain by it.
        """
        seed, indices = check_seed(seed), [check_index(index) for index in indices]
        for first in range(0, len(indices), together):
            some = indices[first : first + together]
            try:
                drawn = self._draw(seed=seed, indices=some)
            except NanostreamError:
                raise
            except Exception as error:
                which = f"sample {some[0]}" if len(some) == 1 else f"one of the samples {', '.join(map(str, some))}"
                msg = f"{which} of seed {seed} of recipe {self.recipe.name} could not be rendered: {error}"
                raise RenderError(msg) from error
            for index, (image, mask, particles) in zip(some, drawn, strict=True):
                meta = {
                    **self._hashes,
                    "seed": seed,
                    "index": index,
                    "pixel_nm": self.recipe.picture.pixel_nm,
                    "particles": particles,
                }
                yield Sample(seed=seed, index=index, image=image, mask=mask, meta=meta)


def render(recipe: Recipe, index: int, seed: int = 0) -> Sample:
    """The sample of that index and seed; the same arguments give the same bytes on one backend.

    Raises SampleIndexError for an index or seed out of 0..2^53, BackendError where nothing can render.
    """
    return _kept(recipe).render(seed=seed, index=index)


@functools.lru_cache(maxsize=4)
def _kept(recipe: Recipe) -> Synth:
    return Synth(recipe)


def _drawing(recipe: Recipe) -> Callable[..., list[Drawn]]:
    """What draws image, mask and particles of a seed and some indices."""
    scene, texture, picture = recipe.scene, recipe.texture, recipe.picture
    if isinstance(scene, PublishedSceneConfig):
        from nanostream.render.published import PublishedRenderer

        assert isinstance(texture, GeneratorTexture)
        size = {"height": picture.height, "width": picture.width}
        renderer = PublishedRenderer(scene, texture, **size, pixel_nm=picture.pixel_nm)
        return lambda *, seed, indices: [renderer.render(seed=seed, index=index) for index in indices]
    assert isinstance(texture, DistributionTexture | LearnedTexture)
    look = texture.load() if isinstance(texture, LearnedTexture) else texture
    return ParticlePictures(scene, look, picture, camera=recipe.camera, detector=recipe.detector).draw_many


class ParticlePictures:
    """Draws pictures of particle scenes; a learned look brings its own detector."""

    def __init__(
        self,
        scene: SceneConfig,
        look: DistributionTexture | LearnedLook,
        picture: Picture,
        *,
        camera: Camera,
        detector: Detector,
    ) -> None:
        self._scene, self._texture, self._picture, self._detector = scene, look, picture, detector
        self._camera = camera
        self._renderers: list[ParticleRenderer] = []

    def draw(self, *, seed: int, index: int) -> Drawn:
        """Image, mask and columns of the particle table."""
        return self.draw_many(seed=seed, indices=[index])[0]

    def draw_many(self, *, seed: int, indices: Sequence[int]) -> list[Drawn]:
        """The same of several indices at once: the device has all their rays before it is waited for."""
        drawn: dict[int, Drawn] = {}
        running = [self._stages(self._renderer(place), seed, index) for place, index in enumerate(indices)]
        while len(drawn) < len(running):
            for place, stages in enumerate(running):
                try:
                    next(stages)
                except StopIteration as end:
                    drawn[place] = end.value
        return [drawn[place] for place in range(len(running))]

    def _renderer(self, number: int) -> ParticleRenderer:
        from nanostream.render.particles import ParticleRenderer

        size = {"height": self._picture.height, "width": self._picture.width, "pixel_nm": self._picture.pixel_nm}
        while len(self._renderers) <= number:
            self._renderers.append(ParticleRenderer(self._camera, **size))
        return self._renderers[number]

    def _stages(self, renderer: ParticleRenderer, seed: int, index: int) -> Generator[None, None, Drawn]:
        """Scene, ids, surfaces, light, detector, each with random numbers of its own; stops where it would wait."""
        height, width, pixel_nm = self._picture.height, self._picture.width, self._picture.pixel_nm
        ensemble = build_ensemble(
            self._scene,
            height_nm=height * pixel_nm,
            width_nm=width * pixel_nm,
            pixel_nm=pixel_nm,
            rng=generator(seed, index, Purpose.SCENE),
        )
        renderer.load(ensemble)
        drawn = self._texture.draw(
            generator(seed, index, Purpose.TEXTURE),
            lift=particle_lift(ensemble.center_nm[:, 2], ensemble.diameter_nm),
            height=height,
            width=width,
            pixel_nm=pixel_nm,
        )
        yield
        ray_seed = int(generator(seed, index, Purpose.RAYS).integers(2**32))
        renderer.shade(drawn.table if isinstance(drawn, Look) else drawn, seed=ray_seed)
        yield
        outline, light = renderer.picture()
        rng = generator(seed, index, Purpose.DETECTOR)
        if isinstance(drawn, Look):
            skin = np.where(outline.owner > 0, drawn.skin, 1)
            image = Exposure(**drawn.detector).expose(light.radiance * skin, rng, error=light.error * skin)
        else:
            image = self._detector.expose(light.radiance, rng, error=light.error)
        return image, *_labelled(ensemble, outline, pixel_nm)


def _labelled(
    ensemble: Ensemble, outline: Outline, pixel_nm: float
) -> tuple[npt.NDArray[np.uint16], dict[str, list[Any]]]:
    """Number the particles that are seen 1..n without gaps, and tell of each."""
    height, width = outline.owner.shape
    seen = np.flatnonzero(outline.visible_px)
    label = np.zeros(len(outline.visible_px) + 1, np.uint16)
    label[1 + seen] = np.arange(1, len(seen) + 1)

    boxes = ensemble.boxes_nm()
    inner = (boxes[:, :2] >= 0) & (boxes[:, 2:] <= np.array([width, height]) * pixel_nm)
    cut = ~(inner[:, 0] & inner[:, 1])
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
