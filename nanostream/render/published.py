"""Renders the published method's own scene: its camera, lights, stage, meshes and film, defects included.

Two defects are reproduced here and nowhere else: the constants of stage and particles change places, and the mesh
scale counts twice. Differences that do not show: instance ids come from one exact ray through each pixel's centre
(theirs from a filtered picture of ids), and the Gaussian filter runs over a grid of strata in numpy, since
Mitsuba's own adds in an order that depends on the threads.

Legend: H, W = picture height and width in pixels, b = border in pixels, s = strata a pixel's edge,
n = particles. The scene's y axis points to the camera; placements have z there.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import drjit as dr
import mitsuba as mi
import numpy as np
import scipy.ndimage

from nanostream.errors import RecipeError, RenderError
from nanostream.render.published_film import blur, film_border
from nanostream.render.published_scene import CAMERA_HEIGHT, HALF_FOV, PublishedGeometry
from nanostream.scene.published import place
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    import numpy.typing as npt

    from nanostream.scene.published import PublishedSceneConfig
    from nanostream.texture.generator import GeneratorTexture
    from nanostream.texture.parameters import Shading

__all__ = ["PublishedRenderer"]

_MOST_ATTEMPTS = 1000
"""Scenes drawn for one sample before giving up."""

_MOST_RAYS = 2**23
"""Rays in one launch; a 256 x 256 picture of 121 samples a pixel is one."""

_FOOTPRINT = scipy.ndimage.generate_binary_structure(2, 1)
"""The published filters count a pixel as particle if one lies within 1.2 pixels of its centre."""


class PublishedRenderer:
    """Renders samples of a published scene; holds its meshes, loaded once.

    Raises MeshError, RecipeError or TextureError if meshes, settings and generator do not fit.
    """

    def __init__(
        self,
        config: PublishedSceneConfig,
        texture: GeneratorTexture,
        *,
        height: int,
        width: int,
        pixel_nm: float,
    ) -> None:
        """height, width: of the picture; the field of view spans the width. pixel_nm: at the height of placement 0."""
        self._generator = texture.load()
        wanted = self._generator.spec.particles
        if len(config.meshes) != wanted:
            msg = (
                f"expected {wanted} meshes, as many as the generator reads positions, got {len(config.meshes)}: "
                "use the mesh set of this texture"
            )
            raise RecipeError(msg)
        self._config = config
        self._height, self._width = height, width
        self._geometry = PublishedGeometry(config)
        # Scene units in a pixel, in the plane through the origin.
        self._unit_nm = pixel_nm / (2 * CAMERA_HEIGHT * np.tan(HALF_FOV) / width)

    def render(
        self, *, seed: int, index: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint16], dict[str, list[Any]]]:
        """Image (H, W), mask (H, W) with 0 for background and 1..n without gaps, and PARTICLE_COLUMNS.

        Raises RenderError if the scene filters reject every scene drawn.
        """
        config = self._config
        scenes, rays, detector = (
            generator(seed, index, purpose) for purpose in (Purpose.SCENE, Purpose.RAYS, Purpose.DETECTOR)
        )
        for _ in range(_MOST_ATTEMPTS):
            positions = place(config.placement, len(config.meshes), scenes)
            self._geometry.load(positions)
            owner, own_px, cut = self._outlines()
            near = np.asarray(scipy.ndimage.binary_dilation(owner > 0, _FOOTPRINT), np.bool_)
            if config.min_background is not None and 1 - near.mean() < config.min_background:
                continue
            shading = self._generator.shading(positions, swapped=True)
            self._geometry.shade(shading)
            image = self._expose(shading, rays, detector)
            if config.min_contrast is None or _contrasts(image, near, config.min_contrast):
                return image, *self._labelled(owner, own_px, cut)
        msg = (
            f"expected a scene that leaves {config.min_background} of the picture free and has contrast "
            f"{config.min_contrast}, got none in {_MOST_ATTEMPTS}: lower min_background or min_contrast"
        )
        raise RenderError(msg)

    def _expose(
        self, shading: Shading, rays: np.random.Generator, detector: np.random.Generator
    ) -> npt.NDArray[np.uint8]:
        """(H, W) 8-bit picture: radiance clipped, noise added, clipped again and cut to whole levels."""
        radiance = np.clip(self._radiance(int(rays.integers(2**32))), 0, 1)
        noise = detector.standard_normal(radiance.shape, np.float32) * np.float32(shading.noise_std)
        return (np.clip(radiance + noise, 0, 1) * np.float32(255)).astype(np.uint8)

    def _radiance(self, seed: int) -> npt.NDArray[np.float32]:
        """(H, W) filtered radiance."""
        optics = self._config.optics
        strata = int(np.ceil(np.sqrt(optics.samples_per_pixel)))
        border = film_border(optics.filter_px)
        rows, columns = self._height + 2 * border, self._width + 2 * border
        band = max(1, _MOST_RAYS // (columns * strata**2))
        total, count = (np.zeros((rows * strata, columns * strata)) for _ in range(2))
        for number, first in enumerate(range(0, rows, band)):
            height = min(band, rows - first)
            cell, values = self._trace(first, height, columns, border=border, strata=strata, seed=seed + number)
            cells = height * strata * columns * strata
            place_in = slice(first * strata, (first + height) * strata)
            total[place_in] = np.bincount(cell, values, cells).reshape(height * strata, -1)
            count[place_in] = np.bincount(cell, minlength=cells).reshape(height * strata, -1)
        return blur(total, count, strata=strata, border=border, sigma_px=optics.filter_px)

    def _trace(
        self, first: int, height: int, columns: int, *, border: int, strata: int, seed: int
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.float32]]:
        """Stratum, counted within the band, and radiance of each ray of a band of pixel rows."""
        samples = strata**2
        rays = height * columns * samples
        sampler: Any = mi.load_dict({"type": "stratified", "sample_count": samples})
        sampler.set_samples_per_wavefront(samples)
        # Opaque: a plain number would be written into the kernel, and every sample would compile another.
        sampler.seed(dr.opaque(mi.UInt32, seed % 2**32), rays)
        pixel = dr.arange(mi.UInt32, rays) // samples
        offset = sampler.next_2d()
        row, column = pixel // columns, pixel % columns
        first_row = dr.opaque(mi.Float, first - border)
        ray = self._geometry.camera_ray(
            (mi.Float(column) - border + offset.x) / self._width,
            (mi.Float(row) + first_row + offset.y - self._height / 2) / self._width,
        )
        radiance, valid, _ = self._geometry.integrator.sample(self._geometry.scene, sampler, ray)
        stratum_x = dr.minimum(mi.UInt32(offset.x * strata), strata - 1)
        stratum_y = dr.minimum(mi.UInt32(offset.y * strata), strata - 1)
        cell = (row * strata + stratum_y) * (columns * strata) + column * strata + stratum_x
        value = dr.select(valid, radiance.x, 0)
        dr.eval(cell, value)
        return np.array(cell), np.array(value)

    def _outlines(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Which particle each pixel's centre shows, and each particle's own outline behind the others.

        Returns (H, W) int32, 0 ground and 1 + i for particle i; (n,) pixels of the outline in the picture;
        (n,) whether the outline touches the picture's edge.
        """
        height, width = self._height, self._width
        pixel = dr.arange(mi.UInt32, height * width)
        ray = self._geometry.camera_ray(
            (mi.Float(pixel % width) + 0.5) / width,
            (mi.Float(pixel // width) + 0.5 - height / 2) / width,
        )
        n = len(self._config.meshes)
        covered = np.zeros((n + 1, height * width), bool)
        owner: npt.NDArray[np.int32] | None = None
        everywhere = np.arange(height * width)
        while True:
            hit, ray = self._geometry.next_hit(ray)
            owner = hit if owner is None else owner
            if not hit.any():
                break
            covered[hit, everywhere] = True
        outline = covered[1:].reshape(n, height, width)
        edge = np.ones((height, width), np.bool_)
        edge[1:-1, 1:-1] = False
        return owner.reshape(height, width), outline.sum(axis=(1, 2)), np.asarray(outline[:, edge].any(axis=1))

    def _labelled(
        self, owner: npt.NDArray[np.int32], own_px: npt.NDArray[np.int64], cut: npt.NDArray[np.bool_]
    ) -> tuple[npt.NDArray[np.uint16], dict[str, list[Any]]]:
        """Number the particles that are seen 1..n without gaps, and tell of each."""
        visible_px = np.bincount(owner.ravel(), minlength=len(own_px) + 1)[1:]
        seen = np.flatnonzero(visible_px)
        label = np.zeros(len(own_px) + 1, np.uint16)
        label[1 + seen] = np.arange(1, len(seen) + 1)
        bodies = self._geometry.bodies()
        toward_column, toward_row = self._geometry.project(bodies.center)
        columns = {
            "label": label[1 + seen],
            "x_px": (toward_column * self._width)[seen],
            "y_px": (toward_row * self._width + self._height / 2)[seen],
            "z_nm": (bodies.center[:, 1] - self._geometry.ground)[seen] * self._unit_nm,
            "diameter_nm": bodies.diameter[seen] * self._unit_nm,
            "length_nm": bodies.length[seen] * self._unit_nm,
            "visible_px": visible_px[seen],
            "hidden_fraction": 1 - visible_px[seen] / own_px[seen],
            "cut": cut[seen],
        }
        return label[owner], {
            name: (np.round(column, 4) if column.dtype == np.float64 else column).tolist()
            for name, column in columns.items()
        }


def _contrasts(image: npt.NDArray[np.uint8], particle: npt.NDArray[np.bool_], least: float) -> bool:
    """Whether the particles' pixels are on average `least` times as bright as the others."""
    if not particle.any() or particle.all():
        return False
    return bool(image[~particle].mean() * least <= image[particle].mean())
