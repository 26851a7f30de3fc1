"""Grains and agglomerates: outlines, contact and piles."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull, KDTree

from nanostream.scene.agglomerates import Agglomerates, place_agglomerates
from nanostream.scene.bodies import draw_bodies, solids_for, transform
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble
from nanostream.scene.field import Field
from nanostream.scene.grain import GrainShape, grain_solids
from nanostream.scene.pile import Pile
from nanostream.scene.sphere import SphereShape


def test_outline_aspect() -> None:
    """Largest over smallest width of grains seen from above: median near 1.4, 95 % below 2.8."""
    shape = GrainShape()
    bodies = draw_bodies(shape, np.ones(1500), np.random.default_rng(0))
    points = transform(grain_solids(shape, 4).vertices[bodies.solid], bodies.matrix)[..., :2]
    angle = np.linspace(0, np.pi, 60, endpoint=False)
    width = np.ptp(points @ np.stack([np.cos(angle), np.sin(angle)]), axis=1)
    aspect = width.max(axis=1) / width.min(axis=1)
    assert np.median(aspect) == pytest.approx(1.38, abs=0.06)
    assert 2.2 < np.quantile(aspect, 0.95) < 2.9


def test_lying_grains_are_low() -> None:
    """With `lying` at 1 grains are lower than with free rotation."""
    free, flat = (draw_bodies(GrainShape(lying=lying), np.ones(400), np.random.default_rng(1)) for lying in (0.0, 1.0))
    height = [np.mean(bodies.top_nm + bodies.floor_nm) for bodies in (free, flat)]
    assert height[1] < 0.85 * height[0]


def test_free_rotation_has_no_direction() -> None:
    """With `lying` at 0 the widths along x, y and z have the same distribution."""
    shape = GrainShape(lying=0.0)
    bodies = draw_bodies(shape, np.ones(3000), np.random.default_rng(2))
    points = transform(grain_solids(shape, 4).vertices[bodies.solid], bodies.matrix)
    width = np.ptp(points, axis=1).mean(axis=0)
    assert np.ptp(width) < 0.03 * width.mean()


def test_outlines_are_right_to_a_fifth_of_a_pixel() -> None:
    """The detail chosen for a size keeps the outline within 0.2 pixels, on average."""
    shape = GrainShape(pool=8)
    truth = grain_solids(shape, 32).vertices
    view = np.random.default_rng(0).standard_normal((300, 3))
    view /= np.linalg.norm(view, axis=1, keepdims=True)
    for diameter_px in (6.0, 24.0, 80.0):
        seen = 0
        for solids, members, rows in solids_for(shape, np.arange(8), np.full(8, diameter_px)):
            seen += len(members)
            off = (truth[rows] @ view.T).max(axis=1) - (solids.vertices[rows] @ view.T).max(axis=1)
            assert np.abs(off).mean() * diameter_px < 0.2
        assert seen == 8


def test_spheres_touch() -> None:
    """Two equal balls side by side touch at their diameter, one atop another at its height."""
    bodies = draw_bodies(SphereShape(), np.array([100.0, 100.0]), np.random.default_rng(0))
    pile = Pile(bodies, overlap=0.0)
    assert pile.rest(np.zeros(1), np.zeros(1))[0] == pytest.approx(50, rel=0.02)
    pile.put(0.0, 0.0, 50.0)
    assert pile.beside(np.array([0]), np.cos([0.3]), np.sin([0.3]))[0] == pytest.approx(100, rel=0.02)
    x = np.array([0.0, 60.0, 110.0])
    # By Pythagoras: the centres are a diameter apart.
    assert pile.rest(x, 0 * x) == pytest.approx([150, 130, 50], rel=0.02)


def test_neighbours_touch() -> None:
    """In one heap every grain comes close to another one, and none enters one deeply."""
    shape = GrainShape(roughness=0.0)
    rng = np.random.default_rng(4)
    bodies = draw_bodies(shape, np.full(14, 100.0), rng)
    placement = Agglomerates(cluster_median=1000, cluster_sigma=0, overlap=0.0)
    center = place_agglomerates(placement, bodies, Field(10.0, 10.0, 0.0), rng)
    points = transform(grain_solids(shape, 8).vertices[bodies.solid], bodies.matrix) + center[:, None]
    for j in range(14):
        others = np.concatenate([points[:j], points[j + 1 :]]).reshape(-1, 3)
        distance, _ = KDTree(others).query(points[j])
        assert distance.min() < 12
    hulls = [ConvexHull(p) for p in points]
    for j in range(14):
        for i in range(j):
            inside = (hulls[i].equations[:, :3] @ points[j].T + hulls[i].equations[:, 3:]).max(axis=0)
            assert inside.min() > -6


def test_piles_overlap_in_projection() -> None:
    """With particles from above, some lie over others; they are higher than those."""
    config = SceneConfig(placement=Agglomerates(coverage=(0.3, 0.3), pile=(0.5, 0.5), cluster_median=10))
    e = build_ensemble(config, height_nm=1880.0, width_nm=1880.0, pixel_nm=7.344, rng=np.random.default_rng(5))
    xy = e.center_nm[:, :2]
    apart = np.linalg.norm(xy[:, None] - xy, axis=-1)
    lap = apart < 0.3 * (e.diameter_nm[:, None] + e.diameter_nm)
    np.fill_diagonal(lap, val=False)
    assert lap.any()
    i, j = np.nonzero(lap)
    assert np.median(np.abs(e.center_nm[i, 2] - e.center_nm[j, 2])) > 40


def test_coverage_is_kept_on_average() -> None:
    """Particles cover about the share of the ground that was asked for."""
    config = SceneConfig(placement=Agglomerates(coverage=(0.2, 0.2)))
    covered = []
    for seed in range(12):
        e = build_ensemble(config, height_nm=3000.0, width_nm=3000.0, pixel_nm=20.0, rng=np.random.default_rng(seed))
        seen = np.zeros((150, 150), bool)
        corner = e.vertices[e.faces][..., :2] / 20
        for weights in np.random.default_rng(0).dirichlet(np.ones(3), 12):
            column, row = np.floor(np.einsum("k,fkc->cf", weights, corner)).astype(int)
            ok = (row >= 0) & (row < 150) & (column >= 0) & (column < 150)
            seen[row[ok], column[ok]] = True
        covered.append(seen.mean())
    assert np.mean(covered) == pytest.approx(0.2, abs=0.05)
