"""Small windows on larger scenes: clusters reach over a patch's border, and some patches hold no particle.

Legend: N = particles, V = vertices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanostream.scene.ensemble import Ensemble, build_ensemble
from nanostream.seeding import Purpose, generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from nanostream.scene.config import SceneConfig

__all__ = ["cut_windows", "window", "windows"]

SIDE = 2
"""Windows along an edge of a scene."""


def windows(
    config: SceneConfig, *, patch_px: int, pixel_nm: float, seed: int, first: int, count: int
) -> list[Ensemble]:
    """Windows `first` and on of an endless sequence, each patch_px wide; the same arguments give the same windows."""
    numbers = range(first // SIDE**2, -(-(first + count) // SIDE**2))
    extent = SIDE * patch_px * pixel_nm
    size = {"height_nm": extent, "width_nm": extent, "pixel_nm": pixel_nm}
    found: list[Ensemble] = []
    for number in numbers:
        scene = build_ensemble(config, **size, rng=generator(seed, number, Purpose.SCENE))
        found += cut_windows(scene, patch_nm=patch_px * pixel_nm)
    skipped = first - numbers.start * SIDE**2
    return found[skipped : skipped + count]


def cut_windows(scene: Ensemble, *, patch_nm: float) -> Iterator[Ensemble]:
    """The scene's windows, row by row."""
    for k in range(SIDE**2):
        yield window(scene, left_nm=k % SIDE * patch_nm, top_nm=k // SIDE * patch_nm, size_nm=patch_nm)


def window(scene: Ensemble, *, left_nm: float, top_nm: float, size_nm: float) -> Ensemble:
    """The particles that can be seen in a square or can shade what is seen there, moved so that it starts at 0."""
    if not len(scene):
        return scene
    start = np.array([left_nm, top_nm])
    place = scene.vertices[:, :2] - start.astype(np.float32)
    low, high = (_each(scene, place, better) for better in (np.minimum, np.maximum))
    # Light that comes in lower than 45 degrees is little.
    reach = _each(scene, scene.vertices[:, 2:], np.maximum)
    kept = np.all((high + reach > 0) & (low - reach < size_nm), axis=1)
    vertex, face = kept[scene.vertex_particle], kept[scene.particle]
    number = np.cumsum(vertex) - 1
    renamed = (np.cumsum(kept) - 1).astype(np.int32)
    shift = np.array([left_nm, top_nm, 0])
    return Ensemble(
        vertices=scene.vertices[vertex] - shift.astype(np.float32),
        normals=scene.normals[vertex],
        faces=number[scene.faces[face]].astype(np.uint32),
        particle=renamed[scene.particle[face]],
        vertex_particle=renamed[scene.vertex_particle[vertex]],
        center_nm=scene.center_nm[kept] - shift,
        diameter_nm=scene.diameter_nm[kept],
        length_nm=scene.length_nm[kept],
        aspect=scene.aspect[kept],
    )


def _each(scene: Ensemble, values: npt.NDArray[np.float32], better: np.ufunc) -> npt.NDArray[np.float32]:
    """(N, k) least or greatest of each particle's vertices, of values (V, k)."""
    order = np.argsort(scene.vertex_particle, kind="stable")
    first = np.searchsorted(scene.vertex_particle[order], np.arange(len(scene)))
    return better.reduceat(values[order], first, axis=0)
