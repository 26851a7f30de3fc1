"""Placement of particles as the published DiffRenderGAN code does it, in that code's own scene units.

Kept apart from nanostream's own scenes because it reproduces choices that a new scene would not make
(touching spheres are tested for overlap with `<`, so rounding decides; the mesh scale counts twice).
x and y lie in the picture's plane and z points to the viewer; the renderer turns them.

Legend: n = particles, r = radius before scaling, k = candidates around a particle.
Source: Possart et al. 2025, doi:10.1038/s41524-025-01702-6, github.com/dpossart/DiffRenderGAN (MIT).
"""

from __future__ import annotations

import json
import math
import pathlib
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pydantic

from nanostream.errors import RecipeError
from nanostream.scene.published_radii import Radii

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "PublishedOptics",
    "PublishedPlacement",
    "PublishedSceneConfig",
    "place",
    "read_mesh_sets",
]

_DIRECTIONS = 16
"""Candidates around a particle: this many steps in azimuth and as many in polar angle."""

_MOST_STARTS = 10_000
"""Tries for an agglomerate's first particle or for its next neighbour before giving up."""

Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(ge=0, le=1)]


class _Frozen(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class PublishedPlacement(_Frozen):
    """How sizes and positions are drawn; the generator's input is drawn with it too."""

    radii: Radii
    """Radii in placement units."""
    mesh_unit: Positive
    """Scene units in a placement unit: positions are drawn in placement units."""
    mesh_scale: Positive
    """Factor on every mesh, applied twice: once when it is loaded and once when it is placed."""
    base_limit: Positive
    """Half edge of the square or cube that an agglomerate's first particle falls in, in scene units."""
    in_depth: bool
    """Whether particles pile up towards the viewer; otherwise all centres have height 0."""
    agglomerates: Annotated[int, pydantic.Field(ge=1)]
    method: Literal["poisson", "random"]
    """`poisson`: each particle touches one of its agglomerate. `random`: uniform, overlaps allowed."""


class PublishedOptics(_Frozen):
    """Lights and film of a published scene."""

    upper_radiance: NotNegative = 1.0
    """Of the ring of light far above the camera and far below the stage."""
    lower_radiance: NotNegative = 0.1
    """Of the box of light above the camera."""
    samples_per_pixel: Annotated[int, pydantic.Field(ge=1, le=4096)] = 121
    """Rays a pixel; rounded up to a square number, as they are stratified."""
    filter_px: Annotated[float, pydantic.Field(gt=0, le=32)] = 0.5
    """Standard deviation of the Gaussian reconstruction filter, in pixels; it is cut at 4 of them."""


class PublishedSceneConfig(_Frozen):
    """A scene as the published code renders it: its meshes, lights, camera and placement."""

    kind: Literal["published"] = "published"
    folder: pathlib.Path
    """Folder that holds the mesh files."""
    meshes: Annotated[tuple[str, ...], pydantic.Field(min_length=1)]
    """Mesh file of each particle, repeats included, in the order of the generator's input."""
    stage: str = "stage.ply"
    """Mesh of the ground."""
    upper_light: str = "light_source.ply"
    """Mesh of the ring of light."""
    lower_light: str = "light_source2.ply"
    """Mesh of the box of light."""
    placement: PublishedPlacement
    """Sizes and positions."""
    optics: PublishedOptics = PublishedOptics()
    """Lights and film."""
    min_background: Share | None = None
    """Scenes that leave less than this share of the picture free are drawn again. The published test script
    asks for 0.15; without it a scene is taken as it comes."""
    min_contrast: NotNegative | None = None
    """Pictures whose particles are not this many times brighter than the rest are drawn again. The published test
    script asks for 1.15; without it, particles darker than the ground occur too."""


def read_mesh_sets(path: pathlib.Path) -> dict[str, tuple[str, ...]]:
    """Mesh sets of a JSON file {set: [file, ...]}; raises RecipeError if it is none."""
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"expected a JSON file of mesh sets at {path}, but it cannot be read ({error}): check the path"
        raise RecipeError(msg) from error
    good = isinstance(sets, dict) and all(
        isinstance(files, list) and files and all(isinstance(file, str) for file in files) for files in sets.values()
    )
    if not good:
        msg = f"expected {path} to map each mesh set to a list of file names, got something else: check the file"
        raise RecipeError(msg)
    return {name: tuple(files) for name, files in sets.items()}


def place(placement: PublishedPlacement, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Centres and radii of n particles.

    Returns (n, 4) float64 rows x, y, z, r in placement units, which are also the generator's input.
    Raises RecipeError if n cannot be split into the agglomerates or no free place is found.
    """
    radii = placement.radii.draw(n, rng)
    limit = placement.base_limit / placement.mesh_unit
    placed: list[npt.NDArray[np.float64]] = []
    for group in _split(radii, placement.agglomerates, rng):
        if placement.method == "random":
            placed.extend(_uniform(group, limit, in_depth=placement.in_depth, rng=rng))
        else:
            placed.extend(_touching(group, limit, placed, in_depth=placement.in_depth, rng=rng))
    return np.asarray(placed)


def _split(radii: npt.NDArray[np.float64], parts: int, rng: np.random.Generator) -> list[npt.NDArray[np.float64]]:
    """Cut the radii into consecutive parts of random length; the last takes what is left."""
    n = len(radii)
    if n % parts:
        msg = f"expected the number of particles to be a multiple of {parts} agglomerates, got {n}: change either"
        raise RecipeError(msg)
    lengths = rng.integers(1, n // parts + 1, size=parts)
    return np.split(radii, np.cumsum(lengths[:-1]))


def _uniform(
    radii: npt.NDArray[np.float64], limit: float, *, in_depth: bool, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """(n, 4) independent positions in the square or cube of half edge `limit`."""
    centres = rng.uniform(-limit, limit, size=(len(radii), 3))
    if not in_depth:
        centres[:, 2] = 0.0
    return np.column_stack((centres, radii))


def _touching(
    radii: npt.NDArray[np.float64],
    limit: float,
    others: list[npt.NDArray[np.float64]],
    *,
    in_depth: bool,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.float64]]:
    """One agglomerate, grown from a first particle that is clear of all others by touching neighbours."""
    for _ in range(_MOST_STARTS):
        first = _uniform(radii[-1:], limit, in_depth=in_depth, rng=rng)[0]
        if not others or not _overlap(np.asarray(others), first[None])[0]:
            break
    else:
        msg = f"expected room for an agglomerate within {limit:g} units, found none: raise base_limit"
        raise RecipeError(msg)
    group = [first]
    waiting = list(radii[:-1])
    for _ in range(_MOST_STARTS):
        if not waiting:
            return group
        base = group[int(rng.integers(0, len(group)))]
        while waiting:
            spot = _neighbour(base, waiting[-1], np.asarray([*group, *others]), in_depth=in_depth, rng=rng)
            if spot is None:
                break
            group.append(np.append(spot, waiting.pop()))
    msg = "expected room beside the particles of an agglomerate, found none: use fewer or smaller particles"
    raise RecipeError(msg)


def _neighbour(
    base: npt.NDArray[np.float64],
    r: float,
    placed: npt.NDArray[np.float64],
    *,
    in_depth: bool,
    rng: np.random.Generator,
) -> npt.NDArray[np.float64] | None:
    """(3,) centre of a particle of radius r that touches `base` and overlaps none, or None."""
    x, y, z, base_r = base
    reach = base_r + r
    azimuth, polar = np.meshgrid(np.linspace(0, 2 * math.pi, _DIRECTIONS), np.linspace(0, math.pi, _DIRECTIONS))
    if in_depth:
        spots = (
            reach * np.sin(polar) * np.cos(azimuth) + x,
            reach * np.sin(polar) * np.sin(azimuth) + y,
            reach * np.cos(polar) + z,
        )
    else:
        # Sixteen copies of one circle: the published search keeps them, and so the random sequence.
        spots = (reach * np.cos(azimuth) + x, reach * np.sin(azimuth) + y, np.zeros_like(azimuth))
    candidates = np.stack([spot.ravel() for spot in spots], axis=1)
    order = rng.permutation(len(candidates))
    free = ~_overlap(placed, np.column_stack((candidates, np.full(len(candidates), r))))
    good = order[free[order]]
    return candidates[good[0]] if len(good) else None


def _overlap(placed: npt.NDArray[np.float64], spheres: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(k,) whether each of the (k, 4) spheres overlaps any of the (n, 4) placed ones."""
    squared = sum((spheres[None, :, axis] - placed[:, None, axis]) ** 2 for axis in range(3))
    return np.any(np.sqrt(squared) < placed[:, None, 3] + spheres[None, :, 3], axis=0)
