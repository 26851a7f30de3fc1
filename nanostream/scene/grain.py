"""Grains: rounded, faceted solids, such as those of titanium dioxide.

Each is a star-shaped body about the origin. With facets at the distances h_i along the unit
normals n_i, a surrounding sphere of radius R, and the homogeneous function

    g(x) = ( sum_i max(0, x.n_i / h_i)^p + (|x| / R)^p )^(1/p)

the grain is g(x) <= 1: the polyhedron with edges rounded the more, the smaller p is. Bumps divide g
by m(d) = 1 + sum_k a_k cos(w_k.d + f_k), d = x / |x|. Radius m / g(d) and normal grad(g / m) are
therefore exact, whatever the mesh.

Legend: P = grains of the pool, V = vertices, K = facets, B = bump waves.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from nanostream.scene.solid import Solids, icosphere, signed_volume, unit_scale

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["GrainShape", "draw_stretch", "grain_solids"]

BUMP_WAVES = 8
BUMP_FREQUENCY = 4.0
"""Radians over one radius: bumps about three quarters of a diameter apart."""


class GrainShape(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Rounded polyhedra from a fixed pool, each stretched and turned anew."""

    kind: Literal["grain"] = "grain"
    pool: Annotated[int, Field(ge=1, le=1024)] = 64
    """Different grains that particles are made of."""
    pool_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Which pool: the same number gives the same grains in every sample."""
    facets: tuple[Annotated[int, Field(ge=4, le=64)], Annotated[int, Field(ge=4, le=64)]] = (10, 22)
    """Fewest and most facets of a grain."""
    sharpness: tuple[Annotated[float, Field(ge=2, le=64)], Annotated[float, Field(ge=2, le=64)]] = (5.0, 16.0)
    """Least and most exponent p: 4 is nearly a ball, 12 a rounded crystal, 40 a cut stone."""
    roughness: Annotated[float, Field(ge=0, le=0.1)] = 0.012
    """Root mean square height of smooth bumps on the surface, in radii."""
    stretch_median: Annotated[float, Field(ge=1, le=10)] = 1.6
    """Median of the longest over the shortest stretch of a grain; 1 is as long as wide."""
    stretch_sigma: Annotated[float, Field(ge=0, le=1.5)] = 0.5
    """Standard deviation of the natural logarithm of the stretch."""
    stretch_max: Annotated[float, Field(ge=1, le=20)] = 5.0
    """Largest stretch."""
    flatness: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Mean place of the middle axis: 0 gives needles (middle as short as the shortest), 1 flakes."""
    lying: Annotated[float, Field(ge=0, le=1)] = 0.35
    """0: turned freely; 1: lies flat, long axis in the ground's plane, short axis upright."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, (low, high) in (("facets", self.facets), ("sharpness", self.sharpness)):
            if low > high:
                msg = f"expected {name} as (fewest, most), got ({low}, {high})"
                raise ValueError(msg)
        return self


def draw_stretch(shape: GrainShape, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Factors (count, 3) along the long, middle and short axis; their product is 1."""
    most = max(shape.stretch_max, 1.0)
    z = rng.standard_normal(count)
    ratio = np.clip(shape.stretch_median * np.exp(shape.stretch_sigma * z), 1.0, most)
    # Triangular about the mean keeps both needles and flakes among the grains.
    middle = np.clip(shape.flatness + 0.5 * (rng.random(count) - rng.random(count)), 0.0, 1.0)
    logs = np.log(ratio)[:, None] * np.stack([np.ones(count), middle, np.zeros(count)], axis=1)
    return np.exp(logs - logs.mean(axis=1, keepdims=True))


@functools.lru_cache(maxsize=64)
def grain_solids(shape: GrainShape, parts: int) -> Solids:
    """The pool's P grains on an icosphere of this many parts; kept, since samples share them."""
    directions, faces = icosphere(parts)
    radius, normals = _surface(shape, directions)
    vertices = radius[..., None] * directions
    scale = unit_scale(signed_volume(vertices, faces))[:, None]
    middle, true_scale = _measures(shape)
    edges = vertices[:, faces[:, :2]].mean(axis=2)
    length = np.linalg.norm(edges, axis=-1, keepdims=True)
    off = true_scale * _surface(shape, edges / length)[0] - scale * length[..., 0]
    vertices = (vertices - middle) * scale[..., None]
    for array in (vertices, normals):
        array.setflags(write=False)
    return Solids(vertices, normals, faces, np.quantile(np.abs(off), 0.9, axis=1))


@functools.lru_cache(maxsize=8)
def _measures(
    shape: GrainShape,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # Centres of mass (P, 1, 3) and scales (P, 1) of a fine mesh, so that detail moves no grain.
    directions, faces = icosphere(12)
    vertices = _surface(shape, directions)[0][..., None] * directions
    a, b, c = (vertices[:, faces[:, k]] for k in range(3))
    cones = np.sum(a * np.cross(b, c), axis=-1, keepdims=True)
    total = np.sum(cones, axis=1, keepdims=True)
    return np.sum(cones * (a + b + c) / 4, axis=1, keepdims=True) / total, unit_scale(total[..., 0] / 6)


class _Pool:
    """The random numbers of a pool: facets, exponents and bumps of its P grains."""

    def __init__(self, shape: GrainShape) -> None:
        rng = np.random.Generator(np.random.Philox(key=[shape.pool_seed, 0x6772]))
        most = shape.facets[1]
        count = rng.integers(shape.facets[0], most, size=shape.pool, endpoint=True)
        normals = _spread(rng, shape.pool, count, most)
        # Distances differ between facets: equal ones would give soccer balls.
        distance = 1 + 0.16 * rng.standard_normal((shape.pool, most)).clip(-2, 2)
        self.facets = normals / distance[..., None] * (np.arange(most) < count[:, None])[..., None]
        self.power = rng.uniform(*shape.sharpness, size=(shape.pool, 1))
        self.sphere = rng.uniform(1.05, 1.3, size=(shape.pool, 1))
        self.waves = BUMP_FREQUENCY * rng.standard_normal((shape.pool, BUMP_WAVES, 3))
        self.phases = rng.uniform(0, 2 * np.pi, size=(shape.pool, BUMP_WAVES))
        self.height = shape.roughness * np.sqrt(2 / BUMP_WAVES)


@functools.lru_cache(maxsize=8)
def _pool(shape: GrainShape) -> _Pool:
    return _Pool(shape)


def _spread(rng: np.random.Generator, pool: int, count: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.float64]:
    # Random directions pushed apart a little, so that facets differ but none is a sliver.
    n = rng.standard_normal((pool, most, 3))
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    live = (np.arange(most) < count[:, None]).astype(np.float64)
    for _ in range(6):
        away = n[:, :, None] - n[:, None]
        near = live[:, None, :, None] / (np.sum(away**2, axis=-1, keepdims=True) + 0.05)
        n = n + 0.6 / count[:, None, None] * np.sum(away * near, axis=2)
        n /= np.linalg.norm(n, axis=-1, keepdims=True)
    return n


def _surface(
    shape: GrainShape, directions: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    # Radii (P, V) and normals (P, V, 3) along (V, 3) or (P, V, 3) unit vectors.
    pool = _pool(shape)
    d = np.broadcast_to(directions, (shape.pool, *directions.shape[-2:]))
    p = pool.power
    reach = np.maximum(np.einsum("pvc,pkc->pvk", d, pool.facets), 0)
    terms = reach ** (p[..., None] - 1)
    total = np.sum(terms * reach, axis=-1) + pool.sphere**-p
    g = total ** (1 / p)
    # At |x| = 1: grad g = g^(1-p) (sum_i max(0, d.n_i/h_i)^(p-1) n_i/h_i + R^-p d).
    slope = np.einsum("pvk,pkc->pvc", terms, pool.facets) + (pool.sphere**-p)[..., None] * d
    slope *= (g ** (1 - p))[..., None]
    angle = np.einsum("pvc,pbc->pvb", d, pool.waves) + pool.phases[:, None]
    m = 1 + pool.height * np.cos(angle).sum(axis=-1)
    tilt = -pool.height * np.einsum("pvb,pbc->pvc", np.sin(angle), pool.waves)
    tilt -= np.sum(tilt * d, axis=-1, keepdims=True) * d
    normal = slope / m[..., None] - (g / m**2)[..., None] * tilt
    return m / g, normal / np.linalg.norm(normal, axis=-1, keepdims=True)
