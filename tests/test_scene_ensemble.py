"""Ensembles of every shape and placement."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pydantic
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanostream.errors import RecipeError
from nanostream.scene.config import SceneConfig
from nanostream.scene.ensemble import build_ensemble

if TYPE_CHECKING:
    from nanostream.scene.ensemble import Ensemble

CONFIGS = {
    "grains": {},
    "scattered-grains": {"placement": {"kind": "scattered", "coverage": (0.1, 0.2)}},
    "spheres": {
        "shape": {"kind": "sphere"},
        "sizes": {"kind": "normal", "mean_nm": 120.0, "sd_nm": 15.0},
    },
    "scattered-spheres": {"shape": {"kind": "sphere"}, "placement": {"kind": "scattered"}},
    "wires": {
        "shape": {"kind": "wire"},
        "sizes": {"kind": "normal", "mean_nm": 80.0, "sd_nm": 10.0},
        "placement": {"kind": "network", "coverage": (0.1, 0.3)},
    },
}
EDGE_NM = 128 * 7.344


def build(name: str, seed: int, *, pixel_nm: float = 7.344, edge_nm: float = EDGE_NM) -> Ensemble:
    """An ensemble of a named configuration."""
    return build_ensemble(
        SceneConfig.model_validate(CONFIGS[name]),
        height_nm=edge_nm,
        width_nm=1.25 * edge_nm,
        pixel_nm=pixel_nm,
        rng=np.random.Generator(np.random.Philox(key=[seed, 1])),
    )


def solid_of(ensemble: Ensemble, number: int) -> trimesh.Trimesh:
    """One particle's mesh."""
    faces = ensemble.faces[ensemble.particle == number]
    used, index = np.unique(faces, return_inverse=True)
    return trimesh.Trimesh(ensemble.vertices[used].astype(np.float64), index.reshape(-1, 3), process=False)


def digest(ensemble: Ensemble) -> str:
    """SHA-256 over all arrays."""
    sha = hashlib.sha256()
    for name in type(ensemble).__slots__:
        array = getattr(ensemble, name)
        sha.update(f"{name}{array.dtype.str}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(CONFIGS)))
def test_arrays_fit_together(seed: int, name: str) -> None:
    """Arrays have their shapes and dtypes, are finite, and refer to vertices that exist."""
    e = build(name, seed)
    v, f, n = len(e.vertices), len(e.faces), len(e)
    assert e.vertices.dtype == e.normals.dtype == np.float32
    assert e.vertices.shape == e.normals.shape == (v, 3)
    assert e.faces.dtype == np.uint32
    assert e.faces.shape == (f, 3)
    assert e.particle.dtype == e.vertex_particle.dtype == np.int32
    assert e.particle.shape == (f,)
    assert e.vertex_particle.shape == (v,)
    assert e.center_nm.shape == (n, 3)
    assert e.diameter_nm.shape == e.length_nm.shape == e.aspect.shape == (n,)
    for array in (e.vertices, e.normals, e.center_nm, e.diameter_nm, e.length_nm, e.aspect):
        assert np.isfinite(array).all()
    if n:
        assert e.faces.max() < v
        assert set(e.particle.tolist()) == set(e.vertex_particle.tolist()) == set(range(n))
        assert (e.vertex_particle[e.faces] == e.particle[:, None]).all()
        np.testing.assert_allclose(np.linalg.norm(e.normals, axis=1), 1, atol=1e-5)
        assert (e.length_nm >= 0.97 * e.diameter_nm).all()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(sorted(CONFIGS)))
def test_nothing_is_below_the_ground(seed: int, name: str) -> None:
    """No vertex is deeper under the ground than 4 % of its particle's diameter."""
    e = build(name, seed)
    assert (e.vertices[:, 2] >= -0.04 * e.diameter_nm[e.vertex_particle]).all()


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_particles_are_closed_with_their_volume(name: str) -> None:
    """Every particle is watertight, faces outward, and has its stated diameter within 2 %."""
    e = build(name, 5)
    assert len(e) > 3
    for number in range(len(e)):
        mesh = solid_of(e, number)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        volume = mesh.volume
        if name == "wires":
            # The middle line is as long as the tube without its ends, which make one ball.
            assert volume > 0
        else:
            assert (6 * volume / np.pi) ** (1 / 3) == pytest.approx(e.diameter_nm[number], rel=0.02)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_normals_point_outward(name: str) -> None:
    """Vertex normals agree with the faces around them."""
    e = build(name, 6)
    corner = e.vertices[e.faces].astype(np.float64)
    flat = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    agree = np.einsum("fkc,fc->fk", e.normals[e.faces], flat)
    # Ends beyond the picture are drawn out to a point.
    assert np.mean(agree > 0) > 0.995
    assert agree.mean() > 0.93


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_same_numbers_give_same_bytes(name: str) -> None:
    """The generator alone decides the ensemble."""
    assert digest(build(name, 7)) == digest(build(name, 7))
    assert digest(build(name, 7)) != digest(build(name, 8))


def test_pixels_change_detail_alone() -> None:
    """A finer pixel gives the same particles with more faces."""
    coarse, fine = build("grains", 3, pixel_nm=20.0), build("grains", 3, pixel_nm=2.0)
    assert (coarse.center_nm == fine.center_nm).all()
    assert (coarse.diameter_nm == fine.diameter_nm).all()
    assert len(fine.faces) > 2 * len(coarse.faces)


def test_border_cuts_particles_and_far_ones_are_dropped() -> None:
    """Some particles cross the border, and none is kept that lies far outside."""
    e = build("scattered-spheres", 1, edge_nm=4000.0)
    x, y, r = e.center_nm[:, 0], e.center_nm[:, 1], e.diameter_nm / 2
    assert ((np.abs(x) < r) | (np.abs(y) < r)).any()
    assert (x > -4 * r).all()
    assert (y < 4000 + 4 * r).all()


def test_crossing_wires_lie_on_each_other() -> None:
    """Where wires cross, the upper one's middle is higher by about their radii."""
    for seed in range(4):
        e = build("wires", seed)
        top = np.full(len(e), -np.inf)
        np.maximum.at(top, e.vertex_particle, e.vertices[:, 2])
        assert (e.center_nm[:, 2] >= 0.49 * e.diameter_nm).all()
        assert top.max() > 1.7 * e.diameter_nm.mean()


@pytest.mark.parametrize(
    "bad",
    [
        {"sizs": {}},
        {"sizes": {"kind": "lognormal", "median": 3.0}},
        {"sizes": {"kind": "list", "values_nm": []}},
        {"sizes": {"kind": "list", "values_nm": [1.0, 2.0], "weights": [1.0]}},
        {"sizes": {"kind": "lognormal", "median_nm": -1.0}},
        {"sizes": {"kind": "lognormal", "min_nm": 9.0, "max_nm": 8.0}},
        {"shape": {"kind": "cube"}},
        {"shape": {"kind": "wire"}},
        {"shape": {"kind": "mesh", "files": []}},
        {"placement": {"kind": "network"}},
        {"placement": {"kind": "agglomerates", "coverage": (0.5, 0.1)}},
    ],
)
def test_wrong_fields_are_refused(bad: dict[str, object]) -> None:
    """Unknown fields, wrong values and combinations that make no sense do not validate."""
    with pytest.raises(pydantic.ValidationError):
        SceneConfig.model_validate(bad)


def test_configuration_survives_json() -> None:
    """A configuration is the same after a trip through JSON, and hashable."""
    for fields in CONFIGS.values():
        config = SceneConfig.model_validate(fields)
        again = SceneConfig.model_validate_json(config.model_dump_json())
        assert again == config
        assert hash(again) == hash(config)


def test_absurd_pictures_are_refused() -> None:
    """A picture with too many particles, or of no size, gives a RecipeError."""
    rng = np.random.default_rng(0)
    with pytest.raises(RecipeError, match="expected at most 20000 particles"):
        build_ensemble(SceneConfig(), height_nm=1e6, width_nm=1e6, pixel_nm=1.0, rng=rng)
    with pytest.raises(RecipeError, match="expected width_nm to be above 0, got 0"):
        build_ensemble(SceneConfig(), height_nm=1.0, width_nm=0, pixel_nm=1.0, rng=rng)
